"""``mam``: margin-aware mixup (MAMix): the label factor leans to the rarer class of each pair."""

from lt_fast.recipes.mixup_drw import IDL, LONGER_CIFAR100
from lt_fast.recipes.recipe import Recipe, Value

OMEGA = Value(0.25, f"{IDL}: mamix_ratio -0.25 in config_cifar10.yaml and config_cifar100.yaml")

MIXING = {
    "omega": OMEGA,
    "alpha": Value(1.0, f"{IDL}: _mamix_drw.py, Beta(1, 1)"),
    "per_sample": Value(False, f"{IDL}: _mamix_drw.py, one lambda a batch"),
    "normalization": Value("batch", f"{IDL}: _mamix_drw.py, plain mean over the batch"),
}
"""Settings of margin-aware mixing, shared by the recipes that contain it."""

PAPER = "Cheng, Mai, Lin 2023, From SMOTE to Mixup for Deep Imbalanced Classification"
ARXIV = "2308.15457"
EQUATIONS = "kappa = n^-omega and the two-piece label factor (eqs. 1-5 as the MAMMC paper numbers them)"

RECIPE = Recipe(
    name="mam",
    title="Margin-aware mixup",
    paper=PAPER,
    arxiv=ARXIV,
    equations=EQUATIONS,
    mixer="mam",
    values=MIXING,
    values_on={"cifar100-lt": LONGER_CIFAR100},
)
