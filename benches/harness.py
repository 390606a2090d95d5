"""What every bench needs: the best of several runs, the machine in one line, and a CSV that holds both."""

import csv
import gc
import importlib
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"


def best_of(function: Callable[[], Any], repeats: int = 10, *, at_least: float = 0.02) -> float:
    """Return the shortest time of one call of ``function``, in seconds.

    Each of the ``repeats`` runs calls it until ``at_least`` seconds have passed, so that a call of a microsecond is
    not measured by the clock's own noise. One call goes before, unmeasured, and the collector of garbage is off.

    Raises:
        ValueError: if ``repeats`` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be >= 1, got {repeats}")
    function()
    calls = _calls_for(function, at_least)
    collecting = gc.isenabled()
    gc.disable()
    try:
        return min(_seconds(function, calls) for _ in range(repeats)) / calls
    finally:
        if collecting:
            gc.enable()


def _calls_for(function: Callable[[], Any], at_least: float) -> int:
    calls = 1
    while (seconds := _seconds(function, calls)) < at_least:
        calls = max(2 * calls, int(calls * at_least / max(seconds, 1e-9)))
    return calls


def _seconds(function: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return time.perf_counter() - start


def installed(module: str) -> ModuleType | None:
    """Return a rival's module, or nothing where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def machine_line() -> str:
    """Return processor, cores, instruction sets, load, Python, numpy, torch and its threads, in one line."""
    model, flags = _processor()
    sets = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if name in flags]
    load, cores = f"{os.getloadavg()[0]:.2f}", len(os.sched_getaffinity(0))
    return (
        f"{model}; {cores} core{'s' * (cores != 1)}; {' '.join(sets) or 'no avx2'}; load {load}; "
        f"python {platform.python_version()}; numpy {np.__version__}; torch {torch.__version__} "
        f"with {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() != 1)}"
    )


def _processor() -> tuple[str, list[str]]:
    found: dict[str, str] = {}
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip(), value.strip())
    return found.get("model name") or platform.processor() or platform.machine(), found.get("flags", "").split()


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]], *, about: str | None = None) -> Path:
    """Write ``rows`` under a first line ``# <machine>``, or ``# <about>``; relative paths are in ``benches/results``.

    Raises:
        ValueError: if there is no row, or the rows have different columns.
    """
    if not rows:
        raise ValueError("rows must not be empty")
    columns = list(rows[0])
    for row in rows:
        if list(row) != columns:
            raise ValueError(f"rows must have the same columns, got {columns} and {list(row)}")
    target = RESULTS / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="", encoding="utf-8") as file:
        file.write(f"# {about or machine_line()}\n")
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return target


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print ``rows`` as aligned columns: numbers to the right, with three digits that count."""
    if not rows:
        return
    cells = [[_shown(row[column]) for column in rows[0]] for row in rows]
    widths = [max(len(name), *(len(line[at]) for line in cells)) for at, name in enumerate(rows[0])]
    numeric = [isinstance(value, int | float) for value in rows[0].values()]
    for line in [list(rows[0]), *cells]:
        aligned = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        print("  ".join(aligned).rstrip())


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return ``rows`` as a Markdown table; a missing value is a dash."""
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[_shown(value) for value in row.values()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def replace_between(page: Path, name: str, text: str) -> None:
    """Put ``text`` between the lines ``<!-- name -->`` and ``<!-- end of name -->`` of ``page``.

    Raises:
        ValueError: if the page lacks one of the two lines.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    if not begin or not end:
        raise ValueError(f"{page.name} must hold the lines <!-- {name} --> and <!-- end of {name} -->, got one at most")
    page.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


def read_csv(path: str | Path) -> tuple[str, list[dict[str, str]]]:
    """Return the machine's line and the rows of what ``write_csv`` wrote."""
    with (RESULTS / path).open(newline="", encoding="utf-8") as file:
        machine = file.readline().removeprefix("# ").strip()
        return machine, list(csv.DictReader(file))


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
