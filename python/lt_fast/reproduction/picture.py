"""An answer as a picture: measured numbers with intervals next to the published ones; a curve for a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lt_fast.report.style import BLUE, VERMILION, figure
from lt_fast.reproduction.answers import Answer, Entry, finished_folders
from lt_fast.reproduction.target import Tail

_COLUMNS = 4
_ROW_HEIGHT, _MARGIN, _CURVE_HEIGHT = 0.28, 1.1, 3.2


def draw(found: Answer, folder: Path) -> list[Path]:
    """Draw the picture of an answer into ``folder``, as PNG and SVG, and return the files.

    A figure that has a drawing of its own is drawn by it, once every row has a finished run. Anything else is
    ``picture``: one panel per data set, in which a table has a line per row and a figure its axis from left to right. A
    blue dot is measured, with its interval; a red diamond is published, hollow where the number is unverified.

    Raises:
        MissingExtraError: if matplotlib is not installed.
        DataError: if the folder cannot be written.
    """
    own = found.plan.target.draw
    if own is None:
        return _panels(found, folder / "picture.png")
    runs = {each.row.label: finished_folders(each) for each in found.plan.rows}
    complete = all(runs.values()) and len(runs) == len(found.plan.target.rows)
    return own(runs, folder) if complete else []


def _panels(found: Answer, path: Path) -> list[Path]:
    shown = [entry for entry in found.entries if entry.metric == "overall"]
    shown = [entry for entry in shown if entry.measured is not None or entry.published is not None]
    if not shown:
        return []
    tails = list(dict.fromkeys(entry.tail for entry in shown))
    columns = min(len(tails), _COLUMNS)
    most = max(len(_of(shown, tail)) for tail in tails)
    height = _CURVE_HEIGHT if found.plan.target.axis else _MARGIN + _ROW_HEIGHT * most
    with figure(path, width=4.0, height=height, columns=columns, rows=-(-len(tails) // columns)) as (drawn, axes):
        panels = list(axes.flat) if hasattr(axes, "flat") else [axes]
        for panel, tail in zip(panels, tails, strict=False):
            panel.set_title(tail.in_words())
            (_curve if found.plan.target.axis else _lines)(panel, found, _of(shown, tail))
        for panel in panels[len(tails) :]:
            panel.set_axis_off()
        drawn.supxlabel(_legend(shown), fontsize=9)
    return [path.with_suffix(f".{ending}") for ending in ("png", "svg")]


def _legend(shown: Sequence[Entry]) -> str:
    hollow = "" if all(entry.verified or entry.published is None for entry in shown) else ", hollow unverified"
    published = "" if all(entry.published is None for entry in shown) else f"; red diamond published{hollow}"
    return f"accuracy, percent: blue dot measured, with 95 % interval{published}"


def _of(entries: Sequence[Entry], tail: Tail) -> list[Entry]:
    return [entry for entry in entries if entry.tail == tail]


def _lines(panel: Any, _: Answer, entries: Sequence[Entry]) -> None:
    for place, entry in enumerate(entries):
        if entry.measured is not None:
            half = entry.half_width or 0.0
            panel.plot([entry.measured - half, entry.measured + half], [place, place], color=BLUE, linewidth=2)
            panel.plot([entry.measured], [place], "o", color=BLUE, markersize=6)
        if entry.published is not None:
            panel.plot([entry.published], [place], "D", **_published_style(entry))
    panel.set_ylim(len(entries) - 0.4, -0.6)
    panel.set_yticks(range(len(entries)), [entry.row for entry in entries])
    panel.grid(axis="y", visible=False)


def _curve(panel: Any, found: Answer, entries: Sequence[Entry]) -> None:
    at = {each.row.label: each.row.at for each in found.plan.rows}
    measured = [entry for entry in entries if entry.measured is not None]
    if measured:
        half = [entry.half_width or 0.0 for entry in measured]
        x, y = [at[entry.row] for entry in measured], [entry.measured for entry in measured]
        panel.errorbar(x, y, yerr=half, fmt="o-", color=BLUE, capsize=2)
    for entry in entries:
        if entry.published is not None:
            panel.plot([at[entry.row]], [entry.published], "D", **_published_style(entry))
    panel.set_xlabel(found.plan.target.axis)


def _published_style(entry: Entry) -> dict[str, Any]:
    return {"color": VERMILION, "markersize": 5, "markerfacecolor": VERMILION if entry.verified else "none"}
