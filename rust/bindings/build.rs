//! Builds the torch op libraries of `csrc/` into `OUT_DIR`, from where maturin packs them into the wheel.
//!
//! Only with the feature `torch-ops`; `cargo test`, `check` and `clippy` without it never look for a C++ compiler.
//! The libraries use torch's stable ABI, so torch's headers suffice and one build serves every torch from 2.10 on.
//! What is missing makes the package slower, not unbuildable: without nvcc the CPU library alone is built, without
//! torch's headers none is and the package runs on plain torch; each case is said in one line.
//!
//! | variable                | values                 | meaning                                                           |
//! | ----------------------- | ---------------------- | ----------------------------------------------------------------- |
//! | `LT_FAST_OPS`           | `auto`, `require`, `off` | `require`: anything that cannot be built is an error            |
//! | `LT_FAST_CUDA`          | `auto`, `1`, `0`       | `1`: no nvcc, or one that fails, is an error; `0`: CPU only        |
//! | `LT_FAST_TORCH_INCLUDE` | folder                 | torch's headers; else those of the building Python's torch        |
//! | `LT_FAST_CUDA_ARCHS`    | `80,90,100`            | compute capabilities; the newest is also stored as PTX            |
//! | `CUDA_HOME`, `NVCC`     | folder, program        | else nvcc in `PATH`, else the one of the Python packages          |
//! | `CXX`                   | program                | `g++`                                                             |

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// One command: the program and its arguments.
type Line = Vec<OsString>;
/// A reason, in one line, why something could not be built.
type Outcome<T> = Result<T, String>;

const CPU_LIBRARY: &str = "liblt_fast_cpu.so";
const CUDA_LIBRARY: &str = "liblt_fast_cuda.so";

/// The oldest torch whose stable ABI the libraries use: 2.10. Newer shims are then hidden from the sources.
const TARGET_TORCH: &str = "-DTORCH_TARGET_VERSION=0x020a000000000000ULL";
const LANGUAGE: [&str; 2] = ["-std=c++17", "-O3"];
/// Nothing but torch's registration at load time is visible from outside.
const HOST: [&str; 4] = [
    "-fPIC",
    "-fvisibility=hidden",
    "-fvisibility-inlines-hidden",
    "-fopenmp-simd",
];

/// Files whose name ends so are compiled for newer x86 processors, and chosen among when the program runs.
const X86_VARIANTS: [(&str, &[&str]); 2] = [
    ("_avx2", &["-mavx2", "-mfma"]),
    (
        "_avx512",
        &[
            "-mavx512f",
            "-mavx512dq",
            "-mavx512vl",
            "-mavx512bw",
            "-mfma",
        ],
    ),
];

const ENVIRONMENT: [&str; 9] = [
    "LT_FAST_OPS",
    "LT_FAST_CUDA",
    "LT_FAST_TORCH_INCLUDE",
    "LT_FAST_CUDA_ARCHS",
    "CUDA_HOME",
    "NVCC",
    "CXX",
    "PYO3_PYTHON",
    "VIRTUAL_ENV",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_TORCH_OPS").is_none() {
        return;
    }
    println!("cargo::rerun-if-changed=../../csrc");
    for name in ENVIRONMENT {
        println!("cargo::rerun-if-env-changed={name}");
    }
    if let Err(reason) = build() {
        println!("cargo::error={reason}");
    }
}

