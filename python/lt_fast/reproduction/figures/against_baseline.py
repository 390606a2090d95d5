"""Figures 4 to 6 of CP-Mix: recall and confusion in ten groups of classes, a method against a baseline."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast.errors import UsageError
from lt_fast.metrics import grouped_confusion, grouped_recall
from lt_fast.report.style import SKY, VERMILION, figure
from lt_fast.reproduction.figures.heat_maps import draw_groups, group_names
from lt_fast.reproduction.figures.method_confusion import MethodConfusion, Runs, read_confusion

_GROUPS = 10
_COLOURS = (SKY, VERMILION)


def draw(runs: Mapping[str, Runs], out_dir: str | Path) -> list[Path]:
    """Draw a method against a baseline as ``METHOD_against_BASELINE`` in ``out_dir``, and return the files.

    Args:
        runs: name of the baseline, then of the method, each to its run directory, or those of several seeds.
        out_dir: made if necessary.

    Raises:
        UsageError: if there are not two, or they have other classes.
        DataError: if a run has not finished, or a file cannot be read or written.
        MissingExtraError: if matplotlib is not installed.
    """
    return draw_comparison({name: read_confusion(folders) for name, folders in runs.items()}, Path(out_dir))


def draw_comparison(found: Mapping[str, MethodConfusion], out_dir: Path) -> list[Path]:
    """Draw confusions that have been read; see ``draw``."""
    if len(found) != 2:  # noqa: PLR2004
        raise UsageError(f"runs must name a baseline and a method, got {', '.join(found) or 'none'}")
    (baseline, first), (method, second) = found.items()
    if first.names != second.names or not np.array_equal(first.n_train, second.n_train):
        raise UsageError(f"runs must have the same classes of the same sizes, and {method} has others than {baseline}")
    groups = min(_GROUPS, len(first.n_train))
    names = group_names(first.n_train, groups)
    before, after = (100 * grouped_confusion(each.confusion, each.n_train, groups=groups) for each in (first, second))
    path = out_dir / _file_name(method, baseline)
    with figure(path, width=4.7, height=4.3, columns=3) as (drawn, (left, middle, right)):
        drawn.suptitle(f"{method} against {baseline}, classes in {groups} groups by size", x=0.01, ha="left")
        _draw_recall(left, found, groups, names)
        most = float(np.nanmax(before)) or 1.0
        image = draw_groups(middle, before, names, most=most)
        middle.set(title=f"Errors of {baseline}", ylabel="true group, by training images per class")
        drawn.colorbar(image, ax=middle, label="percent of the true group", shrink=0.8, pad=0.02)
        _draw_difference(drawn, right, after - before, names)
        right.set_title(f"{method} minus {baseline}")
    return [path.with_suffix(f".{ending}") for ending in ("png", "svg")]


def _draw_recall(axes: Any, found: Mapping[str, MethodConfusion], groups: int, names: list[str]) -> None:
    for number, (name, each) in enumerate(found.items()):
        recall = 100 * grouped_recall(each.confusion, each.n_train, groups=groups)
        label = f"{name}: {100 - 100 * np.nanmean(each.error):.1f} %"
        axes.barh(np.arange(groups) + 0.4 * (number - 0.5), recall, 0.4, color=_COLOURS[number], label=label)
    axes.set_yticks(range(groups), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="recall, percent", ylabel="group, by training images per class", xlim=(0, 101))
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, borderaxespad=0.2, columnspacing=1.2)


def _draw_difference(drawn: Any, axes: Any, change: NDArray[np.float64], names: list[str]) -> None:
    most = float(np.nanmax(np.abs(change))) or 1.0
    image = draw_groups(axes, change, [""] * len(names), most=most, signed=True)
    drawn.colorbar(image, ax=axes, label="change, percentage points", shrink=0.8, pad=0.02)


def _file_name(method: str, baseline: str) -> str:
    words = f"{method}_against_{baseline}".lower()
    return "".join(letter if letter.isalnum() else "_" for letter in words)
