"""``mam_drw``: margin-aware mixup, with class weights that set in for the last part of the training."""

from lt_fast.recipes.mam import ARXIV, EQUATIONS, MIXING, PAPER
from lt_fast.recipes.mixup_drw import DEFER_CIFAR100, LONGER_CIFAR100, MIXED_DRW
from lt_fast.recipes.recipe import Recipe

RECIPE = Recipe(
    name="mam_drw",
    title="Margin-aware mixup with deferred re-weighting",
    paper=PAPER,
    arxiv=ARXIV,
    equations=f"{EQUATIONS}; re-weighting: Cao et al. 2019 (arXiv:1906.07413), Algorithm 1",
    mixer="mam",
    deferred=True,
    values={**MIXED_DRW, **MIXING},
    values_on={"cifar100-lt": {**LONGER_CIFAR100, **DEFER_CIFAR100}},
)
