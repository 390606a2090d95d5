"""Splitting a validation set off a training set, class by class."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _rust
from lt_fast._checks import MAX_CLASSES, class_labels, labels_in_range, number
from lt_fast._checks import seed as checked_seed

_STREAM = (_rust.STREAM_SUBSET, 1 << 32)
"""Random numbers that no subset of a data set uses: those are numbered by class."""


def validation_split(
    labels: ArrayLike, fraction: float = 0.1, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of a training set and of a validation set: each row is in one of them; both ascend.

    Of a class with ``n`` rows, ``floor(fraction * n + 1/2)`` are for validation, but at least one where the class has
    two, and at most ``n - 1``: every class keeps a row for training. A class with one row has none for validation.

    A row's random number depends on ``seed`` and the row alone. So the validation set of a smaller fraction is part of
    that of a larger one. O(N log N).

    Args:
        labels: (N,) integers in [0, 2**24); a class may have no row.
        fraction: of each class, in (0, 1).
        seed: in [0, 2**64).

    Shape:
        labels (N,); returns two int64 arrays with N entries together.

    Raises:
        TypeError: if the labels are not integers, or another argument has the wrong type.
        ValueError: if an argument is out of range.

    >>> train, validation = validation_split([0] * 6 + [1] * 3 + [2], fraction=0.2)
    >>> train.tolist(), validation.tolist()
    ([0, 1, 2, 4, 5, 6, 8, 9], [3, 7])

    The rows select from any source: ``source.subset(train)``, ``source.subset(validation)``.
    """
    array = class_labels("labels", labels)
    labels_in_range("labels", array, MAX_CLASSES)
    fraction = number("fraction", fraction, above=0, below=1)
    order = np.lexsort((_rust.uniform(checked_seed(seed), *_STREAM, 0, len(array)), array))
    counts = np.bincount(array)
    wanted = held_out_counts(counts, fraction)
    # The rows in `order` are grouped by class; the first `wanted` of each group are for validation.
    rank = np.arange(len(array)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = rank < np.repeat(wanted, counts)
    return np.sort(order[~chosen]), np.sort(order[chosen])


def held_out_counts(counts: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Return how many rows of each class ``validation_split`` holds out, (C,) int64."""
    wanted = np.floor(fraction * counts + 0.5).astype(np.int64)
    held_out: NDArray[np.int64] = np.minimum(np.maximum(wanted, 1), counts - 1).clip(0)
    return held_out
