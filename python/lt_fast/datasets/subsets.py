"""Long-tailed subsets of balanced data sets."""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks, _rust
from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.datasets.profiles import Profile, long_tailed_counts

Method: TypeAlias = Literal["ldam", "counter"]


def long_tailed_indices(
    labels: ArrayLike,
    *,
    imbalance_ratio: float | None = None,
    counts: CountsLike | None = None,
    profile: Profile | str = "exp",
    seed: int = 0,
    method: Method | str = "ldam",
) -> NDArray[np.int64]:
    """Return the positions in ``labels`` of a long-tailed subset: class after class, in the order of the draw.

    ``"ldam"`` is bit-identical to these lines, without using NumPy's global state::

        np.random.seed(seed)
        for c in np.unique(labels):
            members = np.where(labels == c)[0]
            np.random.shuffle(members)
            kept.append(members[: counts[c]])

    ``"counter"`` orders each class by a permutation keyed by (seed, class), so that a class's samples do not depend on
    the other classes, and all cores work on different classes. With either, the order does not depend on the counts:
    for one seed the subset of a larger imbalance ratio is contained in that of a smaller one. O(N + C).

    Args:
        labels: class of every sample; each class from 0 to the largest must occur.
        imbalance_ratio: largest over smallest class, >= 1. The largest class gets as many samples as every class has,
            that is the size of the smallest one: ``len(labels) / C`` in a balanced set.
        counts: samples to keep of each class, instead of ``imbalance_ratio`` and ``profile``.
        profile: see ``long_tailed_counts``.
        seed: LDAM-DRW's ``rand_number``, in [0, 2**32); in [0, 2**64) for ``"counter"``.
        method: how the samples of a class are put in order.

    Shape:
        labels (N,) int; counts (C,); returns (counts.sum(),) int64.

    Raises:
        TypeError: if the labels are not integers.
        ValueError: if a label is negative, a class has no sample, ``counts`` exceed the samples there are, or a value
            is out of its range; if not exactly one of ``imbalance_ratio`` and ``counts`` is given.

    Source: Cao et al. 2019, arXiv:1906.07413; code kaidic/LDAM-DRW, imbalance_cifar.py. Differs from that code: classes
    of unequal size count from the smallest one, not from the mean, so that no class runs short unnoticed.

    >>> labels = np.repeat([0, 1, 2], 100)
    >>> kept = long_tailed_indices(labels, imbalance_ratio=100, seed=0)
    >>> np.bincount(labels[kept]), kept[-1:]  # sizes of the classes, the one image of class 2
    (array([100,  10,   1]), array([242]))
    """
    if (imbalance_ratio is None) == (counts is None):
        given = "neither" if counts is None else "both"
        raise ValueError(f"imbalance_ratio or counts must be given, exactly one of them, got {given}")
    array = _checks.class_labels("labels", labels)
    sizes = _rust.class_sizes(array)
    if counts is not None:
        wanted = ClassCounts(counts).counts
    else:
        assert imbalance_ratio is not None
        wanted = long_tailed_counts(int(sizes.min()), len(sizes), imbalance_ratio=imbalance_ratio, profile=profile)
    return _rust.long_tailed_indices(array, wanted, _checks.seed(seed), str(method))
