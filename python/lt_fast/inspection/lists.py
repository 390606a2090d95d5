"""Write what an inspection found to files: one row per photograph, and lists of what should go or be looked at."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from lt_fast._files import make_folder, replace_file
from lt_fast.errors import DataError
from lt_fast.inspection.facts import Facts
from lt_fast.inspection.findings import Findings

COLUMNS = (
    "path", "class", "problem", "bytes_hash", "pixels_hash", "perceptual_hash", "width", "height", "mode", "format",
    "taken", "camera", "warning", "one_colour", "copy_of", "near_duplicates", "group",
)  # fmt: skip

QUARANTINE = ("damaged.csv", "copies.csv", "two_labels.csv", "near_duplicates.csv", "one_colour.csv", "passed_over.csv")


def write_rows(path: Path, findings: Findings) -> None:
    """Write one row per photograph, in the order of the listing, with the columns of ``COLUMNS``.

    ``copy_of`` is the first photograph with the same pixels, ``near_duplicates`` and ``group`` name the first of the
    group; empty where there is none. ``taken`` has no time zone, as in EXIF data.

    Raises:
        DataError: if the file cannot be written.
    """
    make_folder(path.parent)
    replace_file(path, _csv(COLUMNS, _rows(findings)))


def write_quarantine(folder: Path, findings: Findings) -> dict[str, int]:
    """Write lists of what should go or be looked at, and return the number of photographs in each.

    - ``damaged.csv``: path, class, problem. Cannot be read.
    - ``copies.csv``: path, class, copy_of. Copies within a class, all but the first.
    - ``two_labels.csv``: path, class, group. The same image in several classes: a person must say which is right.
    - ``near_duplicates.csv``: path, class, group. For a person to look at.
    - ``one_colour.csv``: path, class.
    - ``passed_over.csv``: path, reason. Not read.

    Nothing is deleted or moved. Lists of an earlier inspection are replaced.

    Raises:
        DataError: if the folder cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"--quarantine must name a folder, got the file {folder}; name another")
    make_folder(folder)
    paths, first = findings.listing.paths, _first_of(findings.copies)
    lists: dict[str, tuple[tuple[str, ...], list[tuple[str, ...]]]] = {
        "damaged.csv": (
            ("path", "class", "problem"),
            [(paths[at], findings.class_of(at), findings.facts[at].problem or "") for at in findings.damaged],
        ),
        "copies.csv": (
            ("path", "class", "copy_of"),
            [(paths[at], findings.class_of(at), paths[first[at]]) for at in findings.surplus],
        ),
        "two_labels.csv": (("path", "class", "group"), _members(findings, findings.two_labels)),
        "near_duplicates.csv": (("path", "class", "group"), _members(findings, findings.near_duplicates)),
        "one_colour.csv": (("path", "class"), [(paths[at], findings.class_of(at)) for at in findings.flat]),
        "passed_over.csv": (("path", "reason"), list(findings.listing.passed_over.items())),
    }
    for name, (columns, rows) in lists.items():
        replace_file(folder / name, _csv(columns, rows))
    return {name: len(rows) for name, (_, rows) in lists.items()}


def _members(findings: Findings, groups: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
    paths = findings.listing.paths
    return [(paths[at], findings.class_of(at), paths[group[0]]) for group in groups for at in group]


def _first_of(groups: Sequence[Sequence[int]]) -> dict[int, int]:
    return {at: group[0] for group in groups for at in group}


def _rows(findings: Findings) -> Iterator[tuple[str, ...]]:
    paths, sizes = findings.listing.paths, findings.group_sizes
    copy, near = _first_of(findings.copies), _first_of(findings.near_duplicates)
    for at, (path, facts, group) in enumerate(zip(paths, findings.facts, findings.groups.names, strict=True)):
        yield (
            path,
            findings.class_of(at),
            *_cells(facts),
            paths[copy[at]] if copy.get(at, at) != at else "",
            paths[near[at]] if at in near else "",
            group if sizes[group] > 1 else "",
        )


def _cells(facts: Facts) -> tuple[str, ...]:
    return (
        facts.problem or "",
        facts.content,
        facts.pixels,
        "" if facts.looks is None else f"{facts.looks:016x}",
        *((str(facts.width), str(facts.height)) if facts.problem is None else ("", "")),
        facts.mode,
        facts.format,
        "" if facts.taken is None else datetime.fromtimestamp(facts.taken, UTC).replace(tzinfo=None).isoformat(),
        facts.camera or "",
        facts.warning or "",
        "yes" if facts.problem is None and facts.looks is None else "",
    )


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")  # a passed-over name may be no UTF-8