/// Builds what the settings ask for; an error here ends the build.
fn build() -> Outcome<()> {
    let ops = setting("LT_FAST_OPS", &["auto", "require", "off"])?;
    let cuda = setting("LT_FAST_CUDA", &["auto", "1", "0"])?;
    let out =
        PathBuf::from(variable("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?);
    if ops == "off" {
        return remove(&out, &[CPU_LIBRARY, CUDA_LIBRARY]);
    }
    match Host::find(&out).and_then(|host| cpu(&host).build(&out).map(|()| host)) {
        Ok(host) => build_cuda(&host, &cuda, ops == "require"),
        Err(reason) if ops == "auto" && cuda != "1" => {
            println!(
                "cargo::warning=op libraries not built, lt_fast will run on plain torch: {reason}"
            );
            remove(&out, &[CPU_LIBRARY, CUDA_LIBRARY])
        }
        Err(reason) => Err(format!("the op libraries cannot be built: {reason}")),
    }
}

/// Builds the CUDA library, or says in one line why there is none.
fn build_cuda(host: &Host, wish: &str, strict: bool) -> Outcome<()> {
    if wish == "0" {
        return remove(&host.out, &[CUDA_LIBRARY]);
    }
    let Some(toolkit) = Toolkit::find(host) else {
        let reason = "no nvcc found (set CUDA_HOME or NVCC, or install nvidia-cuda-nvcc)";
        return skip_cuda(host, wish == "1", reason);
    };
    match toolkit.and_then(|toolkit| cuda(host, &toolkit)?.build(&host.out)) {
        Ok(()) => Ok(()),
        Err(reason) => skip_cuda(host, wish == "1" || strict, &reason),
    }
}

fn skip_cuda(host: &Host, strict: bool, reason: &str) -> Outcome<()> {
    if strict {
        return Err(format!("the CUDA op library cannot be built: {reason}"));
    }
    println!("cargo::warning=CUDA op library not built, only the CPU one: {reason}");
    remove(&host.out, &[CUDA_LIBRARY])
}

// ---- What the machine has -------------------------------------------------------------------------------------------

/// The C++ side: compiler, torch's headers, our sources, and where results go.
struct Host {
    compiler: OsString,
    torch: PathBuf,
    /// The folder `nvidia` beside torch, where the Python packages of the CUDA compiler lie.
    nvidia: Option<PathBuf>,
    csrc: PathBuf,
    out: PathBuf,
}

impl Host {
    fn find(out: &Path) -> Outcome<Self> {
        if variable("CARGO_CFG_TARGET_OS").is_none_or(|os| os != "linux")
            || variable("HOST") != variable("TARGET")
        {
            return Err(
                "they are built on Linux for the building machine's own architecture".into(),
            );
        }
        let csrc = fs::canonicalize("../../csrc").map_err(|error| format!("csrc: {error}"))?;
        let compiler = variable("CXX").unwrap_or_else(|| "g++".into());
        output(Command::new(&compiler).arg("--version")).map_err(|_| {
            format!(
                "{} cannot be run: install g++ or set CXX",
                compiler.display()
            )
        })?;
        let (torch, nvidia) = python_packages();
        let torch = variable("LT_FAST_TORCH_INCLUDE")
            .map(PathBuf::from)
            .or(torch);
        let torch = torch.ok_or(
            "no torch found in this Python (install it and build with --no-build-isolation, or set LT_FAST_TORCH_INCLUDE)",
        )?;
        let probe = torch.join("torch/csrc/stable/library.h");
        println!("cargo::rerun-if-changed={}", probe.display());
        if !probe.exists() {
            return Err(format!(
                "{} is missing: lt-fast needs the headers of torch >= 2.10",
                probe.display()
            ));
        }
        Ok(Self {
            compiler,
            torch,
            nvidia,
            csrc,
            out: out.into(),
        })
    }

    /// Our files with one of the extensions, sorted, so that equal sources give equal libraries.
    fn sources(&self, extensions: &[&str]) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.csrc)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        let has_one = |path: &PathBuf| {
            extensions
                .iter()
                .any(|wanted| path.extension().is_some_and(|e| e == *wanted))
        };
        let mut files: Vec<_> = entries.filter(has_one).collect();
        files.sort();
        files
    }

    /// Keeps the building machine's folders out of what `__FILE__` leaves in the libraries.
    fn without_paths(&self) -> [String; 2] {
        let map =
            |folder: &Path, name: &str| format!("-ffile-prefix-map={}/={name}", folder.display());
        [map(&self.torch, ""), map(&self.csrc, "csrc/")]
    }
}

/// The folders of torch's headers and of the `nvidia` packages in the building Python. Nothing is imported.
fn python_packages() -> (Option<PathBuf>, Option<PathBuf>) {
    const QUERY: &str = "
import importlib.util as u, os
torch, nvidia = u.find_spec('torch'), u.find_spec('nvidia')
print(os.path.join(os.path.dirname(torch.origin), 'include') if torch and torch.origin else '')
print(next(iter(nvidia.submodule_search_locations or ()), '') if nvidia else '')";
    let environment =
        variable("VIRTUAL_ENV").map(|folder| Path::new(&folder).join("bin/python").into());
    let pythons = [
        variable("PYO3_PYTHON"),
        environment,
        Some("python3".into()),
        Some("python".into()),
    ];
    for python in pythons.into_iter().flatten() {
        let Ok(answer) = output(Command::new(python).args(["-c", QUERY])) else {
            continue;
        };
        let mut lines = answer
            .lines()
            .map(|line| (!line.is_empty()).then(|| PathBuf::from(line)));
        if let Some(torch) = lines.next().flatten() {
            return (Some(torch), lines.next().flatten());
        }
    }
    (None, None)
}

