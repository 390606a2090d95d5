"""SADE of Zhang et al. 2022: three experts for the training distribution, the uniform one and the reversed one.

The weights of the experts from unlabelled test images are a calibrator: ``--set calibrator=test_time_aggregation``.
"""

from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018, PLACES_LT
from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register
from lt_fast.recipes.ride import AT_FULL_WIDTH, steps_of_100_epochs

CODE = "Vanint/SADE-AgnosticLT"
_CIFAR = f"{CODE}: configs/config_cifar100_ir50_sade.json"

_DECAY: Setting = Spec(factor=cited(0.1, f"{_CIFAR} lr_scheduler gamma"))
_OPTIMIZER: Setting = Spec(nesterov=cited(True, f"{_CIFAR} optimizer"), weight_decay=cited(5e-4, f"{_CIFAR} optimizer"))
_SMALL_IMAGES = {"optimizer": _OPTIMIZER, "schedule": _DECAY}


def _large(source: str, weight_decay: float, strength: float) -> dict[str, Setting]:
    return {
        "optimizer": Spec(
            nesterov=cited(True, f"{source} optimizer"), weight_decay=cited(weight_decay, f"{source} optimizer")
        ),
        "loss": Spec(strength=cited(strength, f"{source} tau")),
    }


_IMAGENET = f"{CODE}: configs/config_imagenet_lt_resnext50_sade.json"
_PLACES = f"{CODE}: configs/config_places_lt_resnet152_sade.json"
_INATURALIST = f"{CODE}: configs/config_iNaturalist_resnet50_sade.json"
_ON_LARGE_SETS: dict[str, dict[str, Setting]] = {
    IMAGENET_LT: {
        **_large(_IMAGENET, 5e-4, 2.0),
        "epochs": cited(180, f"{_IMAGENET} epochs"),
        "batch_size": cited(64, _IMAGENET),
        "learning_rate": cited(0.025, f"{_IMAGENET} lr, a cosine to 0"),
    },
    PLACES_LT: {
        **_large(_PLACES, 4e-4, 1.0),
        "model": Spec(expert_width=cited(1.0, f"{_PLACES} reduce_dimension false")),
        "learning_rate": cited(
            0.01, f"{_PLACES} lr; 0.001 for the shared layers there (share_lr), which have 0.01 here"
        ),
    },
    INATURALIST_2018: {
        **_large(_INATURALIST, 2e-4, 1.0),
        "epochs": cited(100, f"{_INATURALIST} epochs"),
        "schedule": steps_of_100_epochs(_INATURALIST),
    },
}

SADE = register(
    Recipe(
        "sade",
        Paper(
            "Zhang, Hooi, Hong, Feng 2022, Self-Supervised Aggregation of Diverse Experts for Test-Agnostic "
            "Long-Tailed Recognition",
            arxiv="2107.09249",
        ),
        "eqs. 1 to 3; test-time aggregation: eqs. 4 and 5",
        title="Experts of three class distributions (SADE)",
        cost="the layers after the split once per expert, of three quarters of the channels; as RIDE",
        model=Spec(
            head=cited("cosine", f"{_CIFAR} use_norm"),
            experts=cited(3, f"{_CIFAR} num_experts; one for each loss"),
            expert_width=cited(0.75, f"{_CIFAR} reduce_dimension: 24 and 48 channels of 32 and 64"),
        ),
        loss=Spec(
            "sade",
            strength=cited(2.0, f"{_CIFAR} tau"),
            scale=cited(30.0, f"{CODE}: use_norm, s=30 as in frank-xwang/RIDE-LongTailRecognition"),
            normalization=cited("batch", f"{CODE}: model/loss.py, F.cross_entropy without weights"),
        ),
        on={
            "cifar10-lt": _SMALL_IMAGES,
            "cifar100-lt": _SMALL_IMAGES,
            "digits-lt": _SMALL_IMAGES,
            "photographs": {"model": AT_FULL_WIDTH},
            **_ON_LARGE_SETS,
        },
    )
)
