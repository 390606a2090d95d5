"""Install the wheels of a folder that this Python lacks: ``install.py WHEELS SITE``; ours in any case."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path


def distribution(wheel: Path) -> str:
    """Return the name of a wheel's package, as ``pip list`` shows it."""
    return re.sub(r"[-_.]+", "-", wheel.name.partition("-")[0]).lower()


def wanted(folder: Path) -> list[Path]:
    """Return our wheel and those of packages that are not installed."""
    there = {re.sub(r"[-_.]+", "-", found.name).lower() for found in importlib.metadata.distributions()} - {"lt-fast"}
    return [wheel for wheel in sorted(folder.glob("*.whl")) if distribution(wheel) not in there]


def main(folder: Path, site: Path) -> int:
    """Install into ``site``, without a network; return pip's exit status."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    command += ["--upgrade", "--disable-pip-version-check", "--target", str(site), *map(str, wanted(folder))]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(*map(Path, sys.argv[1:3])))
