"""``lt-fast inspect DATA``: what is in a set of photographs, what is wrong with it, and what to do."""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_fast.cli.make_lt import in_options
from lt_fast.cli.output import Output
from lt_fast.cli.train import folder
from lt_fast.errors import DataError, UsageError

if TYPE_CHECKING:
    from lt_fast.inspection.findings import Findings
    from lt_fast.inspection.listing import Listing

SUMMARY = "say what is in a set of photographs: classes, damage, duplicates, groups, and how to train"

_BETWEEN_LINES = 10.0  # seconds between two lines where stderr is no terminal
_NO_CACHE = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast inspect``."""
    parser.add_argument(
        "data", nargs="?", metavar="DATA",
        help="folder of class folders, LIST.txt, TABLE.csv, FILE.json (iNaturalist) or hf:NAME",
    )  # fmt: skip
    parser.add_argument("--root", type=folder, help="folder that the paths in a file start from (default: the file's)")
    parser.add_argument("--image-column", metavar="NAME", help="column of the paths in a table (default: path)")
    parser.add_argument("--label-column", metavar="NAME", help="column of the labels in a table (default: label)")
    parser.add_argument(
        "--delimiter", metavar="MARK", help="mark between the columns of a table: ',' (default), ';', tab"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one row per photograph")
    parser.add_argument(
        "--quarantine", type=Path, metavar="DIR",
        help="write lists of what should go or be looked at; nothing is deleted or moved",
    )  # fmt: skip
    parser.add_argument("--picture", type=Path, metavar="FILE", help="plot the classes' sizes: FILE.png and FILE.svg")
    parser.add_argument(
        "--burst-seconds", metavar="S",
        help="photographs of one camera at most so far apart must not be split (default: 2)",
    )  # fmt: skip
    parser.add_argument(
        "--cache", metavar="FILE",
        help="file in which it remembers what it found, by path, size and time; none remembers nothing "
        "(default: one per folder in ~/.cache/lt-fast)",
    )  # fmt: skip
    parser.add_argument("--processes", metavar="N", help="how many read at a time (default: one per processor)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Inspect, print, and write what was asked for."""
    from lt_fast.inspection.findings import Findings  # noqa: PLC0415
    from lt_fast.report.inspection_text import advice_text, inspection_text  # noqa: PLC0415

    if not arguments.data:
        raise UsageError("photographs are needed: lt-fast inspect DIR, with one folder per class in DIR")
    seconds = _burst_seconds(arguments.burst_seconds)
    listing = _listing(arguments)
    _check_outputs(arguments, listing.root)
    facts = _scanned(arguments, listing)
    if all(each.problem is not None for each in facts):
        raise DataError(
            f"{arguments.data}: none of its {len(facts)} photographs can be read; the first: {facts[0].problem}"
        )
    findings = Findings(listing, facts, seconds)
    summary = findings.summary()
    output.say(inspection_text(findings, summary, title=arguments.data))
    if listing.structure is None:
        command = next_command(arguments, summary)
        output.say(f"\nnext: {command}\n{advice_text(summary)}")
    else:
        command = shlex.join(["lt-fast", "inspect", str(listing.structure.inner)])
        output.say(f"\nnext: {command}")
    _write(arguments, findings, summary, output)
    output.result({**summary, "next": command})
    return 0


def _listing(arguments: argparse.Namespace) -> "Listing":
    from lt_fast.inspection.listing import listed  # noqa: PLC0415

    given = {"image": arguments.image_column, "label": arguments.label_column, "delimiter": arguments.delimiter}
    columns = {name: value for name, value in given.items() if value is not None}
    if columns.get("delimiter") in ("tab", "\\t"):
        columns["delimiter"] = "\t"
    try:
        return listed(arguments.data, arguments.root, **columns)
    except (ValueError, TypeError) as error:
        kind = DataError if isinstance(error, DataError) else UsageError
        raise kind(in_options(str(error))) from error


def _burst_seconds(text: str | None) -> float:
    from lt_fast._checks import number  # noqa: PLC0415
    from lt_fast._numbers import read_number  # noqa: PLC0415
    from lt_fast.inspection.groups import BURST_SECONDS  # noqa: PLC0415

    if text is None:
        return BURST_SECONDS
    try:
        return number("--burst-seconds", read_number(text), least=0)
    except (ValueError, OverflowError) as error:
        words = str(error)
        raise UsageError(words if words.startswith("--") else f"--burst-seconds {words}") from None


