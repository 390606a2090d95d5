"""CIFAR-100-LT from the bundle's one file, under its usual name so that recipes apply; a file for ``--recipe``."""

from pathlib import Path

import numpy as np

import lt_fast.datasets.named  # noqa: F401 - registers what is replaced here
from lt_fast.datasets.image_set import ImageSet
from lt_fast.registry import register

RATIO, PROFILE, SEED = 100.0, "exp", 0  # of the packed subset


@register("data", "cifar100-lt", replace=True)
def packed_cifar100_lt(
    root: str, imbalance_ratio: float = RATIO, profile: str = PROFILE, seed: int = SEED
) -> tuple[ImageSet, ImageSet]:
    """Return the packed training set and the test set.

    Raises:
        ValueError: if another subset is asked for.
    """
    if (imbalance_ratio, profile, seed) != (RATIO, PROFILE, SEED):
        found = (imbalance_ratio, profile, seed)
        raise ValueError(f"ratio, profile and subset seed must be {(RATIO, PROFILE, SEED)} here, got {found}")
    with np.load(Path(root) / "cifar100-lt.npz") as packed:
        classes = tuple(map(str, packed["classes"]))
        protocol = {"name": "cifar100-lt", "imbalance_ratio": RATIO, "profile": PROFILE, "seed": SEED}
        train, test = (
            ImageSet(
                packed[f"{part}_images"], packed[f"{part}_labels"], classes, protocol | {"split": part},
                np.arange(len(packed[f"{part}_labels"])),
            )
            for part in ("train", "test")
        )  # fmt: skip
    return train, test
