//! How each library is made, and the making.

use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::commands::{Line, Outcome, extend, jobs, output, remove, run_all, variable};
use crate::machine::{Host, Toolkit};
use crate::system::System;

pub const CPU_LIBRARY: &str = "lt_fast_cpu";
/// Begins the CUDA library's name; the major release of its CUDA follows, to be known before it is loaded.
pub const CUDA_LIBRARIES: &str = "lt_fast_cuda";

/// Source of the one symbol that libstdc++ takes from a newer glibc (2.32), a hint that may be 0 where nobody knows.
const SINGLE_THREADED: &str = "single_threaded.c";
const SINGLE_THREADED_TEXT: &str =
    "__attribute__((visibility(\"hidden\"))) char __libc_single_threaded = 0;\n";

/// The oldest torch whose stable ABI the libraries use: 2.10. Newer shims are then hidden from the sources.
const TARGET_TORCH: &str = "-DTORCH_TARGET_VERSION=0x020a000000000000ULL";

const LANGUAGE: [&str; 2] = ["-std=c++17", "-O3"];

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

/// A library and the commands that make it.
pub struct Plan {
    library: String,
    compiler: OsString,
    /// Whether the link needs empty libraries in the place of torch's.
    stand_ins: bool,
    compile: Vec<Line>,
    link: Line,
    /// Everything else that the result depends on: contents of files, versions of programs.
    inputs: u64,
}

pub fn cpu(host: &Host) -> Plan {
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
            LANGUAGE
                .iter()
                .chain(host.system.flags())
                .chain(&[TARGET_TORCH]),
        );
        extend(&mut line, host.without_paths());
        extend(&mut line, variant(source).unwrap_or_default());
        finish_compile(line, host, source, object)
    });
    Plan {
        library: host.system.library(CPU_LIBRARY),
        compiler: host.compiler.clone(),
        stand_ins: host.system == System::Linux,
        compile: compile.collect(),
        link: link(host, &objects, &["-ltorch_cpu"], &[]),
        inputs: inputs(host, &["cpp", "h"], &host.compiler),
    }
}

pub fn cuda(host: &Host, toolkit: &Toolkit) -> Outcome<Plan> {
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
            host.system
                .flags()
                .iter()
                .map(|flag| format!("-Xcompiler={flag}")),
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
        library: host
            .system
            .library(&format!("{CUDA_LIBRARIES}{}", toolkit.major)),
        compiler: host.compiler.clone(),
        stand_ins: host.system == System::Linux,
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
        "-I".into(),
        host.csrc.clone().into(),
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
    let mut line = match &host.old_glibc {
        Some(old) => old.linker.clone(),
        None => vec![host.compiler.clone()],
    };
    line.push("-shared".into());
    extend(&mut line, objects);
    if host.system != System::Linux {
        host.system.finish_link(&mut line, &host.torch);
        return line;
    }
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
            host.csrc.join("torch_api/local.map").display()
        )],
    );
    match &host.old_glibc {
        Some(old) => {
            line.push(host.out.join(SINGLE_THREADED).into());
            extend(&mut line, &old.runtime);
            // What nobody calls must go: other parts of the runtime ask for functions of a newer glibc.
            extend(&mut line, ["-lm", "-Wl,--gc-sections"]);
        }
        None => extend(&mut line, ["-Wl,--exclude-libs,ALL", "-Wl,--build-id=none"]),
    }
    extend(&mut line, ["-Wl,-z,now", "-Wl,-z,relro", "-Wl,-s"]);
    line
}

impl Plan {
    /// Runs the plan unless its result is there already; an aborted run leaves no library behind.
    pub fn build(&self, out: &Path) -> Outcome<()> {
        if self.is_made(out) {
            return Ok(());
        }
        let stamp = self.stamp();
        remove(out, &[&stamp, &self.library])?;
        let partial = out.join(format!("{}.partial", self.library));
        let mut link = self.link.clone();
        link.extend(["-o".into(), partial.clone().into()]);
        if self.stand_ins {
            stand_ins(out, &self.compiler)?;
        }
        run_all(&self.compile)?;
        run_all(&[link])?;
        fs::rename(&partial, out.join(&self.library))
            .map_err(|error| format!("{}: {error}", self.library))?;
        fs::write(out.join(&stamp), self.fingerprint()).map_err(|error| format!("{stamp}: {error}"))
    }

    /// Whether the library is there, made from just these inputs.
    pub fn is_made(&self, out: &Path) -> bool {
        let made_from = fs::read_to_string(out.join(self.stamp()));
        made_from.is_ok_and(|made_from| made_from == self.fingerprint())
            && out.join(&self.library).exists()
    }

    fn stamp(&self) -> String {
        format!("{}.made-from", self.library)
    }

    fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.compile, &self.link, self.inputs).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// A number over our files with these extensions, torch's version and the compiler's.
fn inputs(host: &Host, extensions: &[&str], compiler: &OsStr) -> u64 {
    let mut hasher = DefaultHasher::new();
    let torch = host.torch.join("torch/headeronly/version.h");
    for file in host
        .sources(extensions)
        .into_iter()
        .chain([torch, host.csrc.join("torch_api/local.map")])
    {
        (&file, fs::read(&file).unwrap_or_default()).hash(&mut hasher);
    }
    output(Command::new(compiler).arg("--version")).hash(&mut hasher);
    hasher.finish()
}

/// Empty libraries with the names of torch's, for the linker, and the source that it may need.
fn stand_ins(out: &Path, compiler: &OsString) -> Outcome<()> {
    let empty = out.join("empty.c");
    for (file, text) in [
        (&empty, ""),
        (&out.join(SINGLE_THREADED), SINGLE_THREADED_TEXT),
    ] {
        fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    }
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
