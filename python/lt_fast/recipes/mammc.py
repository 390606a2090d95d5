"""``mammc``: margin-aware mixup, then margin calibration: the main method of this package.

Sources that say "MAMMC paper" mean the one that joins the two for soil images and numbers its equations 1 to 10.
"""

from lt_fast.recipes.mam import ARXIV, MIXING
from lt_fast.recipes.mc import STAGE_2, STAGES_ON
from lt_fast.recipes.recipe import Recipe

RECIPE = Recipe(
    name="mammc",
    title="Margin-aware mixup and margin calibration",
    paper="MAMMC: margin-aware mixup (Cheng, Mai, Lin 2023) for the features, margin calibration (Wang et al. 2022, "
    "arXiv:2112.07225) for the classifier",
    arxiv=ARXIV,
    equations="MAM: eqs. 1-5; margin calibration: eqs. 6-10; no re-weighting in stage 1 (Table 1 has MAM-DRW apart)",
    cost="one forward and one backward pass a step; stage 2: one pass over the training set, then seconds",
    mixer="mam",
    calibrator="margin",
    values={**MIXING, **STAGE_2},
    values_on=STAGES_ON,
)
