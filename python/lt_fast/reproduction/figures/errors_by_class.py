"""The slides of the Maximum-Margin loss: error of each class, re-weighting against the maximum margin."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast.errors import UsageError
from lt_fast.metrics import grouped_recall
from lt_fast.report.style import SKY, VERMILION, figure
from lt_fast.reproduction.figures.heat_maps import group_names
from lt_fast.reproduction.figures.method_confusion import MethodConfusion, Runs, read_confusion

_COLOURS = (SKY, VERMILION)
_MOST_CLASSES = 12  # more are drawn in groups
_GROUPS = 10
_LONGEST = 12


def draw(runs: Mapping[str, Runs], out_dir: str | Path) -> list[Path]:
    """Draw the error of each class of two methods as ``errors_by_class`` in ``out_dir``, and return the files.

    The largest class is first. More than twelve classes are drawn in ten groups by size.

    Args:
        runs: names of the methods, such as ``"CB-RW"`` and ``"MM-DRW"``, to a run directory, or those of several seeds.
        out_dir: made if necessary.

    Raises:
        UsageError: if there are not two, or they have other classes.
        DataError: if a run has not finished, or a file cannot be read or written.
        MissingExtraError: if matplotlib is not installed.
    """
    return draw_errors({name: read_confusion(folders) for name, folders in runs.items()}, Path(out_dir))


def draw_errors(found: Mapping[str, MethodConfusion], out_dir: Path) -> list[Path]:
    """Draw errors that have been read; see ``draw``."""
    if len(found) != 2:  # noqa: PLR2004
        raise UsageError(f"runs must name two methods, got {', '.join(found) or 'none'}")
    (name, first), (other, second) = found.items()
    if first.names != second.names or not np.array_equal(first.n_train, second.n_train):
        raise UsageError(f"runs must have the same classes of the same sizes, and {other} has others than {name}")
    labels = _labels(first)
    path = out_dir / "errors_by_class"
    with figure(path, width=8.4, height=4.2) as (drawn, axes):
        drawn.suptitle("Error of each class" if len(labels) == len(first.names) else "Error of the classes by size",
                       x=0.01, ha="left")  # fmt: skip
        for number, (method, each) in enumerate(found.items()):
            _draw_bars(axes, method, each, number)
        axes.set_xticks(range(len(labels)), labels)
        axes.grid(visible=False, axis="x")
        axes.tick_params(axis="x", length=0)
        axes.set(xlabel="class, and its training images", ylabel="error, percent", ylim=(0, None))
        axes.set_xlim(-0.6, len(labels) - 0.4)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
    return [path.with_suffix(f".{ending}") for ending in ("png", "svg")]


def _draw_bars(axes: Any, name: str, found: MethodConfusion, number: int) -> None:
    percent = 100 * _errors(found)
    label = f"{name}: {100 * np.nanmean(found.error):.1f} % mean error"
    bars = axes.bar(np.arange(len(percent)) + 0.4 * (number - 0.5), percent, 0.4, color=_COLOURS[number], label=label)
    shown = ["" if np.isnan(value) else f"{value:.0f}" for value in percent]
    axes.bar_label(bars, labels=shown, fontsize=8, padding=1)


def _errors(found: MethodConfusion) -> NDArray[np.float64]:
    """Return the error of each class, the largest first, or of groups of them."""
    if len(found.names) > _MOST_CLASSES:
        return 1 - grouped_recall(found.confusion, found.n_train, groups=_GROUPS)
    return found.error[np.argsort(-found.n_train, kind="stable")]


def _labels(found: MethodConfusion) -> list[str]:
    if len(found.names) > _MOST_CLASSES:
        return [name.replace("\N{EN DASH}", "\N{EN DASH}\n") for name in group_names(found.n_train, _GROUPS)]
    order = np.argsort(-found.n_train, kind="stable")
    return [f"{_short(found.names[at])}\n{found.n_train[at]:,}" for at in order]


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
