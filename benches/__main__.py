"""``python -m benches [name ...]``: run the named benches, or all of them; ``--list`` names them."""

import ast
import importlib
import sys
from pathlib import Path

from benches.harness import machine_line

_NOT_A_BENCH = ("__main__", "__init__", "goals", "harness", "rust_kernels", "speed_picture")
_AFTER = ("history", "summary")  # read the CSV files that the others write


def main(names: list[str]) -> int:
    """Run the benches one after the other; return the exit status."""
    known = {file.stem: file for file in sorted(Path(__file__).parent.glob("*.py")) if file.stem not in _NOT_A_BENCH}
    if names == ["--list"]:
        for name, file in known.items():
            print(f"{name:<18} {(ast.get_docstring(ast.parse(file.read_text())) or '').partition(chr(10))[0]}")
        return 0
    for name in names:
        if name not in known:
            print(f"bench must be one of {', '.join(known)}, got {name!r}", file=sys.stderr)
            return 2
    print(machine_line())
    for name in [*(name for name in names or known if name not in _AFTER), *_AFTER]:
        importlib.import_module(f"benches.{name}").main()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
