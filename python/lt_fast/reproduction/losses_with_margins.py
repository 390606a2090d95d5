"""Table 2 of LDAM-DRW, and what is known of the results of the Maximum-Margin loss."""

from typing import Any

from lt_fast.recipes import mm_settings
from lt_fast.reproduction.target import Row, Tail, Target, rows_of, rows_on

_TAILS = tuple(
    Tail(data, ratio, profile)
    for data in ("cifar10-lt", "cifar100-lt")
    for profile in ("exp", "step")
    for ratio in (100.0, 10.0)
)
_BEST = "The published numbers are of the best epoch on the test images; ours are of the last epoch."
_FROM_THE_START: dict[str, Any] = {"reweight": "effective_number", "reweight.beta": 0.9999, "defer_until": 0.0}
_WEIGHT_SUM: dict[str, Any] = {"loss.normalization": "weights"}
_CB_RW = ("CB RW", "cb", _WEIGHT_SUM)
_BALANCED_DRAWS = (
    "CB RS",
    "ce",
    {"sampler": "class_balanced"},
    None,
    "every class is drawn alike, where the paper's weights are those of the effective number",
)

LDAM_TABLE_2 = Target(
    "ldam-table-2",
    "Table 2: LDAM-DRW and other losses on CIFAR-LT",
    "Cao, Wei, Gaidon, Arechiga, Ma 2019 (arXiv:1906.07413)",
    rows_on(
        _TAILS,
        ("ERM", "ce"),
        ("Focal", "focal"),
        ("LDAM", "ldam"),
        _BALANCED_DRAWS,
        _CB_RW,
        ("CB Focal", "focal", _FROM_THE_START),
        ("M-DRW", None, {}, "no recipe has a uniform margin"),
        ("LDAM-DRW", "ldam_drw"),
    ),
    notes=(_BEST,),
)

_COMPAT = mm_settings.AS_PUBLISHED
_MARGINS = (
    ("MM", "mm", _COMPAT),
    ("MM-DRW", "mm_drw", _COMPAT),
    ("MM-LDAM", "mm_ldam", _COMPAT),
    ("MM-LDAM-DRW", "mm_ldam_drw", _COMPAT),
)
_OWN_LABEL = tuple(
    Row(f"{label}, each sample's own label", tail, recipe)
    for tail in _TAILS
    for label, recipe in (("MM-DRW", "mm_drw"), ("MM-LDAM-DRW", "mm_ldam_drw"))
)

MAXIMUM_MARGIN = Target(
    "mm",
    "Maximum-Margin loss on CIFAR-LT",
    "Kang, Vu, Yoo 2021 (arXiv:2206.05380)",
    rows_on(_TAILS, _CB_RW, *_MARGINS) + _OWN_LABEL,
    lost="the paper's table; known are the numbers that its repository records",
    notes=(
        _BEST,
        "The published runs were made with a defect of the authors' code, which the rows without a remark repeat.",
    ),
)

MAXIMUM_MARGIN_SETTINGS = Target(
    "mm-settings",
    "Maximum-Margin loss with the settings of every commit of its authors' code",
    "Kang, Vu, Yoo 2021 (arXiv:2206.05380)",
    rows_of(*mm_settings.TABLES),
    lost="the results of the settings but those of two",
    notes=(_BEST,),
)

TARGETS = (LDAM_TABLE_2, MAXIMUM_MARGIN, MAXIMUM_MARGIN_SETTINGS)
