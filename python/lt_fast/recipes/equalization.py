"""Softmax equalization loss of Tan et al. 2020: rare classes are mostly spared the push of other samples."""

from lt_fast.recipes.recipe import Paper, Recipe, Spec, cited, register

_CODE = "zhangyongshun/BagofTricks-LT: configs/cao_cifar/re_weighting/seql"

EQUALIZATION = register(
    Recipe(
        "equalization",
        Paper(
            "Tan, Wang, Li, Li, Ouyang, Yin, Yan 2020, Equalization Loss for Long-Tailed Object Recognition",
            arxiv="2003.05217",
        ),
        "eqs. 1 to 3 of zhangyongshun/BagofTricks-LT: equalization_loss.py",
        title="Softmax equalization loss (SEQL)",
        loss=Spec(
            "equalization",
            gamma=cited(0.9, f"{_CODE}, GAMMA"),
            threshold=cited(0.05, f"{_CODE}/cifar10_im100.yaml and cifar10_im50.yaml, LAMBDA, for ten classes"),
            normalization=cited("batch", "zhangyongshun/BagofTricks-LT: equalization_loss.py, F.nll_loss"),
        ),
        on={"cifar100-lt": {"loss": Spec(threshold=cited(0.005, f"{_CODE}/cifar100_im100.yaml, LAMBDA"))}},
        at={
            ("cifar100-lt", "exp", 50.0): {
                "loss": Spec(threshold=cited(0.006, f"{_CODE}/cifar100_im50.yaml, LAMBDA")),
            }
        },
    )
)
