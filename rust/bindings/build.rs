//! Builds the torch op libraries of `csrc/` into `OUT_DIR`, from where maturin packs them into the wheel.
//!
//! Only with the feature `torch-ops`; `cargo test`, `check` and `clippy` without it never look for a C++ compiler.
//! The CPU library is built for Linux, macOS and Windows (`build/system.rs`), the CUDA library for Linux.
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
//! | `CXX`                   | program                | `g++`; `clang++` for macOS and Windows, `aarch64-linux-gnu-g++` for that processor |
//! | `LT_FAST_GLIBC`         | `2.28`                 | link for this glibc instead of the machine's; needs Python's `ziglang` |

#[path = "build/commands.rs"]
mod commands;
#[path = "build/machine.rs"]
mod machine;
#[path = "build/plan.rs"]
mod plan;
#[path = "build/system.rs"]
mod system;

use std::env;
use std::path::{Path, PathBuf};

use commands::{Outcome, remove_all, setting, variable};
use machine::{Host, Toolkit};
use plan::{CPU_LIBRARY, CUDA_LIBRARIES, cpu, cuda};
use system::{System, cross};

const ENVIRONMENT: [&str; 10] = [
    "LT_FAST_OPS",
    "LT_FAST_CUDA",
    "LT_FAST_TORCH_INCLUDE",
    "LT_FAST_CUDA_ARCHS",
    "LT_FAST_GLIBC",
    "CUDA_HOME",
    "NVCC",
    "CXX",
    "PYO3_PYTHON",
    "VIRTUAL_ENV",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
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
        return remove_both(&out);
    }
    match Host::find(&out).and_then(|host| cpu(&host).build(&out).map(|()| host)) {
        Ok(host) => build_cuda(&host, &cuda, ops == "require"),
        Err(reason) if ops == "auto" && cuda != "1" => {
            println!(
                "cargo::warning=op libraries not built, lt_fast will run on plain torch: {reason}"
            );
            remove_both(&out)
        }
        Err(reason) => Err(format!("the op libraries cannot be built: {reason}")),
    }
}

fn remove_both(out: &Path) -> Outcome<()> {
    remove_all(out, CPU_LIBRARY)?;
    remove_all(out, CUDA_LIBRARIES)
}

/// Builds the CUDA library, or says in one line why there is none.
fn build_cuda(host: &Host, wish: &str, strict: bool) -> Outcome<()> {
    if wish == "0" {
        return remove_all(&host.out, CUDA_LIBRARIES);
    }
    if cross() || host.system != System::Linux {
        let reason = "it is built on Linux for the building machine's own processor";
        return skip_cuda(host, wish == "1", reason);
    }
    let Some(toolkit) = Toolkit::find(host) else {
        let reason = "no nvcc found (set CUDA_HOME or NVCC, or install nvidia-cuda-nvcc)";
        return skip_cuda(host, wish == "1", reason);
    };
    match toolkit.and_then(|toolkit| build_for(host, &toolkit)) {
        Ok(()) => Ok(()),
        Err(reason) => skip_cuda(host, wish == "1" || strict, &reason),
    }
}

/// Builds the library of this toolkit, and removes one that another toolkit has left.
fn build_for(host: &Host, toolkit: &Toolkit) -> Outcome<()> {
    let plan = cuda(host, toolkit)?;
    if !plan.is_made(&host.out) {
        remove_all(&host.out, CUDA_LIBRARIES)?;
    }
    plan.build(&host.out)
}

fn skip_cuda(host: &Host, strict: bool, reason: &str) -> Outcome<()> {
    if strict {
        return Err(format!("the CUDA op library cannot be built: {reason}"));
    }
    println!("cargo::warning=CUDA op library not built, only the CPU one: {reason}");
    remove_all(&host.out, CUDA_LIBRARIES)
}
