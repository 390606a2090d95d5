"""Settings of the Maximum-Margin loss at every commit of its authors' code that has some, and the runs of its picture.

The recipes ``mm``, ``mm_drw``, ``mm_ldam`` and ``mm_ldam_drw`` have one setting per data set, shape and ratio: the
newest one. These rows have all. They also have ``loss.compat="batch_first_label"``: the code of every commit takes the
own score of each image from the label of the first image of the batch, and the published figures were made with it.
"""

from typing import Any

from lt_fast.recipes.rows import Row, Table

CODE = "ihaeyong/Maximum-Margin-LDAM"
AS_PUBLISHED = {"loss.compat": "batch_first_label"}


def _row(recipe: str, scale: float, max_margin: float, gamma: float, source: str) -> Row:
    values: dict[str, Any] = {"loss.scale": scale, "loss.max_margin": max_margin, "loss.gamma": gamma}
    return Row(f"{recipe}, {source}", recipe, values | AS_PUBLISHED, f"{CODE}: {source}")


def _table(data: str, profile: str, ratio: float, *rows: Row) -> Table:
    return Table(f"{data} {profile} {ratio:g}", data, ratio, profile, rows, CODE)


_HEAD, _SUBMITTED, _OLDER = "HEAD, README.md", "68bfd2d, scripts/train_main.sh, ICIP submission", "1859206"

TABLES = (
    _table(
        "cifar100-lt",
        "exp",
        100.0,
        _row("mm_drw", 19.0, 1.29, 1.528, _HEAD),
        _row("mm_ldam_drw", 26.0, 1.29, 1.528, "HEAD, scripts/train_main.sh"),
        _row("mm_drw", 17.0, 1.8, 1.7, _SUBMITTED),
    ),
    _table("cifar100-lt", "exp", 10.0, _row("mm_ldam_drw", 17.0, 1.9, 1.5, _SUBMITTED)),
    _table(
        "cifar100-lt",
        "step",
        10.0,
        _row("mm_ldam_drw", 17.0, 0.5, 1.0, f"{_OLDER}, scripts/train_main.sh"),
        _row("mm_ldam_drw", 18.0, 2.6, 1.5, "8bac3bb, of the predecessor of this loss, best score 60.7"),
    ),
    _table(
        "cifar10-lt",
        "exp",
        100.0,
        _row("mm", 30.0, 1.4, 1.4, "juypyter/ResultCLS.ipynb, a run without re-weighting, 72.46 % at its best epoch"),
    ),
    _table("cifar10-lt", "exp", 10.0, _row("mm_drw", 10.0, 2.7, 1.0, f"{_OLDER}, scripts/train_main.sh")),
)
"""The settings by data set, shape and ratio."""

ANY_DATA = (
    _row("mm_drw", 10.0, 2.7, 1.2, "HEAD, Tiny-ImageNet exp, ratio 100, 120 epochs"),
    _row("mm_ldam_drw", 10.0, 2.7, 1.1, "HEAD, Tiny-ImageNet exp, ratio 100, 120 epochs"),
    _row("mm_drw", 30.0, 0.5, 10.0, "HEAD, defaults of cifar_train.py"),
)
"""Settings of a data set that this package does not have, and those of no data set."""

CLASS_ERRORS = Table(
    "Maximum-Margin slides: error of each class",
    "cifar10-lt",
    100.0,
    "step",
    (
        Row(
            "CB-RW",
            "cb",
            {"loss.normalization": "weights"},
            "kaidic/LDAM-DRW: cifar_train.py, rule Reweight, error 38.06 %",
        ),
        Row("MM-DRW", "mm_drw", AS_PUBLISHED, f"{CODE}: juypyter/ResultCLS.ipynb, HMM_DRW, error 22.83 %"),
    ),
    f"{CODE}: juypyter/ResultCLS.ipynb; its values of scale, max_margin and gamma are not recorded",
)
"""The two runs of the slides' bar chart: re-weighting from the start against MM with deferred re-weighting."""
