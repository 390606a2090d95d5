"""A confusion matrix of many classes as a picture of a bounded size, made from the pairs that occur."""

import numpy as np
from numpy.typing import NDArray

LARGEST_MAP = 500
"""Entries of a side at most: more are no wider than a pixel."""


def reduced_shares(
    true: NDArray[np.int64], predicted: NDArray[np.int64], shares: NDArray[np.float64], num_classes: int
) -> NDArray[np.float64]:
    """Return (S, S) shares, true class by row, S = C up to ``LARGEST_MAP`` classes: O(pairs) memory and S x S.

    An entry of more classes is the largest of those that it stands for, so that no large cell disappears.

    Args:
        true: ``(pairs,)``, the true class of each pair that occurs.
        predicted: ``(pairs,)``, the predicted one.
        shares: ``(pairs,)`` >= 0, theirs.
        num_classes: C.
    """
    step = -(-num_classes // LARGEST_MAP)
    side = -(-num_classes // step)
    reduced = np.zeros((side, side))
    np.maximum.at(reduced, (true // step, predicted // step), shares)
    return reduced
