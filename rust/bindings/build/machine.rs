//! Find compilers, headers and sources on the building machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::commands::{Line, Outcome, output, variable};
use crate::system::System;

/// The C++ side: compiler, torch's headers, our sources, and the output folder.
pub struct Host {
    pub system: System,
    pub compiler: OsString,
    pub torch: PathBuf,
    /// The folder `nvidia` next to torch, which contains the Python packages of the CUDA compiler.
    pub nvidia: Option<PathBuf>,
    pub csrc: PathBuf,
    pub out: PathBuf,
    /// Links for a glibc older than the machine's, where one was asked for; else the compiler links.
    pub old_glibc: Option<OldGlibc>,
}

/// A linker that knows the symbols of every glibc, and the C++ runtime that goes into the libraries then.
///
/// The machine's own libstdc++ would ask for newer symbols than the systems of that glibc have.
pub struct OldGlibc {
    pub linker: Line,
    pub runtime: Vec<PathBuf>,
}

impl OldGlibc {
    /// Python's `ziglang` as a linker for the glibc that `LT_FAST_GLIBC` names; `None` if it is not set.
    fn find(compiler: &OsString) -> Outcome<Option<Self>> {
        let Some(version) = variable("LT_FAST_GLIBC") else {
            return Ok(None);
        };
        let version = version.to_string_lossy().into_owned();
        let python = pythons()
            .find(|python| output(Command::new(python).args(["-m", "ziglang", "version"])).is_ok());
        let python = python.ok_or("LT_FAST_GLIBC needs the Python package ziglang: install it")?;
        let architecture = variable("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
        let target = format!("{}-linux-gnu.{version}", architecture.display());
        let words = ["-m", "ziglang", "cc", "-target", &target].map(OsString::from);
        let mut runtime = Vec::new();
        for file in ["libstdc++.a", "libgcc_s.so.1"] {
            let place = output(Command::new(compiler).arg(format!("-print-file-name={file}")))?;
            runtime.push(PathBuf::from(place.trim()));
        }
        let linker = std::iter::once(python).chain(words).collect();
        Ok(Some(Self { linker, runtime }))
    }
}

impl Host {
    pub fn find(out: &Path) -> Outcome<Self> {
        let system = System::of_target()?;
        let csrc = fs::canonicalize("../../csrc").map_err(|error| format!("csrc: {error}"))?;
        let compiler = variable("CXX").unwrap_or_else(|| system.compiler());
        output(Command::new(&compiler).arg("--version")).map_err(|_| {
            format!(
                "{0} cannot be run: install {0} or set CXX",
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
        let old_glibc = match system {
            System::Linux => OldGlibc::find(&compiler)?,
            System::MacOs | System::Windows => None,
        };
        Ok(Self {
            system,
            compiler,
            torch,
            nvidia,
            csrc,
            out: out.into(),
            old_glibc,
        })
    }

    /// Our files with one of the extensions, in all folders and sorted, so that equal sources give equal libraries.
    pub fn sources(&self, extensions: &[&str]) -> Vec<PathBuf> {
        let mut folders = vec![self.csrc.clone()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            for path in entries.map(|entry| entry.path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if extensions
                    .iter()
                    .any(|wanted| path.extension().is_some_and(|e| e == *wanted))
                {
                    files.push(path);
                }
            }
        }
        files.sort();
        files
    }

    /// Flags that keep the building machine's folders out of `__FILE__` in the libraries.
    pub fn without_paths(&self) -> [String; 2] {
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
    for python in pythons() {
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

/// The programs that may be the building Python, the likeliest first.
fn pythons() -> impl Iterator<Item = OsString> {
    let in_environment = |program: &str| {
        variable("VIRTUAL_ENV").map(|folder| Path::new(&folder).join(program).into())
    };
    [
        variable("PYO3_PYTHON"),
        in_environment("bin/python"),
        in_environment("Scripts/python.exe"),
        Some("python3".into()),
        Some("python".into()),
    ]
    .into_iter()
    .flatten()
}

/// The CUDA compiler and the folder of its static runtime.
pub struct Toolkit {
    pub nvcc: PathBuf,
    pub libraries: PathBuf,
    /// Major version of the CUDA release: 13 for 13.0.
    pub major: u32,
}

impl Toolkit {
    /// `None` if there is no nvcc; an error if the one that was named does not work.
    pub fn find(host: &Host) -> Option<Outcome<Self>> {
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
        // CUDA's installer uses lib64, the Python packages lib; nvcc itself searches only the first.
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
        let version = output(Command::new(&nvcc).arg("--version"))?;
        let major = major_release(&version)
            .ok_or_else(|| format!("{} --version names no release", nvcc.display()))?;
        Ok(Self {
            nvcc,
            libraries,
            major,
        })
    }
}

/// 13 of "Cuda compilation tools, release 13.0, V13.0.88".
fn major_release(version: &str) -> Option<u32> {
    let (_, release) = version.split_once("release ")?;
    release.split('.').next()?.parse().ok()
}

/// A program as the shell would find it, with links resolved; a name with a slash is a path.
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
