"""Softmax equalization loss of Tan et al. 2020: rare classes are mostly spared the push of other samples."""

from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018, PLACES_LT
from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register

_CODE = "zhangyongshun/BagofTricks-LT: configs/cao_cifar/re_weighting/seql"


def _large(classes: int) -> dict[str, Setting]:
    source = f"ours: 0.5 over the {classes:,} classes, as the two configurations of CIFAR; not tuned"
    return {"loss": Spec(threshold=cited(0.5 / classes, source))}


EQUALIZATION = register(
    Recipe(
        "equalization",
        Paper(
            "Tan, Wang, Li, Li, Ouyang, Yin, Yan 2020, Equalization Loss for Long-Tailed Object Recognition",
            arxiv="2003.05176",
        ),
        "eqs. 1 to 3 of zhangyongshun/BagofTricks-LT: equalization_loss.py",
        title="Softmax equalization loss (SEQL)",
        loss=Spec(
            "equalization",
            gamma=cited(0.9, f"{_CODE}, GAMMA"),
            threshold=cited(0.05, f"{_CODE}/cifar10_im100.yaml and cifar10_im50.yaml, LAMBDA, for ten classes"),
            normalization=cited("batch", "zhangyongshun/BagofTricks-LT: equalization_loss.py, F.nll_loss"),
        ),
        on={
            "cifar100-lt": {"loss": Spec(threshold=cited(0.005, f"{_CODE}/cifar100_im100.yaml, LAMBDA"))},
            IMAGENET_LT: _large(1000),
            PLACES_LT: _large(365),
            INATURALIST_2018: _large(8142),
        },
        at={
            ("cifar100-lt", "exp", 50.0): {
                "loss": Spec(threshold=cited(0.006, f"{_CODE}/cifar100_im50.yaml, LAMBDA")),
            }
        },
    )
)