def _check_outputs(arguments: argparse.Namespace, root: Path) -> None:
    """Refuse to write into the folder of the photographs before anything is read."""
    from lt_fast.inspection.cache import refuse_inside  # noqa: PLC0415

    inside = Path(arguments.data) if Path(arguments.data).is_dir() else root
    named = {"--csv": arguments.csv, "--quarantine": arguments.quarantine, "--picture": arguments.picture}
    if arguments.cache not in (None, _NO_CACHE):
        named["--cache"] = Path(arguments.cache)
    for option, path in named.items():
        if path is None:
            continue
        # Next to a list or a table is where its user expects files; in a folder of class folders they are in the way.
        if Path(arguments.data).is_dir():
            refuse_inside(inside, path, option)
        if option in ("--csv", "--cache") and path.is_dir():
            raise UsageError(f"{option} must name a file, got the folder {path}")


def _scanned(arguments: argparse.Namespace, listing: "Listing") -> list[Any]:
    from lt_fast._numbers import integer_option  # noqa: PLC0415
    from lt_fast.inspection.cache import FactsCache  # noqa: PLC0415
    from lt_fast.inspection.scanning import available_processors, scan  # noqa: PLC0415

    processes = available_processors()
    if arguments.processes is not None:
        processes = integer_option("--processes", arguments.processes, least=1, most=1024)
    files = listing.files()
    with FactsCache(_cache_path(arguments, listing.root)) as cache, _progress(len(files), arguments.quiet) as advance:
        return scan(files, cache=cache, processes=processes, advance=advance)


def _cache_path(arguments: argparse.Namespace, root: Path) -> Path | None:
    from lt_fast.inspection.cache import default_cache  # noqa: PLC0415

    if arguments.cache == _NO_CACHE:
        return None
    return default_cache(root) if arguments.cache is None else Path(arguments.cache)


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of files done: a bar on a terminal, else a line now and then."""
    stream = sys.stderr
    if quiet or stream is None:
        yield lambda _: None
        return
    if stream.isatty():
        from lt_fast._extras import require  # noqa: PLC0415

        tqdm = require("tqdm", extra="train", purpose="the progress bar").tqdm
        with tqdm(total=total, unit="file", desc="inspecting", file=stream, dynamic_ncols=True, leave=False) as bar:
            yield bar.update
        return
    done, said = 0, time.monotonic()

    def advance(more: int) -> None:
        nonlocal done, said
        done += more
        if time.monotonic() - said > _BETWEEN_LINES:
            said = time.monotonic()
            stream.write(f"inspected {done} of {total} files\n")

    yield advance


def next_command(arguments: argparse.Namespace, summary: Mapping[str, Any]) -> str:
    """Return the command that trains on what was inspected."""
    words = ["lt-fast", "train", arguments.data]
    if arguments.root is not None:
        words += ["--root", str(arguments.root)]
    for option in ("image_column", "label_column", "delimiter"):
        if getattr(arguments, option) is not None:
            words += ["--set", f"data.{option}={getattr(arguments, option)}"]
    words.append(f"--{summary['mode']}")
    if not summary["testable"]:
        words += ["--test", "DIR"]
    if summary["folds"]:
        words += ["--folds", str(summary["folds"])]
    return shlex.join(words)


def _write(arguments: argparse.Namespace, findings: "Findings", summary: dict[str, Any], output: Output) -> None:
    from lt_fast.inspection.lists import write_quarantine, write_rows  # noqa: PLC0415

    if arguments.csv is not None:
        write_rows(arguments.csv, findings)
        output.say(f"rows: {arguments.csv}")
    if arguments.quarantine is not None:
        written = write_quarantine(arguments.quarantine, findings)
        listed = ", ".join(f"{name} {count}" for name, count in written.items())
        output.say(f"lists: {arguments.quarantine} ({listed}); nothing was deleted or moved")
    if arguments.picture is not None:
        from lt_fast.report.long_tail import long_tail  # noqa: PLC0415

        name, classes = Path(arguments.data).resolve().name, len(findings.counts)
        title = f"{name}: {summary['readable']:,} photographs in {classes:,} classes"
        long_tail(arguments.picture.with_suffix(""), findings.counts.tolist(), findings.listing.classes, title=title)
        output.say(f"picture: {arguments.picture.with_suffix('.png')}")
