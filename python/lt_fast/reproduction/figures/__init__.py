"""Published figures: which runs each one needs, and the function that draws it from their directories.

>>> FIGURES["cp-mix-figure-4"].labels()
('ERM', 'CP-Mix')

``figure.draw(runs, out_dir)`` takes each label's run directory, or those of several seeds, and returns the files. The
numbers alone are those of ``lt_fast.metrics``: ``grouped_confusion``, ``grouped_recall`` and ``confusion_spread``.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from lt_fast.recipes.mm_settings import CLASS_ERRORS
from lt_fast.recipes.rows import Row, Table
from lt_fast.reproduction.figures import (
    against_baseline,
    confusion_of_groups,
    errors_by_class,
    spread_of_errors,
    toy_example,
)
from lt_fast.reproduction.figures.method_confusion import MethodConfusion, Runs, read_confusion

__all__ = ["FIGURES", "Figure", "MethodConfusion", "Runs", "read_confusion"]

_CP_MIX = "Yoon, Hong, Joo, Qin, Jeong, Lee 2024, arXiv:2411.07621"
_OURS = "ours: the figure's data set was not available; its counts are of 100 test images per class, as CIFAR-100 has"


class Figure(NamedTuple):
    """A published figure.

    Attributes:
        name: what ``lt-fast reproduce`` calls it.
        title: in words.
        paper: where it was published.
        tables: the runs that it needs, on each data set; none where it trains by itself.
        draw: from (label to run directories, folder) to the files.
        lost: what of the original is not known.

    >>> figure = FIGURES["cp-mix-figure-4"]
    >>> isinstance(figure, Figure), figure.labels(), figure.tables[0].data
    (True, ('ERM', 'CP-Mix'), 'cifar100-lt')
    """

    name: str
    title: str
    paper: str
    tables: tuple[Table, ...]
    draw: Callable[[Mapping[str, Runs], str | Path], list[Path]]
    lost: str = ""

    def labels(self) -> tuple[str, ...]:
        """Return the labels of all runs, in the order in which ``draw`` takes them."""
        return tuple(row.label for table in self.tables for row in table.rows)


def _on_cifar100(*rows: Row, ratio: float = 100.0) -> Table:
    return Table(f"CIFAR-100-LT {ratio:g}", "cifar100-lt", ratio, "exp", rows, _OURS)


_ERM, _MIXUP = Row("ERM", "ce", {}, _CP_MIX), Row("Mixup", "mixup", {}, _CP_MIX)
_BS, _WHOLE = Row("BS", "balanced_softmax", {}, _CP_MIX), Row("CP-Mix", "cp_mix", {}, _CP_MIX)
_BALANCED = Row("ERM, balanced", "ce", {}, _CP_MIX)


def _draw_figure_3(runs: Mapping[str, Runs], out_dir: str | Path) -> list[Path]:
    groups = confusion_of_groups.draw({"ERM": runs["ERM"], "Mixup": runs["Mixup"]}, out_dir)
    spread = spread_of_errors.draw({"balanced": runs["ERM, balanced"], "long-tailed": runs["ERM"]}, out_dir)
    return groups + spread


def _against(number: int, baseline: Row) -> Figure:
    return Figure(
        f"cp-mix-figure-{number}",
        f"Figure {number}: accuracy and confusion of CP-Mix against {baseline.label}, in ten groups of classes",
        _CP_MIX,
        (_on_cifar100(baseline, _WHOLE),),
        against_baseline.draw,
        "every number, the data set, and which of Figures 4 to 6 has which baseline",
    )


_ALL = (
    Figure(
        "cp-mix-figure-2",
        "Figure 2, a to e: a toy example of mixing confused pairs",
        _CP_MIX,
        (),
        toy_example.draw,
        "the points, the network, its training, and what each of a to e shows",
    ),
    Figure(
        "cp-mix-figure-3",
        "Figure 3: confusion of groups of classes under ERM and Mixup; spread of errors, balanced against long-tailed",
        _CP_MIX,
        (_on_cifar100(_ERM, _MIXUP), _on_cifar100(_BALANCED, ratio=1.0)),
        _draw_figure_3,
        "every number, the data set, and in which numbers the spread is given",
    ),
    _against(4, _ERM),
    _against(5, _BS),
    _against(6, _MIXUP),
    Figure(
        "mm-class-errors",
        "Slides of the Maximum-Margin loss: error of each class, CB-RW against MM-DRW",
        "Kang, Vu, Yoo 2021, arXiv:2206.05380",
        (CLASS_ERRORS,),
        errors_by_class.draw,
        "scale, max_margin and gamma of the run",
    ),
)

FIGURES: Mapping[str, Figure] = {each.name: each for each in _ALL}
"""Every figure by its name."""
