"""``seesaw``: Seesaw loss with the class sizes of the training set."""

from lt_fast.recipes.recipe import Recipe, Value

_CODE = "open-mmlab/mmpretrain: seesaw_loss.py"

RECIPE = Recipe(
    name="seesaw",
    title="Seesaw loss",
    paper="Wang, Zhang, Zang, Cao, Pang, Gong, Chen, Liu, Loy, Lin 2021, "
    "Seesaw Loss for Long-Tailed Instance Segmentation",
    arxiv="2008.10032",
    equations="equations as in open-mmlab/mmpretrain: seesaw_loss.py",
    loss="seesaw",
    values={
        "mitigation": Value(0.8, f"{_CODE}, p"),
        "compensation": Value(2.0, f"{_CODE}, q"),
        "probability_floor": Value(0.01, f"{_CODE}, eps"),
        "normalization": Value(
            "batch",
            f"{_CODE}, reduction mean, no weights. The rest is LDAM-DRW's protocol, linear head included: neither "
            "paper nor code has a setting for CIFAR",
        ),
    },
)