/// The CUDA compiler and the folder of its static runtime.
struct Toolkit {
    nvcc: PathBuf,
    libraries: PathBuf,
}

impl Toolkit {
    /// `None` where there is no nvcc at all; an error where the one that was named does not work.
    fn find(host: &Host) -> Option<Outcome<Self>> {
        let named = variable("NVCC").map(PathBuf::from);
        let named =
            named.or_else(|| variable("CUDA_HOME").map(|home| Path::new(&home).join("bin/nvcc")));
        let nvcc = named
            .map(|program| in_path(&program))
            .or_else(|| in_path(Path::new("nvcc")).map(Some));
        match nvcc.or_else(|| packaged_nvcc(host).map(Some)) {
            None => {
                if let Some(nvidia) = &host.nvidia {
                    println!("cargo::rerun-if-changed={}", nvidia.display()); // nvcc may be installed there later
                }
                None
            }
            Some(None) => Some(Err(
                "NVCC or CUDA_HOME is set, but there is no such nvcc".into()
            )),
            Some(Some(nvcc)) => Some(Self::of(nvcc)),
        }
    }

    fn of(nvcc: PathBuf) -> Outcome<Self> {
        // CUDA's installer has lib64, the Python packages lib, and nvcc's own search knows only the first.
        let home = nvcc
            .parent()
            .and_then(Path::parent)
            .unwrap_or(Path::new("/"))
            .to_owned();
        let folders = [
            "lib64",
            "lib",
            "targets/x86_64-linux/lib",
            "targets/sbsa-linux/lib",
            "lib/x86_64-linux-gnu",
        ];
        let libraries = folders
            .iter()
            .map(|folder| home.join(folder))
            .find(|f| f.join("libcudart_static.a").exists());
        let libraries =
            libraries.ok_or_else(|| format!("no libcudart_static.a under {}", home.display()))?;
        println!("cargo::rerun-if-changed={}", nvcc.display());
        Ok(Self { nvcc, libraries })
    }
}

/// A program as the shell would find it, links resolved; a name with a slash stands for itself.
fn in_path(program: &Path) -> Option<PathBuf> {
    let path = variable("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find_map(|file| fs::canonicalize(file).ok())
}

/// `nvidia/cu13/bin/nvcc` of the Python packages: the newest of several.
fn packaged_nvcc(host: &Host) -> Option<PathBuf> {
    let releases = fs::read_dir(host.nvidia.as_ref()?)
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("bin/nvcc"));
    releases.filter(|nvcc| nvcc.exists()).max()
}

// ---- How each library is made ---------------------------------------------------------------------------------------

/// A library and the commands that make it.
struct Plan {
    library: &'static str,
    compile: Vec<Line>,
    link: Line,
    /// Everything else that the result depends on: contents of files, versions of programs.
    inputs: u64,
}

fn cpu(host: &Host) -> Plan {
    let all = host.sources(&["cpp"]);
    let sources: Vec<_> = all
        .into_iter()
        .filter(|source| x86() || variant(source).is_none())
        .collect();
    let objects: Vec<_> = sources.iter().map(|source| object(host, source)).collect();
    let compile = sources.iter().zip(&objects).map(|(source, object)| {
        let mut line = vec![host.compiler.clone()];
        extend(
            &mut line,
            LANGUAGE.iter().chain(&HOST).chain(&[TARGET_TORCH]),
        );
        extend(&mut line, host.without_paths());
        extend(&mut line, variant(source).unwrap_or_default());
        if !x86() {
            line.push("-DLT_FAST_PORTABLE_ONLY".into());
        }
        finish_compile(line, host, source, object)
    });
    Plan {
        library: CPU_LIBRARY,
        compile: compile.collect(),
        link: link(host, &objects, &["-ltorch_cpu"], &[]),
        inputs: inputs(host, &["cpp", "h"], &host.compiler),
    }
}

