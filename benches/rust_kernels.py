"""The rows that ``rust/core/benches/kernels.rs`` prints: what a kernel costs without Python around it."""

import csv
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMAND = ("cargo", "bench", "--locked", "--quiet", "--package", "lt-fast-core", "--bench", "kernels")


def can_run() -> bool:
    """Whether there is a cargo; it then also builds, so that the next call does nothing but measure."""
    if shutil.which(COMMAND[0]) is None:
        return False
    subprocess.run([*COMMAND, "--no-run"], cwd=ROOT, check=True)
    return True


def rows() -> list[dict[str, str]]:
    """Run the kernels; rows with the columns counts, samples, draw, output, sampler, ns per index."""
    printed = subprocess.run(COMMAND, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return list(csv.DictReader(printed.splitlines()))
