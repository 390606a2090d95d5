"""Build a folder that measures lt-fast on a machine with a GPU and nothing else: ``make gpu-bundle``.

It holds the wheel, the CUDA tests, the bench on CUDA, trainings, and one script that runs all and writes a summary.
The machine needs Python and PyTorch with CUDA. With ``--wheels`` the folder also holds what the tests and trainings
need besides, in the versions of ``requirements.lock``; with ``--cifar`` it holds CIFAR-100-LT.

    python scripts/gpu-bundle.py [--wheel FILE] [--out build/gpu-bundle] [--cifar DIR] [--wheels] [--python 3.11]
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PARTS = ROOT / "scripts" / "gpu_bundle"
BENCHES = ("__init__.py", "harness.py", "cuda.py", "training.py", "rivals/margin_losses.py", "rivals/training_loops.py")
TESTS = ("ops/cases.py", "ops/conftest.py", "ops/test_cuda.py", "training/tiny.py", "training/test_step_cuda.py")
IMBALANCE_RATIO = 100
# What the tests and `lt-fast train` import besides numpy and torch, with what these import.
PACKAGES = (
    "contourpy", "cycler", "fonttools", "hypothesis", "iniconfig", "jinja2", "joblib", "kiwisolver", "markupsafe",
    "matplotlib", "numpy", "packaging", "pillow", "pluggy", "pygments", "pyparsing", "pytest", "python-dateutil",
    "safetensors", "scikit-learn", "scipy", "sortedcontainers", "threadpoolctl", "tqdm",
)  # fmt: skip


def build(out: Path, wheel: Path, cifar: Path | None = None) -> None:
    """Fill ``out``, which is emptied first."""
    if out.exists():
        shutil.rmtree(out)
    shutil.copytree(PARTS, out, ignore=shutil.ignore_patterns("__pycache__"))
    for folder, names in (("benches", BENCHES), ("tests", TESTS)):
        for name in names:
            target = out / folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / folder / name).exists():
                shutil.copyfile(ROOT / folder / name, target)
    (out / "wheels").mkdir()
    shutil.copy(wheel, out / "wheels")
    if cifar is not None:
        pack(cifar, out / "data" / "cifar100-lt.npz")


def pack(cifar: Path, target: Path) -> None:
    """Write CIFAR-100-LT's images and labels, and the test set's, into one file."""
    from lt_fast.datasets import cifar_lt  # noqa: PLC0415 - needed here alone

    target.parent.mkdir(parents=True)
    train, test = (cifar_lt(cifar, imbalance_ratio=IMBALANCE_RATIO, train=train) for train in (True, False))
    np.savez_compressed(
        target, classes=np.array(train.classes), train_images=train.images, train_labels=train.labels,
        test_images=test.images, test_labels=test.labels,
    )  # fmt: skip


def locked(names: Sequence[str], python: str) -> str:
    """Return the lines of ``requirements.lock`` that hold for these packages and this Python, with their hashes."""
    environment, found = {"python_version": python, "python_full_version": f"{python}.0"}, {}
    for block in re.split(r"\n(?=[a-z])", (ROOT / "requirements.lock").read_text(encoding="utf-8")):
        head, *rest = block.splitlines()
        if "==" in head:
            wanted = Requirement(head.rstrip(" \\"))
            if wanted.marker is None or wanted.marker.evaluate(environment):
                hashes = [line for line in rest if "--hash" in line]
                found[wanted.name] = "\n".join([f"{wanted.name}{wanted.specifier} \\", *hashes])
    return "\n".join(found[name] for name in names) + "\n"


def download(out: Path, python: str) -> None:
    """Put the other wheels next to ours."""
    wanted = out / "wheels.lock"
    wanted.write_text(locked(PACKAGES, python), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--python-version", python, "--require-hashes", "--dest", str(out / "wheels"), "-r", str(wanted)]
    subprocess.run(command, check=True)
    wanted.unlink()


def newest_wheel() -> Path:
    """Return the newest wheel of ``dist``.

    Raises:
        SystemExit: if there is none.
    """
    found = sorted((ROOT / "dist").glob("lt_fast-*x86_64.whl"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit("dist must hold a wheel, got none; run `make wheel` first, or name one with --wheel FILE")
    return found[-1]


def main(arguments: Sequence[str]) -> None:
    """Build the folder and say what is in it."""
    parser = argparse.ArgumentParser(prog="scripts/gpu-bundle.py", description=__doc__)
    parser.add_argument("--wheel", type=Path, help="default: the newest in dist")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu-bundle")
    parser.add_argument(
        "--cifar", type=Path, help="folder of CIFAR-100's official files; without it nothing is trained"
    )
    parser.add_argument("--wheels", action="store_true", help="download what the tests and trainings import, too")
    parser.add_argument("--python", default="{}.{}".format(*sys.version_info), help="of the GPU's machine, as 3.11")
    options = parser.parse_args(arguments)
    build(options.out, options.wheel or newest_wheel(), options.cifar)
    if options.wheels:
        download(options.out, options.python)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{options.out}: {size / 1e6:.0f} MB; copy it to the machine with the GPU and run ./run.sh there")


if __name__ == "__main__":
    main(sys.argv[1:])
