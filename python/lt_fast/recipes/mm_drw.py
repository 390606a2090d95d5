"""``mm_drw``: Maximum-Margin loss, with class weights that set in for the last fifth of the training."""

from lt_fast.recipes.mm import ARXIV, CODE, EQUATIONS, PAPER, VALUES, VALUES_AT
from lt_fast.recipes.recipe import Recipe, Value

REWEIGHTED = {
    "defer_until": Value(0.8, f"{CODE}: cifar_train.py --train_rule DRW, epoch 160 of 200, as kaidic/LDAM-DRW"),
    "class_weight_beta": Value(0.9999, f"{CODE}: cifar_train.py betas = [0, 0.9999]"),
    "normalization": Value(
        "weights", f"{CODE}: losses.py, F.cross_entropy(weight=...) divides by the batch's weight sum"
    ),
}
"""Deferred re-weighting, as the authors have it from LDAM-DRW."""

RECIPE = Recipe(
    name="mm_drw",
    title="Maximum-Margin loss with deferred re-weighting",
    paper=PAPER,
    arxiv=ARXIV,
    equations=f"{EQUATIONS}; re-weighting: Cao et al. 2019 (arXiv:1906.07413), Algorithm 1",
    loss="maximum_margin",
    head="cosine",
    deferred=True,
    values={**VALUES, **REWEIGHTED},
    values_at=VALUES_AT,
)
