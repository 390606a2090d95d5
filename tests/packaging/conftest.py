"""The CUDA kernels as a library for the CPU: their threads run as fibers, their memory accesses are checked."""

import ctypes
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "target" / "cuda_on_cpu"
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests" / "ops")]  # kernel_calls.py and hard_rows.py


@pytest.fixture(scope="session")
def emulator_path():
    """Compile ``csrc``'s kernels with the stand-in for CUDA's header; undefined behaviour ends the process.

    The library is kept for these sources and this compiler: most of the suite's runs change neither.
    """
    torch, here = Path(importlib.util.find_spec("torch").origin).parent, Path(__file__).parent / "cuda_on_cpu"
    command = [os.environ.get("CXX", "g++"), "-std=c++17", "-O2", "-fPIC", "-shared", "-w"]
    command += ["-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan", f"-I{here}"]
    command += [
        f"-I{ROOT / 'csrc'}",
        "-isystem",
        str(torch / "include"),
        "-DTORCH_TARGET_VERSION=0x020a000000000000ULL",
    ]
    command += [str(here / "kernels.cpp"), "-o"]
    library = KEPT / f"{_digest(command, here, ROOT / 'csrc')}.so"
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test process may compile it now
        if not library.exists():
            _compile(command, library)
    return library


def _compile(command, library):
    for old in KEPT.glob("*.so"):
        old.unlink()
    partial = library.with_suffix(".partial")
    finished = subprocess.run([*command, partial], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    partial.replace(library)


def _digest(command, *folders):
    """Return a hash of all that decides what the compiler makes."""
    compiler = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=True).stdout
    found = hashlib.sha256(repr((command, compiler, importlib.metadata.version("torch"))).encode())
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]


@pytest.fixture(scope="session")
def kernels(emulator_path):
    return ctypes.CDLL(str(emulator_path))
