//! Run commands, remove stale files, read settings.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

/// One command: the program and its arguments.
pub type Line = Vec<OsString>;
/// A reason, in one line, why something could not be built.
pub type Outcome<T> = Result<T, String>;

pub fn extend<T: AsRef<OsStr>>(line: &mut Line, arguments: impl IntoIterator<Item = T>) {
    line.extend(
        arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned()),
    );
}

/// Runs the commands, as many at a time as cargo allows, and returns the first error message of the first failure.
pub fn run_all(lines: &[Line]) -> Outcome<()> {
    for batch in lines.chunks(jobs()) {
        let started = batch.iter().map(|line| {
            let mut command = Command::new(&line[0]);
            command
                .args(&line[1..])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            (line, command.spawn())
        });
        for (line, child) in started.collect::<Vec<_>>() {
            let finished = child.and_then(std::process::Child::wait_with_output);
            let finished = finished.map_err(|error| format!("{}: {error}", line[0].display()))?;
            let complaint = String::from_utf8_lossy(&finished.stderr);
            eprintln!("{line:?}\n{complaint}"); // cargo stores it next to OUT_DIR, and shows it if the build fails
            if !finished.status.success() {
                let first = complaint
                    .lines()
                    .find(|line| line.contains("error"))
                    .or(complaint.lines().last());
                return Err(format!(
                    "{} failed: {}",
                    line[0].display(),
                    first.unwrap_or("no message")
                ));
            }
        }
    }
    Ok(())
}

pub fn jobs() -> usize {
    env::var("NUM_JOBS")
        .ok()
        .and_then(|jobs| jobs.parse().ok())
        .unwrap_or(1)
        .max(1)
}

/// The output of a command, or an error if it fails or cannot be run.
pub fn output(command: &mut Command) -> Outcome<String> {
    let finished = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&finished.stdout).into_owned();
    if finished.status.success() {
        Ok(text)
    } else {
        Err(finished.status.to_string())
    }
}

pub fn remove(out: &Path, names: &[&str]) -> Outcome<()> {
    for name in names {
        match fs::remove_file(out.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{name}: {error}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes every library whose name begins so, with or without `lib` before it, and its stamp.
pub fn remove_all(out: &Path, beginning: &str) -> Outcome<()> {
    for entry in fs::read_dir(out).into_iter().flatten().flatten() {
        if let Some(name) = entry.file_name().to_str().filter(|name| {
            name.strip_prefix("lib")
                .unwrap_or(name)
                .starts_with(beginning)
        }) {
            remove(out, &[name])?;
        }
    }
    Ok(())
}

/// An environment variable; an empty one counts as unset.
pub fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// A setting with fixed values, the first of which is the default.
pub fn setting(name: &str, values: &[&str]) -> Outcome<String> {
    let value = variable(name).map_or_else(
        || values[0].into(),
        |value| value.to_string_lossy().into_owned(),
    );
    if values.contains(&value.as_str()) {
        return Ok(value);
    }
    Err(format!(
        "{name} must be one of {}, got {value:?}",
        values.join(", ")
    ))
}
