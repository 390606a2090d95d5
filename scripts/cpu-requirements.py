"""Prints requirements.lock without torch and what a torch with CUDA alone needs, for an environment without CUDA.

    python scripts/cpu-requirements.py requirements.lock            the other packages, with their hashes
    python scripts/cpu-requirements.py requirements.lock --torch    torch and torchvision, for PyTorch's CPU index

The CUDA compiler of the group `cuda` stays: it needs no GPU, and the tests look at what it builds.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TORCH = ("torch", "torchvision")
OF_CUDA = re.compile(r"(nvidia|cuda)-.*|triton")


def entries(lock: str) -> dict[str, str]:
    """Return name to the lines of each locked package; a name can be locked twice, for different Pythons."""
    found: dict[str, str] = {}
    for entry in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]:
        name = re.split(r"[=\[; ]", entry, maxsplit=1)[0]
        found[name] = found.get(name, "") + entry
    return found


def compiler() -> set[str]:
    """Return the packages of the group ``cuda``."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    return {re.split(r"[=<>; ]", line, maxsplit=1)[0] for line in groups["cuda"]}


def main(words: list[str]) -> None:
    """Print one of the two lists."""
    found = entries(Path(words[0]).read_text(encoding="utf-8"))
    if words[1:] == ["--torch"]:
        print(*(found[name].split()[0] for name in TORCH))
        return
    kept = compiler()
    print("# Made by scripts/cpu-requirements.py from requirements.lock.")
    print("".join(entry for name, entry in found.items() if name in kept or not leaves(name)), end="")


def leaves(name: str) -> bool:
    """Return whether a package is torch, or there for its CUDA alone."""
    return name in TORCH or OF_CUDA.fullmatch(name) is not None


if __name__ == "__main__":
    main(sys.argv[1:])
