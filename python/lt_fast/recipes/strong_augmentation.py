"""The protocol of the published CIFAR-LT figures with AutoAugment and Cutout, as a variant of a recipe.

It is that of MARC's code. Balanced Meta-Softmax was published at the same length and augmentation. Without it ``mc``,
``mammc`` and ``balanced_softmax`` have the protocol of LDAM-DRW's code or of their own paper: crops and flips alone.
"""

from collections.abc import Mapping
from typing import Any

from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018, PLACES_LT
from lt_fast.recipes.protocols import CIFAR_STATISTICS, CROPS, CROPS_OF_DIGITS
from lt_fast.recipes.recipe import Recipe, Setting, Settings, Spec, cited

MARC = "microsoft/robustlearn: marc"
BALMS = "jiawei-ren/BalancedMetaSoftmax-Classification"

_ITERATIONS, _STAGE_2, _BATCH = 13_000, 2_000, 512

_IMAGES: Mapping[str, Mapping[float, int]] = {
    "cifar10-lt": {10.0: 20_431, 50.0: 13_996, 100.0: 12_406, 200.0: 11_203},
    "cifar100-lt": {10.0: 19_573, 50.0: 12_608, 100.0: 10_847, 200.0: 9_502},
}
"""Training images by imbalance ratio, of the exponential profile."""

_USUAL_RATIO = 100.0


def strongly_augmented(recipe: Recipe, *, stage_2: bool = False) -> Recipe:
    """Return the variant of ``recipe``, called ``<name>_autoaugment``.

    Its length is given in iterations by the sources, so that the number of epochs depends on the images: those of the
    ratios 10, 50, 100 and 200 of the exponential profile are stated, any other tail has those of ratio 100.

    Args:
        recipe: a recipe for images in memory.
        stage_2: whether it calibrates by ``margin``, whose length and warm-up are then MARC's, too.
    """
    own = {data: _settings(data, stage_2) for data in _IMAGES}
    tails = {
        (data, "exp", ratio): _lengths(data, ratio, stage_2) for data, images in _IMAGES.items() for ratio in images
    }
    return recipe.derive(
        f"{recipe.name}_autoaugment",
        title=f"{recipe.title}, with AutoAugment and Cutout",
        transform=_transform(CROPS, None),
        on={
            **own,
            "digits-lt": {"transform": _transform(CROPS_OF_DIGITS, None)},
            "photographs": _OF_PHOTOGRAPHS,
            **dict.fromkeys((IMAGENET_LT, PLACES_LT, INATURALIST_2018), _LARGE),
        },
        at=tails,
    )


_OF_PHOTOGRAPHS: dict[str, Setting] = {
    "transform": Spec(
        cited("photograph", "ours: AutoAugment's policy here is CIFAR's, for small images in memory"),
        augment=cited("strong", "ours: what photographs have in its place, of torchvision"),
    )
}


_LARGE: dict[str, Setting] = {
    "transform": Spec(
        cited("photograph", "ours: AutoAugment's policy here is CIFAR's, for small images in memory"),
        augment=cited("autoaugment", "ours: torchvision's policy for ImageNet; the authors' codes have none there"),
    )
}


def _settings(data: str, stage_2: bool) -> dict[str, Setting]:
    return {
        **_lengths(data, _USUAL_RATIO, stage_2),
        "transform": _transform({**CROPS, **CIFAR_STATISTICS}, 16),
        "batch_size": cited(_BATCH, f"{MARC}; {BALMS}"),
        "learning_rate": cited(0.1, f"{MARC}: 0.05 to 0.1 in 800 iterations"),
        "schedule": Spec(
            cited("cosine", f"{MARC}: a cosine to 0 after the warm-up"),
            warmup=cited(800 / _ITERATIONS, f"{MARC}: 800 of 13,000 iterations"),
            warmup_start=cited(0.05, f"{MARC}: from 0.05"),
        ),
        "optimizer": Spec(weight_decay=cited(5e-4, MARC)),
    }


def _lengths(data: str, ratio: float, stage_2: bool) -> Settings:
    """Return the settings that depend on the number of training images."""
    images = _IMAGES[data][ratio]
    of = f"iterations of {_BATCH} images are that many passes over {images:,}"
    epochs: dict[str, Setting] = {
        "epochs": cited(_passes(_ITERATIONS, images), f"{MARC}, {BALMS}: {_ITERATIONS:,} {of}")
    }
    if not stage_2:
        return epochs
    length = _passes(_STAGE_2, images)
    calibrator = Spec(
        epochs=cited(length, f"{MARC}: {_STAGE_2:,} {of}"),
        peak_lr=cited(0.1, f"{MARC}: 0.05 to 0.1 in 800 iterations, then a cosine to 0"),
        warmup_epochs=cited(round(0.4 * length), f"{MARC}: 800 of {_STAGE_2:,} iterations"),
        batch_size=cited(_BATCH, MARC),
    )
    return {**epochs, "calibrator": calibrator}


def _passes(iterations: int, images: int) -> int:
    return round(iterations * _BATCH / images)


def _transform(crops: Mapping[str, Any], cutout: int | None) -> Spec:
    source = f"{MARC}, {BALMS}: crop, flip, CIFAR-10's policy with the fill 128, Cutout of 16 pixels, normalisation"
    half = cited(cutout, f"{MARC}, {BALMS}: 16 of 32 pixels; none stated is half of the side")
    return Spec(cited("autoaugment", source), **crops, cutout=half, fill=cited(128, source))