fn cuda(host: &Host, toolkit: &Toolkit) -> Outcome<Plan> {
    let sources = host.sources(&["cu"]);
    let objects: Vec<_> = sources.iter().map(|source| object(host, source)).collect();
    let architectures = architectures()?;
    let compile = sources.iter().zip(&objects).map(|(source, object)| {
        let mut line = vec![toolkit.nvcc.clone().into_os_string()];
        extend(
            &mut line,
            LANGUAGE.iter().chain(&[TARGET_TORCH, "-DUSE_CUDA"]),
        ); // USE_CUDA: the stream shim's declaration
        extend(
            &mut line,
            HOST.iter().map(|flag| format!("-Xcompiler={flag}")),
        );
        extend(
            &mut line,
            host.without_paths()
                .iter()
                .map(|flag| format!("-Xcompiler={flag}")),
        );
        extend(
            &mut line,
            architectures.iter().map(|code| format!("-gencode={code}")),
        );
        extend(
            &mut line,
            [
                format!("--threads={}", jobs()),
                "--expt-relaxed-constexpr".into(),
                "-ccbin".into(),
            ],
        );
        line.push(host.compiler.clone());
        finish_compile(line, host, source, object)
    });
    // The static runtime lets one library serve torch of any CUDA release that its driver allows.
    let runtime = format!("-L{}", toolkit.libraries.display());
    let runtime = [
        runtime.as_str(),
        "-lcudart_static",
        "-ldl",
        "-lrt",
        "-lpthread",
    ];
    Ok(Plan {
        library: CUDA_LIBRARY,
        compile: compile.collect(),
        link: link(host, &objects, &["-ltorch_cpu", "-ltorch_cuda"], &runtime),
        inputs: inputs(host, &["cu", "h"], toolkit.nvcc.as_ref()),
    })
}

/// `80,90,100` as nvcc's code lists: machine code for each, and PTX of the newest for what comes after it.
fn architectures() -> Outcome<Vec<String>> {
    let wish = env::var("LT_FAST_CUDA_ARCHS").unwrap_or_else(|_| "80,90,100".into());
    let parse = |part: &str| part.trim().parse::<u32>();
    let numbers: Result<Vec<_>, _> = wish.split(',').map(parse).collect();
    let mut numbers = numbers
        .map_err(|_| format!("LT_FAST_CUDA_ARCHS must be numbers as in 80,90,100, got {wish:?}"))?;
    numbers.sort_unstable();
    let newest = numbers
        .last()
        .map(|n| format!("arch=compute_{n},code=compute_{n}"));
    Ok(numbers
        .iter()
        .map(|n| format!("arch=compute_{n},code=sm_{n}"))
        .chain(newest)
        .collect())
}

/// The extra flags of a source by its name, if it is one for newer x86 processors.
fn variant(source: &Path) -> Option<&'static [&'static str]> {
    let stem = source.file_stem()?.to_string_lossy();
    X86_VARIANTS
        .iter()
        .find(|(suffix, _)| stem.ends_with(suffix))
        .map(|(_, flags)| *flags)
}

fn x86() -> bool {
    variable("CARGO_CFG_TARGET_ARCH").is_some_and(|architecture| architecture == "x86_64")
}

fn object(host: &Host, source: &Path) -> PathBuf {
    let mut name = source.file_name().unwrap_or_default().to_owned();
    name.push(".o");
    host.out.join(name)
}

fn finish_compile(mut line: Line, host: &Host, source: &Path, object: &Path) -> Line {
    line.extend([
        "-isystem".into(),
        host.torch.clone().into(),
        "-c".into(),
        source.into(),
        "-o".into(),
        object.into(),
    ]);
    line
}

