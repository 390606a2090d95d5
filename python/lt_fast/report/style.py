"""Common style of all plots: colours that colour-blind readers can distinguish, sizes, and saving."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lt_fast._extras import require
from lt_fast._files import FOR_RUN, NextStep, make_folder, replace_file

# Okabe and Ito's palette (Color Universal Design, 2008); each colour has the same meaning in all plots.
BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000",
)  # fmt: skip
COLOURS = {
    "overall": BLACK,
    "many": BLUE,
    "medium": GREEN,
    "few": VERMILION,
    "loss": PURPLE,
    "before": SKY,
    "after": VERMILION,
}
MARKERS = {"overall": "", "many": "o", "medium": "s", "few": "^"}

_STYLE: dict[str, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": True,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "svg.hashsalt": "lt-fast",
    "svg.fonttype": "none",
}


@contextmanager
def figure(
    path: Path,
    *,
    width: float = 6.0,
    height: float = 4.0,
    columns: int = 1,
    rows: int = 1,
    next_step: NextStep = FOR_RUN,
) -> Iterator[tuple[Any, Any]]:
    """Yield ``(figure, axes)`` in the common style and save it as ``path`` with the endings ``.png`` and ``.svg``.

    Uses its own Agg canvas: no display, no pyplot state, and the caller's matplotlib settings are not changed.

    Raises:
        MissingExtraError: if matplotlib is not installed.
        DataError: if the folder cannot be written.
    """
    matplotlib = require("matplotlib", extra="train", purpose="drawing plots")
    figures = require("matplotlib.figure", extra="train", purpose="drawing plots")
    with matplotlib.rc_context(_STYLE):
        drawn = figures.Figure(figsize=(width * columns, height * rows))
        yield drawn, drawn.subplots(rows, columns)
        for ending in ("png", "svg"):
            _save(drawn, path.with_suffix(f".{ending}"), next_step)


def _save(drawn: Any, path: Path, next_step: NextStep) -> None:
    # Without a date the file is bit-identical from run to run.
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    data = io.BytesIO()
    drawn.savefig(data, format=path.suffix[1:], metadata=metadata)
    make_folder(path.parent, next_step=next_step)
    replace_file(path, data.getvalue(), next_step=next_step)
