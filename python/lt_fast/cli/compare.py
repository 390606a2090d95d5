"""``lt-fast compare RUN RUN...``: one table over methods and seeds, with intervals and words."""

import argparse
import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_fast.cli.output import Output
from lt_fast.cli.train import folder
from lt_fast.errors import UsageError

if TYPE_CHECKING:
    from lt_fast.comparison import Comparison

MAX_COUNT = 1 << 53

SUMMARY = "compare finished runs: every metric with an interval, and better, worse or not distinguishable"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast compare``."""
    parser.add_argument(
        "runs", nargs="*", type=folder, help="directories of finished runs; runs that differ in the seed are one method"
    )
    parser.add_argument("--level", default="0.95", help="of the intervals (default: 0.95)")
    for option, usual in (("--many-above", "more"), ("--few-below", "less")):
        parser.add_argument(
            option, metavar="N", help=f"the group has classes with {usual} training images than N (default: the runs')"
        )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one row per metric and method")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw a dot plot with the intervals")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Compare and print."""
    if not arguments.runs:
        raise UsageError("run directories are needed: lt-fast compare runs/A runs/B")
    level = _level(arguments.level)
    if arguments.picture is not None and arguments.picture.suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"--picture must end in .png or .svg, got {str(arguments.picture)!r}; both are written")
    from lt_fast.comparison import compare  # noqa: PLC0415

    found = compare(arguments.runs, level=level, groups=_groups(arguments))
    _print(found, output)
    if arguments.csv is not None:
        _write(arguments.csv, found)
        output.say(f"\ntable: {arguments.csv}")
    pictures = _drawn(arguments.picture, found)
    if pictures:
        output.say(f"picture: {pictures[0]}")
    entries = [entry._asdict() for entry in found.entries]
    groups = dict(zip(("many_above", "few_below"), found.groups, strict=True))
    result = {"methods": list(found.methods), "level": found.level, "groups": groups, "entries": entries}
    output.result({**result, "pictures": pictures})
    return 0


def _level(text: str) -> float:
    from lt_fast._numbers import fraction_option  # noqa: PLC0415

    return fraction_option("--level", text, ends=False, hint="; 0.95 is usual")


def _groups(arguments: argparse.Namespace) -> tuple[int, int] | None:
    """Return the thresholds that are to take the place of the runs' own, or None."""
    from lt_fast._numbers import integer_option  # noqa: PLC0415

    given = {"--many-above": arguments.many_above, "--few-below": arguments.few_below}
    lacking = [name for name, text in given.items() if text is None]
    if len(lacking) == len(given):
        return None
    if lacking:
        raise UsageError(f"{lacking[0]} must be given, too: both take the place of the runs' thresholds")
    many, few = (integer_option(name, text, least=1, most=MAX_COUNT) for name, text in given.items())
    if few > many + 1:
        raise UsageError(f"--few-below must be <= --many-above + 1, or a class is in two groups, got {few} and {many}")
    return many, few


def _drawn(file: Path | None, found: "Comparison") -> list[str]:
    if file is None:
        return []
    from lt_fast.comparison.picture import draw_comparison  # noqa: PLC0415

    return [str(path) for path in draw_comparison(file, found)]


def _write(file: Path, found: "Comparison") -> None:
    from lt_fast._files import make_folder, replace_file  # noqa: PLC0415

    text = io.StringIO()
    writer = csv.DictWriter(text, list(found.entries[0]._fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if value is None else value for name, value in each._asdict().items()}
                     for each in found.entries)  # fmt: skip
    make_folder(file.parent)
    replace_file(file, text.getvalue().encode())


def _print(found: "Comparison", output: Output) -> None:
    from lt_fast.report.tables import text_table  # noqa: PLC0415

    first, last = found.methods[0], None
    rows = []
    for entry in found.entries:
        name = entry.metric if entry.metric != last else ""
        last = entry.metric
        rows.append([name, entry.method, _percent(entry.value), _range(entry.low, entry.high),
                     _percent(entry.difference, sign=True), _range(entry.difference_low, entry.difference_high),
                     entry.verdict or ""])  # fmt: skip
    header = ["metric", "method", "percent", "interval", f"minus {first}", "interval", ""]
    if len(found.methods) == 1:
        header, rows = header[:4], [row[:4] for row in rows]
    output.say(text_table(header, rows, left=2))
    output.say(f"\n{_words(found)}")


def _words(found: "Comparison") -> str:
    from lt_fast.report.metrics_table import groups_line  # noqa: PLC0415

    counts = {entry.method: entry.runs for entry in found.entries}
    runs = ", ".join(f"{name}: {number} run{'s' * (number > 1)}" for name, number in counts.items())
    kinds = {entry.interval for entry in found.entries if entry.interval is not None}
    over = " and ".join(sorted(kinds))
    words = f"{runs}; {100 * found.level:g} % intervals over {over}, each comparison for itself"
    return f"{words}\n{groups_line(found.groups)}"


def _percent(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return "-"
    return f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"


def _range(low: Any, high: Any) -> str:
    return "-" if low is None else f"{100 * low:.1f} to {100 * high:.1f}"