/// Links against stand-ins for torch's libraries: only their names matter, since Python has loaded the real ones.
///
/// g++ and not nvcc, which would reorder `--no-as-needed` and lose the entries that the loader needs.
fn link(host: &Host, objects: &[PathBuf], torch: &[&str], extra: &[&str]) -> Line {
    let mut line = vec![host.compiler.clone(), "-shared".into()];
    extend(&mut line, objects);
    extend(&mut line, [format!("-L{}", host.out.display())]);
    extend(
        &mut line,
        ["-Wl,--no-as-needed"]
            .iter()
            .chain(torch)
            .chain(&["-Wl,--as-needed"])
            .chain(extra),
    );
    extend(
        &mut line,
        [format!(
            "-Wl,--version-script={}",
            host.csrc.join("local.map").display()
        )],
    );
    extend(
        &mut line,
        [
            "-Wl,--exclude-libs,ALL",
            "-Wl,-z,now",
            "-Wl,-z,relro",
            "-Wl,--build-id=none",
            "-Wl,-s",
        ],
    );
    line
}

fn extend<T: AsRef<std::ffi::OsStr>>(line: &mut Line, arguments: impl IntoIterator<Item = T>) {
    line.extend(
        arguments
            .into_iter()
            .map(|argument| argument.as_ref().to_owned()),
    );
}

// ---- Making it ------------------------------------------------------------------------------------------------------

impl Plan {
    /// Runs the plan unless its result is there already; an aborted run leaves no library behind.
    fn build(&self, out: &Path) -> Outcome<()> {
        let stamp = format!("{}.made-from", self.library);
        let fingerprint = self.fingerprint();
        let made =
            fs::read_to_string(out.join(&stamp)).is_ok_and(|made_from| made_from == fingerprint);
        if made && out.join(self.library).exists() {
            return Ok(());
        }
        remove(out, &[&stamp, self.library])?;
        let partial = out.join(format!("{}.partial", self.library));
        let mut link = self.link.clone();
        link.extend(["-o".into(), partial.clone().into()]);
        stand_ins(out, &self.link[0])?;
        run_all(&self.compile)?;
        run_all(&[link])?;
        fs::rename(&partial, out.join(self.library))
            .map_err(|error| format!("{}: {error}", self.library))?;
        fs::write(out.join(&stamp), fingerprint).map_err(|error| format!("{stamp}: {error}"))
    }

    fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.compile, &self.link, self.inputs).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// A number over our files with these extensions, torch's version and the compiler's.
fn inputs(host: &Host, extensions: &[&str], compiler: &std::ffi::OsStr) -> u64 {
    let mut hasher = DefaultHasher::new();
    let torch = host.torch.join("torch/headeronly/version.h");
    for file in host
        .sources(extensions)
        .into_iter()
        .chain([torch, host.csrc.join("local.map")])
    {
        (&file, fs::read(&file).unwrap_or_default()).hash(&mut hasher);
    }
    output(Command::new(compiler).arg("--version")).hash(&mut hasher);
    hasher.finish()
}

/// Empty libraries with the names of torch's, for the linker.
fn stand_ins(out: &Path, compiler: &OsString) -> Outcome<()> {
    let empty = out.join("empty.c");
    fs::write(&empty, "").map_err(|error| format!("{}: {error}", empty.display()))?;
    for name in ["libtorch_cpu.so", "libtorch_cuda.so"] {
        let mut line = vec![compiler.clone()];
        extend(
            &mut line,
            [
                "-shared",
                "-nostdlib",
                &format!("-Wl,-soname,{name}"),
                "-x",
                "c",
            ],
        );
        line.extend([empty.clone().into(), "-o".into(), out.join(name).into()]);
        run_all(&[line])?;
    }
    Ok(())
}

/// Runs the commands, as many at a time as cargo allows, and returns the first failure's first complaint.
fn run_all(lines: &[Line]) -> Outcome<()> {
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
            eprintln!("{line:?}\n{complaint}"); // kept by cargo beside OUT_DIR, and shown if the build fails
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

fn jobs() -> usize {
    env::var("NUM_JOBS")
        .ok()
        .and_then(|jobs| jobs.parse().ok())
        .unwrap_or(1)
        .max(1)
}

/// What a command prints, or an error if it fails or cannot be run.
fn output(command: &mut Command) -> Outcome<String> {
    let finished = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&finished.stdout).into_owned();
    if finished.status.success() {
        Ok(text)
    } else {
        Err(finished.status.to_string())
    }
}

fn remove(out: &Path, names: &[&str]) -> Outcome<()> {
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

// ---- Settings -------------------------------------------------------------------------------------------------------

/// An environment variable; an empty one counts as unset.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// A setting with fixed values, the first of which is the default.
fn setting(name: &str, values: &[&str]) -> Outcome<String> {
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
