"""The protocol of the published CIFAR-LT figures with AutoAugment and Cutout, as data and as a variant of a recipe.

It is that of MARC's code. Balanced Meta-Softmax was published at the same length and augmentation. Without it ``mc``,
``mammc`` and ``balanced_softmax`` have the protocol of LDAM-DRW's code or of their own paper: crops and flips alone.
The training protocol ``marc`` lays the same values over any recipe. MARC's code rounds its iterations up to epochs and
ends each epoch one batch before ``int(N / 512)``, so that it trains on 5 to 6 % less than it names; these have all, in
both stages, and cached features in stage 2, where the protocol runs stage 2 as the code does.
"""

from collections.abc import Mapping
from typing import Any

from lt_fast.recipes.large_scale import IMAGENET_LT, INATURALIST_2018, PLACES_LT
from lt_fast.recipes.protocols import CIFAR_STATISTICS, CROPS, CROPS_OF_DIGITS
from lt_fast.recipes.recipe import Cited, Recipe, Setting, Settings, Spec, cited

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
    own: dict[str, Settings] = {
        data: {**stage_1(images[_USUAL_RATIO]), **_stage_2(images[_USUAL_RATIO], stage_2)}
        for data, images in _IMAGES.items()
    }
    tails = {
        (data, "exp", ratio): {"epochs": epochs_of(number), **_stage_2(number, stage_2)}
        for data, images in _IMAGES.items()
        for ratio, number in images.items()
    }
    return recipe.derive(
        f"{recipe.name}_autoaugment",
        title=f"{recipe.title}, with AutoAugment and Cutout",
        transform=autoaugment(CROPS, None),
        on={
            **own,
            "digits-lt": {"transform": autoaugment(CROPS_OF_DIGITS, None)},
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


def stage_1(images: int) -> dict[str, Setting]:
    """Return MARC's first stage on CIFAR for a number of training images."""
    return {
        "epochs": epochs_of(images),
        "transform": autoaugment({**CROPS, **CIFAR_STATISTICS}, 16),
        "batch_size": cited(_BATCH, f"{MARC}; {BALMS}"),
        "learning_rate": cited(0.1, f"{MARC}: 0.05 to 0.1 in 800 iterations"),
        "schedule": Spec(
            cited("cosine", f"{MARC}: a cosine to 0 after the warm-up"),
            warmup=cited(800 / _ITERATIONS, f"{MARC}: 800 of 13,000 iterations"),
            warmup_start=cited(0.05, f"{MARC}: from 0.05"),
        ),
        "optimizer": Spec(weight_decay=cited(5e-4, MARC)),
    }


def epochs_of(images: int) -> Cited:
    """Return the length of MARC's first stage in passes over ``images``."""
    return cited(_passes(_ITERATIONS, images), f"{MARC}, {BALMS}: {_ITERATIONS:,} {_of(images)}")


def stage_2(images: int) -> Spec:
    """Return length and warm-up of MARC's second stage on CIFAR for a number of training images."""
    length = _passes(_STAGE_2, images)
    return Spec(
        epochs=cited(length, f"{MARC}: {_STAGE_2:,} {_of(images)}"),
        peak_lr=cited(0.1, f"{MARC}: 0.05 to 0.1 in 800 iterations, then a cosine to 0"),
        warmup_epochs=cited(round(0.4 * length), f"{MARC}: 800 of {_STAGE_2:,} iterations"),
        batch_size=cited(_BATCH, MARC),
    )


def _stage_2(images: int, wanted: bool) -> dict[str, Setting]:
    return {"calibrator": stage_2(images)} if wanted else {}


def _of(images: int) -> str:
    return f"iterations of {_BATCH} images are that many passes over {images:,}"


def _passes(iterations: int, images: int) -> int:
    return round(iterations * _BATCH / images)


def autoaugment(crops: Mapping[str, Any], cutout: int | None) -> Spec:
    """Return the augmentation: crop and flip, AutoAugment's policy for CIFAR-10, Cutout."""
    source = f"{MARC}, {BALMS}: crop, flip, CIFAR-10's policy with the fill 128, Cutout of 16 pixels, normalisation"
    half = cited(cutout, f"{MARC}, {BALMS}: 16 of 32 pixels; none stated is half of the side")
    return Spec(cited("autoaugment", source), **crops, cutout=half, fill=cited(128, source))
