//! What differs between the systems that the libraries are built for: names, compilers, flags and the linker's words.

use std::ffi::OsString;
use std::path::Path;

use crate::commands::{Line, Outcome, extend, variable};

/// The system of the wheel, which need not be that of the building machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum System {
    Linux,
    MacOs,
    Windows,
}

/// Nothing but torch's registration at load time is visible from outside.
const POSIX: [&str; 4] = [
    "-fPIC",
    "-fvisibility=hidden",
    "-fvisibility-inlines-hidden",
    "-fopenmp-simd",
];

/// The C runtime is Python's and torch's own, so that an exception of ours is one of theirs.
const WINDOWS: [&str; 3] = [
    "-fopenmp-simd",
    "-fms-runtime-lib=dll",
    "-D_CRT_SECURE_NO_WARNINGS",
];

impl System {
    pub fn of_target() -> Outcome<Self> {
        let name = variable("CARGO_CFG_TARGET_OS").unwrap_or_default();
        match name.to_str() {
            Some("linux") => Ok(Self::Linux),
            Some("macos") => Ok(Self::MacOs),
            Some("windows") => Ok(Self::Windows),
            _ => Err(format!(
                "they are built for Linux, macOS and Windows, not for {}",
                name.display()
            )),
        }
    }

    /// The file of a library, as `lt_fast/_libraries.py` looks for it.
    pub fn library(self, name: &str) -> String {
        match self {
            Self::Linux => format!("lib{name}.so"),
            Self::MacOs => format!("lib{name}.dylib"),
            Self::Windows => format!("{name}.dll"),
        }
    }

    /// The compiler where `CXX` names none. Microsoft's own has no vector types, so Clang it is on Windows.
    pub fn compiler(self) -> OsString {
        let architecture = variable("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
        match self {
            Self::Linux if cross() => format!("{}-linux-gnu-g++", architecture.display()).into(),
            Self::Linux => "g++".into(),
            Self::MacOs | Self::Windows => "clang++".into(),
        }
    }

    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Linux | Self::MacOs => &POSIX,
            Self::Windows => &WINDOWS,
        }
    }

    /// The rest of the command that links a library whose objects the line holds. Elsewhere than on Linux.
    ///
    /// macOS looks for torch's symbols in what Python has loaded; Windows needs the import library that torch brings.
    pub fn finish_link(self, line: &mut Line, torch_headers: &Path) {
        if self == Self::MacOs {
            extend(line, ["-undefined", "dynamic_lookup", "-Wl,-x"]);
        } else {
            let libraries = torch_headers.with_file_name("lib");
            extend(line, [format!("-L{}", libraries.display())]);
            extend(
                line,
                ["-ltorch_cpu", "-fuse-ld=lld", "-fms-runtime-lib=dll"],
            );
        }
    }
}

/// Whether the wheel is for another processor or system than the building machine's.
pub fn cross() -> bool {
    variable("HOST") != variable("TARGET")
}
