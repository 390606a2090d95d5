"""``equalization``: softmax equalization loss, which mostly spares rare classes the push of other samples."""

from lt_fast.recipes.recipe import Recipe, Value

_CODE = "zhangyongshun/BagofTricks-LT: configs/cao_cifar/re_weighting/seql"

RECIPE = Recipe(
    name="equalization",
    title="Softmax equalization loss (SEQL)",
    paper="Tan, Wang, Li, Li, Ouyang, Yin, Yan 2020, Equalization Loss for Long-Tailed Object Recognition",
    arxiv="2003.05217",
    equations="eqs. 1 to 3 of zhangyongshun/BagofTricks-LT: equalization_loss.py",
    loss="equalization",
    values={
        "drop_probability": Value(0.9, f"{_CODE}, GAMMA"),
        "rare_below": Value(0.05, f"{_CODE}/cifar10_im100.yaml and cifar10_im50.yaml, LAMBDA, for ten classes"),
        "normalization": Value("batch", "zhangyongshun/BagofTricks-LT: equalization_loss.py, F.nll_loss"),
    },
    values_on={"cifar100-lt": {"rare_below": Value(0.005, f"{_CODE}/cifar100_im100.yaml, LAMBDA")}},
    values_at={("cifar100-lt", "exp", 50.0): {"rare_below": Value(0.006, f"{_CODE}/cifar100_im50.yaml, LAMBDA")}},
)
