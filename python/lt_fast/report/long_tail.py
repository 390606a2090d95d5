"""Plot how many photographs each class has, the largest class first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast.counts import FEW_BELOW, MANY_ABOVE
from lt_fast.report.style import COLOURS, figure

_NAMED_CLASSES = 40
_LONGEST_NAME = 24
_AS_LINE = 400  # classes from which on bars would be thinner than a pixel


def long_tail(path: Path, counts: Sequence[int], names: Sequence[str], *, title: str) -> None:
    """Plot the number of images of each class on a logarithmic axis, coloured by many, medium and few.

    Args:
        path: without its ending; ``.png`` and ``.svg`` are written.
        counts: images of each class; a class without any has no bar.
        names: of the classes; written out up to 40 of them.
        title: of the picture.
    """
    order = np.argsort(-np.asarray(counts), kind="stable")
    sorted_counts = np.asarray(counts, dtype=np.int64)[order]
    with figure(path, width=9.0, height=4.4) as (drawn, axes):
        drawn.suptitle(title, x=0.01, ha="left")
        _draw_groups(axes, sorted_counts)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set(ylabel="images", ylim=(0.7, max(int(sorted_counts.max(initial=1)) * 1.6, 10)))
        axes.set_xlim(-0.7, len(order) - 0.3)
        axes.grid(visible=False, axis="x")
        for limit in (MANY_ABOVE, FEW_BELOW):
            axes.axhline(limit, color="#888888", linestyle=":", linewidth=1)
        # Above the bars: where all classes are of one size, none of the axes is free.
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0.2)
        if len(order) <= _NAMED_CLASSES:
            labels = [_short(names[at]) for at in order]
            leaning: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
            axes.set_xticks(range(len(order)), labels, **(leaning if max(map(len, labels)) > 2 else {}))  # noqa: PLR2004
            axes.set_xlabel("class")
        else:
            axes.set_xlabel("class, by number of images")


def _draw_groups(axes: Any, counts: NDArray[np.int64]) -> None:
    ranks = np.arange(len(counts))
    groups = {
        f"many: more than {MANY_ABOVE}": ("many", counts > MANY_ABOVE),
        f"medium: {FEW_BELOW} to {MANY_ABOVE}": ("medium", (counts >= FEW_BELOW) & (counts <= MANY_ABOVE)),
        f"few: less than {FEW_BELOW}": ("few", (counts < FEW_BELOW) & (counts > 0)),
    }
    for label, (group, inside) in groups.items():
        if not inside.any():
            continue
        words = f"{label} ({int(inside.sum())} class{'es' * (int(inside.sum()) > 1)})"
        if len(counts) > _AS_LINE:
            axes.fill_between(
                ranks[inside], 0.5, counts[inside], color=COLOURS[group], label=words, step="mid", linewidth=0
            )
        else:
            axes.bar(ranks[inside], counts[inside], color=COLOURS[group], label=words, width=0.8)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
