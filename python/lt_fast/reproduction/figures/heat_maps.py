"""Heat maps of groups of classes: one colour scale for all panels of a picture, numbers in the cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast.metrics import size_groups

_MOST_WITH_NUMBERS = 12
_HIDDEN = 0.5  # percent: what rounds to 0, as Python rounds
SEQUENTIAL, DIVERGING = "cividis", "PuOr_r"


def group_names(n_train: NDArray[np.int64], groups: int) -> list[str]:
    """Return the training images of each group's classes, such as ``500-331``, the largest first."""
    members = [n_train[group] for group in size_groups(n_train, groups)]
    ends = [(int(group.max()), int(group.min())) for group in members]
    return [f"{high:,}" if high == low else f"{high:,}\N{EN DASH}{low:,}" for high, low in ends]


def draw_groups(
    axes: Any, percent: NDArray[np.float64], names: Sequence[str], *, most: float, signed: bool = False
) -> Any:
    """Draw a matrix of groups in percent, and return what a colour bar needs.

    Args:
        axes: of matplotlib.
        percent: ``(G, G)``, true group by row; NaN is left empty.
        names: of the groups, at the rows; columns have numbers.
        most: end of the colour scale.
        signed: from ``-most`` to ``most``, with a colour for each sign.
    """
    low, colours = (-most, DIVERGING) if signed else (0.0, SEQUENTIAL)
    image = axes.imshow(percent, cmap=colours, vmin=low, vmax=most, interpolation="nearest")
    axes.grid(visible=False)
    places = range(len(percent))
    axes.set_xticks(places, [str(number + 1) for number in places])
    axes.set_yticks(places, names)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted group")
    for side in axes.spines.values():
        side.set_visible(False)
    if len(percent) <= _MOST_WITH_NUMBERS:
        _numbers(axes, percent, most=most, signed=signed)
    return image


def _numbers(axes: Any, percent: NDArray[np.float64], *, most: float, signed: bool) -> None:
    for (row, column), value in np.ndenumerate(percent):
        if not np.isfinite(value) or abs(value) <= _HIDDEN:
            continue
        words = f"{value:+.0f}".replace("-", "\N{MINUS SIGN}") if signed else f"{value:.0f}"
        axes.text(column, row, words, ha="center", va="center", fontsize=8, color=_ink(value, most, signed=signed))


def _ink(value: float, most: float, *, signed: bool) -> str:
    """Return black on a bright cell and white on a dark one."""
    share = abs(value) / most
    if signed:
        return "white" if share > 0.6 else "black"  # noqa: PLR2004
    return "black" if share > 0.5 else "white"  # noqa: PLR2004
