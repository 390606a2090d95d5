"""Figure 3 of CP-Mix: which groups of classes are predicted as which, one heat map per method."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lt_fast.metrics import grouped_confusion
from lt_fast.report.style import figure
from lt_fast.reproduction.figures.heat_maps import draw_groups, group_names
from lt_fast.reproduction.figures.method_confusion import MethodConfusion, Runs, read_confusion

_GROUPS = 10


def draw(runs: Mapping[str, Runs], out_dir: str | Path) -> list[Path]:
    """Draw the grouped confusion of each method as ``confusion_of_groups`` in ``out_dir``, and return the files.

    Args:
        runs: name of the method, such as ``"ERM"`` and ``"Mixup"``, to its run directory, or those of several seeds.
        out_dir: made if necessary.

    Raises:
        UsageError: if there is no run.
        DataError: if a run has not finished, or a file cannot be read or written.
        MissingExtraError: if matplotlib is not installed.
    """
    return draw_confusions({name: read_confusion(folders) for name, folders in runs.items()}, Path(out_dir))


def draw_confusions(found: Mapping[str, MethodConfusion], out_dir: Path) -> list[Path]:
    """Draw confusions that have been read; see ``draw``."""
    groups = min(_GROUPS, *(len(each.n_train) for each in found.values()))
    percent = {
        name: 100 * grouped_confusion(each.confusion, each.n_train, groups=groups) for name, each in found.items()
    }
    most = max(float(np.nanmax(matrix)) for matrix in percent.values()) or 1.0
    path = out_dir / "confusion_of_groups"
    with figure(path, width=4.9, height=5.2, columns=len(found)) as (drawn, axes):
        drawn.set_layout_engine("compressed")
        panels = np.atleast_1d(axes)
        drawn.suptitle("Test images predicted as a wrong class, classes in groups by size", x=0.01, ha="left")
        for at, (axis, (name, each)) in enumerate(zip(panels, found.items(), strict=True)):
            image = draw_groups(axis, percent[name], group_names(each.n_train, groups), most=most)
            axis.set_title(f"{name}: {100 * np.nanmean(each.error):.1f} % mean error")
            axis.set_ylabel("" if at else "true group, by training images per class")
        drawn.colorbar(image, ax=list(panels), label="percent of the true group", shrink=0.8, pad=0.02)
    return [path.with_suffix(f".{ending}") for ending in ("png", "svg")]
