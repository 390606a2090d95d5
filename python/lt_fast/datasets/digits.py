"""Digits-LT: a long-tailed subset of scikit-learn's 1,797 handwritten digits, without a download."""

from typing import Any

import numpy as np

from lt_fast._extras import require
from lt_fast.datasets.image_set import ImageSet, positions_sha256
from lt_fast.datasets.profiles import Profile, long_tailed_counts
from lt_fast.datasets.subsets import long_tailed_indices

TEST_PER_CLASS = 24
"""Held-out images of each class."""

LARGEST = 150
"""Training images of the largest class: the rarest digit, 8, has 174 images in all."""

_SCALE = 15  # scikit-learn's pixels run from 0 to 16, so 16 becomes 240 and every level stays an integer


def digits_lt(
    *, imbalance_ratio: float = 50, profile: Profile | str = "exp", seed: int = 0, train: bool = True
) -> ImageSet:
    """Return Digits-LT's training set, or its balanced test set.

    24 images of each digit are held out, a function of ``seed`` alone; of the others the training set keeps
    ``long_tailed_counts(150, 10, imbalance_ratio=..., profile=...)``: 150 images of digit 0 and 3 of digit 9 at ratio
    50. Both are drawn by ``long_tailed_indices(..., method="counter")``, so a larger ratio gives a subset.

    Args:
        imbalance_ratio: largest over smallest training class, from 1 to 150; the test set does not depend on it.
        profile: see ``long_tailed_counts``.
        seed: chooses the held-out images and the subset.
        train: the training set, or the test set.

    Shape:
        images (N, 8, 8, 1) uint8, scikit-learn's 0..16 times 15; 417 for training at ratio 50, 240 for test.

    Raises:
        MissingExtraError: if scikit-learn is not installed.
        ValueError: if ``imbalance_ratio`` or ``seed`` is out of its range.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998, test part. The long-tailed
    split is this package's own.

    >>> train, test = digits_lt(imbalance_ratio=50, seed=0), digits_lt(train=False)
    >>> train.images.shape, train.class_counts.counts.tolist()
    ((417, 8, 8, 1), [150, 97, 62, 40, 26, 17, 11, 7, 4, 3])
    >>> test.images.shape, test.class_counts.counts.tolist()
    ((240, 8, 8, 1), [24, 24, 24, 24, 24, 24, 24, 24, 24, 24])
    """
    source = require("sklearn.datasets", extra="train", purpose="digits_lt").load_digits()
    labels = source.target.astype(np.int64)
    held_out = long_tailed_indices(labels, counts=[TEST_PER_CLASS] * 10, seed=seed, method="counter")
    protocol: dict[str, Any] = {
        "name": "digits-lt",
        "split": "train" if train else "test",
        "seed": seed,
        "method": "counter",
    }
    if train:
        rest = np.setdiff1d(np.arange(len(labels)), held_out)
        counts = long_tailed_counts(LARGEST, 10, imbalance_ratio=imbalance_ratio, profile=profile)
        indices = rest[long_tailed_indices(labels[rest], counts=counts, seed=seed, method="counter")]
        protocol |= {"imbalance_ratio": float(imbalance_ratio), "profile": str(profile)}
    else:
        indices = held_out
        protocol |= {"imbalance_ratio": 1.0, "profile": "balanced"}
    return ImageSet(
        images=(source.images[indices] * _SCALE).astype(np.uint8)[..., None],
        labels=labels[indices],
        classes=tuple(map(str, range(10))),
        protocol={**protocol, "subset_sha256": positions_sha256(indices)},
        indices=indices,
    )
