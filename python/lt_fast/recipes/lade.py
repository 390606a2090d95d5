"""LADE of Hong et al. 2021: balanced softmax plus a density term.

Its authors' network for CIFAR is megvii-research/BBN's, whose last block is there twice, side by side: 128 features.
The recipe has the ResNet-32 of the others; ``--set model.last_blocks=2`` or the training protocol ``lade`` has theirs.
Their warm-up starts at a third of the rate, ours at a fifth; from the sixth epoch on both are equal.
"""

from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018, PLACES_LT
from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register

_CODE = "hyperconnect/LADE"
_CONFIG = f"{_CODE}: config/CIFAR100_LT/lade.yaml"
_AS_CIFAR100 = "; the authors have no CIFAR-10 runs, this is CIFAR-100's"


def _cifar(note: str) -> dict[str, Setting]:
    return {
        "batch_size": cited(256, _CONFIG + note),
        "learning_rate": cited(0.2, _CONFIG + note),
        "optimizer": Spec(weight_decay=cited(5e-4, _CONFIG + note)),
        "schedule": Spec(
            milestones=cited((0.6, 0.8), f"{_CONFIG}, epochs 120 and 160 of 200{note}"),
            factor=cited(0.01, _CONFIG + note),
            warmup=cited(0.025, f"{_CONFIG}, 5 of 200 epochs{note}"),
        ),
    }


def _large(folder: str, regularizer_weight: float, remine_lambda: float, **own: Setting) -> dict[str, Setting]:
    source = f"{_CODE}: README.md and config/{folder}/lade.yaml"
    return {
        "loss": Spec(
            regularizer_weight=cited(regularizer_weight, f"{source}, --alpha"),
            remine_lambda=cited(remine_lambda, f"{source}, --remine_lambda"),
        ),
        **own,
    }


def _longer(folder: str, epochs: int, learning_rate: float) -> dict[str, Setting]:
    source = f"{_CODE}: config/{folder}/lade.yaml"
    return {
        "epochs": cited(epochs, f"{source} num_epochs"),
        "batch_size": cited(256, source),
        "learning_rate": cited(learning_rate, f"{source} lr"),
    }


LADE = register(
    Recipe(
        "lade",
        Paper(
            "Hong, Han, Choi, Seo, Kim, Chang 2021, "
            "Disentangling Label Distribution for Long-Tailed Visual Recognition",
            arxiv="2012.00321",
        ),
        f"equations as in {_CODE}: LADELoss.py and PriorCELoss.py",
        title="LADE (label distribution disentangling)",
        loss=Spec(
            "lade",
            regularizer_weight=cited(0.1, f"{_CODE}: README.md, --alpha, CIFAR-100 at ratio 100"),
            remine_lambda=cited(
                0.01, f"{_CODE}: README.md, --remine_lambda, CIFAR-100 at ratio 100 (the configuration file has 0.1)"
            ),
            normalization=cited("batch", f"{_CODE}: PriorCELoss.py, F.cross_entropy; without weights all three agree"),
        ),
        on={
            "cifar100-lt": _cifar(""),
            "cifar10-lt": _cifar(_AS_CIFAR100),
            IMAGENET_LT: _large("ImageNet_LT", 0.05, 0.5, **_longer("ImageNet_LT", 180, 0.05)),
            PLACES_LT: _large("Places_LT", 0.005, 0.1),
            INATURALIST_2018: _large("iNaturalist18", 0.05, 0.5, **_longer("iNaturalist18", 200, 0.1)),
        },
    )
)
