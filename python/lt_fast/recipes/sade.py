"""SADE of Zhang et al. 2022: three experts for the training distribution, the uniform one and the reversed one.

The weights of the experts from unlabelled test images are a calibrator: ``--set calibrator=test_time_aggregation``.
"""

from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018, PLACES_LT
from lt_fast.recipes.recipe import Paper, Recipe, Setting, Spec, cited, register
from lt_fast.recipes.ride import AT_FULL_WIDTH, large

CODE = "Vanint/SADE-AgnosticLT"
_CIFAR = f"{CODE}: configs/config_cifar100_ir50_sade.json"

_DECAY: Setting = Spec(factor=cited(0.1, f"{_CIFAR} lr_scheduler gamma"))
_OPTIMIZER: Setting = Spec(nesterov=cited(True, f"{_CIFAR} optimizer"), weight_decay=cited(5e-4, f"{_CIFAR} optimizer"))
_IMAGENET = f"{CODE}: configs/config_imagenet_lt_resnext50_sade.json"
_INATURALIST = f"{CODE}: configs/config_iNaturalist_resnet50_sade.json"
_PLACES = f"{CODE}: configs/config_places_lt_resnet152_sade.json"
_SMALL_IMAGES: dict[str, Setting] = {"optimizer": _OPTIMIZER, "schedule": _DECAY}

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
            strength=cited(2.0, f"{_CIFAR} tau; 2 for CIFAR and ImageNet-LT"),
            scale=cited(30.0, f"{CODE}: use_norm, s=30 as in frank-xwang/RIDE-LongTailRecognition"),
            normalization=cited("batch", f"{CODE}: model/loss.py, F.cross_entropy without weights"),
        ),
        on={
            "cifar10-lt": _SMALL_IMAGES,
            "cifar100-lt": _SMALL_IMAGES,
            "digits-lt": _SMALL_IMAGES,
            IMAGENET_LT: {
                "epochs": cited(180, _IMAGENET),
                "batch_size": cited(64, _IMAGENET),
                "learning_rate": cited(0.025, _IMAGENET),
                "optimizer": Spec(nesterov=cited(True, _IMAGENET)),
            },
            INATURALIST_2018: {
                **large(_INATURALIST, 512, 0.2),
                "loss": Spec(strength=cited(1.0, f"{_INATURALIST} tau")),
            },
            PLACES_LT: {
                "model": Spec(expert_width=cited(1.0, f"{_PLACES} reduce_dimension false")),
                "loss": Spec(strength=cited(1.0, f"{_PLACES} tau")),
                "optimizer": Spec(nesterov=cited(True, _PLACES), weight_decay=cited(4e-4, _PLACES)),
            },
            "photographs": {"model": AT_FULL_WIDTH},
        },
    )
)
