"""``ldam_drw``: LDAM, with class weights that set in for the last fifth of the training."""

from lt_fast.recipes.ldam import MARGINS
from lt_fast.recipes.recipe import Recipe, Value

RECIPE = Recipe(
    name="ldam_drw",
    title="LDAM with deferred re-weighting",
    paper="Cao, Wei, Gaidon, Arechiga, Ma 2019, Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    arxiv="1906.07413",
    equations="Section 3.2, Algorithm 1",
    loss="ldam",
    head="cosine",
    deferred=True,
    values={
        **MARGINS,
        "defer_until": Value(0.8, "kaidic/LDAM-DRW: cifar_train.py --train_rule DRW, epoch 160 of 200"),
        "class_weight_beta": Value(0.9999, "kaidic/LDAM-DRW: cifar_train.py betas = [0, 0.9999]"),
        "normalization": Value(
            "weights",
            "kaidic/LDAM-DRW: losses.py, F.cross_entropy(weight=...) divides by the batch's weight sum",
        ),
    },
)
