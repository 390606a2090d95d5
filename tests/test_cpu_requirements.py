"""``make test TORCH=cpu``: what is installed without CUDA is the lock itself, less what CUDA alone needs."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"


def printed(*words):
    command = [sys.executable, str(ROOT / "scripts/cpu-requirements.py"), str(LOCK), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def names(text):
    return set(re.findall(r"^[A-Za-z0-9][\w.-]*", text, re.MULTILINE))


def test_every_other_package_keeps_its_lines():
    whole, kept = LOCK.read_text(), printed()
    left = names(whole) - names(kept)
    assert {"torch", "torchvision", "triton", "nvidia-cudnn-cu13", "cuda-bindings"} <= left
    assert all(re.match(r"torch(vision)?$|triton$|nvidia-|cuda-", name) for name in left)
    assert {"numpy", "timm", "nvidia-cuda-nvcc", "nvidia-nvvm"} <= names(kept)
    lines = [line for line in kept.splitlines() if not line.startswith("#")]
    assert set(lines) <= set(whole.splitlines())
    assert sum("--hash=" in line for line in lines) > len(names(kept))


def test_torch_and_torchvision_keep_their_versions():
    found = printed("--torch").split()
    assert [entry.partition("==")[0] for entry in found] == ["torch", "torchvision"]
    assert all(f"\n{entry} \\" in LOCK.read_text() for entry in found)


def test_make_takes_them_from_pytorchs_index_into_an_environment_of_its_own():
    command = ["make", "-n", "--no-print-directory", "TORCH=cpu", "demo"]  # `make test` tells its makes to print it
    plan = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "-m venv .venv-cpu\n" in plan
    assert "--index-url https://download.pytorch.org/whl/cpu $(.venv-cpu/bin/python scripts/cpu-requirements.py" in plan
    assert "--no-deps --require-hashes -r .venv-cpu/requirements-cpu.lock\n" in plan
    assert plan.rstrip().endswith(".venv-cpu/bin/lt-fast demo")
    usual = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert ".venv-cpu" not in usual
