"""The CUDA kernels as a library for the CPU: their threads run as fibers, their memory accesses are checked."""

import ctypes
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests" / "ops")]  # kernel_calls.py and hard_rows.py


@pytest.fixture(scope="session")
def emulator_path(tmp_path_factory):
    """Compile ``csrc``'s kernels with the stand-in for CUDA's header; undefined behaviour ends the process."""
    torch = Path(importlib.util.find_spec("torch").origin).parent
    here, library = Path(__file__).parent / "cuda_on_cpu", tmp_path_factory.mktemp("emulator") / "kernels.so"
    command = [os.environ.get("CXX", "g++"), "-std=c++17", "-O2", "-fPIC", "-shared", "-w"]
    command += ["-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan", f"-I{here}"]
    command += [f"-I{ROOT / 'csrc'}", "-isystem", torch / "include", "-DTORCH_TARGET_VERSION=0x020a000000000000ULL"]
    finished = subprocess.run(
        [*command, here / "kernels.cpp", "-o", library], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return library


@pytest.fixture(scope="session")
def kernels(emulator_path):
    return ctypes.CDLL(str(emulator_path))
