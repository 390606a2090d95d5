"""A comparison as a dot plot: one panel per metric, one row per method, with intervals."""

from pathlib import Path
from typing import Any

from lt_fast.comparison.measuring import LOWER_IS_BETTER, METRICS
from lt_fast.comparison.table import Comparison
from lt_fast.report.metrics_table import groups_line
from lt_fast.report.style import BLACK, BLUE, VERMILION, figure

_COLOURS = {None: BLACK, "not distinguishable": BLACK, "better": BLUE, "worse": VERMILION}
_MARKERS = {None: "o", "not distinguishable": "o", "better": "^", "worse": "v"}
_COLUMNS = 4
_LEFT, _RIGHT, _LEAST = -3, 103, 2
_HEIGHT, _ROW = 1.1, 0.3


def draw_comparison(path: Path, found: Comparison) -> list[Path]:
    """Draw ``found`` as ``path`` with the endings ``.png`` and ``.svg``, and return the files.

    A blue triangle that points up is better than the first method, a red one that points down worse; a black dot is
    not distinguishable from it.

    Raises:
        MissingExtraError: if matplotlib is not installed.
        DataError: if the folder cannot be written.
    """
    rows = -(-len(METRICS) // _COLUMNS)
    height = _HEIGHT + _ROW * len(found.methods)
    with figure(path, width=3.1, height=height, columns=_COLUMNS, rows=rows) as (drawn, axes):
        for place, (metric, panel) in enumerate(zip(METRICS, axes.flat, strict=True)):
            _panel(panel, found, metric, names=place % _COLUMNS == 0)
        drawn.supxlabel(
            f"percent, with {100 * found.level:g} % intervals; compared with {found.methods[0]} (dashed): blue and up "
            "better, red and down worse, black not distinguishable\n"
            f"{groups_line(found.groups)}",
            fontsize=9,
        )
    return [path.with_suffix(f".{ending}") for ending in ("png", "svg")]


def _panel(panel: Any, found: Comparison, metric: str, *, names: bool) -> None:
    for row, method in enumerate(found.methods):
        entry = found.of(method, metric)
        if entry.value is None:
            continue
        low, high = (entry.value if end is None else end for end in (entry.low, entry.high))
        colour = _COLOURS[entry.verdict]
        panel.plot([100 * low, 100 * high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        panel.plot([100 * entry.value], [row], _MARKERS[entry.verdict], color=colour, markersize=6)
        if row == 0:
            panel.axvline(100 * entry.value, color="#888888", linewidth=0.8, linestyle="--", zorder=0)
    panel.set_title(f"{metric} (smaller is better)" if metric in LOWER_IS_BETTER else metric)
    left, right = panel.get_xlim()
    middle, half = (left + right) / 2, max((right - left) / 2, _LEAST)
    panel.set_xlim(max(middle - half, _LEFT), min(middle + half, _RIGHT))
    panel.set_ylim(len(found.methods) - 0.4, -0.6)
    panel.set_yticks(range(len(found.methods)), list(found.methods) if names else [""] * len(found.methods))
    panel.grid(axis="y", visible=False)
