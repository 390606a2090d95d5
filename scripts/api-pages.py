"""Write the API pages, from the docstrings: ``python scripts/api-pages.py FOLDER``."""

import importlib
import sys
from pathlib import Path

import pdoc

import lt_fast

MODULES = [name for name in lt_fast.__all__ if name.islower() and name != "show_versions"]


def main() -> None:
    """Load every module, and every name that loads on first use, so that pdoc finds it; then write."""
    modules = [f"lt_fast.{name}" for name in MODULES]
    for module in map(importlib.import_module, modules):
        for name in getattr(module, "__all__", ()):
            getattr(module, name)
    pdoc.render.configure(docformat="google", math=True)
    pdoc.pdoc("lt_fast", output_directory=Path(sys.argv[1]))


if __name__ == "__main__":
    main()
