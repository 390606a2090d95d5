"""Label noise, to measure how robust a method is."""

from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks, _rust
from lt_fast.counts import ClassCounts

Toward: TypeAlias = Literal["uniform", "prior"]


def noisy_labels(
    labels: ArrayLike,
    rate: ArrayLike,
    *,
    toward: Toward | str = "uniform",
    num_classes: int | None = None,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Return the labels with a fraction of every class replaced by another class.

    Of class c exactly ``floor(rate[c] * n_c + 1/2)`` labels change, chosen by a permutation keyed by (seed, c); the new
    class k != c has the probability ``1 / (C - 1)`` (``"uniform"``) or ``n_k / (N - n_c)`` (``"prior"``, which keeps
    the tail rare). Which labels of a class change does not depend on the other classes, and those of a smaller rate are
    among those of a larger one. O(N + C**2).

    Args:
        labels: (N,) integers from 0.
        rate: fraction of each class that changes, one number or (C,), in [0, 1].
        toward: how the new class is drawn.
        num_classes: C; by default the largest label + 1.
        seed: in [0, 2**64).

    Shape:
        returns (N,) int64; ``labels`` stays as it was.

    Raises:
        TypeError: if the labels are not integers, or the rates no numbers.
        ValueError: if a label is out of range, a rate is outside [0, 1], ``toward`` is unknown, or a class has no
            other to change into.

    Source: Wei et al. 2021, arXiv:2108.11569 (the transition of ``"prior"``). Differs from it: the number of changed
    labels is fixed, not drawn.

    >>> noisy_labels([0] * 6 + [1] * 4, [0.5, 0.0], seed=1).tolist()
    [1, 0, 1, 0, 0, 1, 1, 1, 1, 1]
    """
    array = _checks.class_labels("labels", labels)
    counts = ClassCounts.from_labels(array, num_classes).counts
    _checks.choice("toward", toward, get_args(Toward))
    rates = _rates(rate, len(counts))
    seed = _checks.seed(seed)
    noisy = array.copy()
    for old in np.flatnonzero(np.floor(rates * counts + 0.5)).tolist():
        members = np.flatnonzero(array == old)
        changed = int(np.floor(rates[old] * len(members) + 0.5))
        order = _rust.permutation(len(members), seed, _rust.STREAM_LABEL_NOISE, 2 * old)
        drawn = _rust.uniform(seed, _rust.STREAM_LABEL_NOISE, 2 * old + 1, 0, changed)
        noisy[members[order[:changed]]] = _others(old, counts, toward, drawn)
    return noisy


def _rates(rate: ArrayLike, num_classes: int) -> NDArray[np.float64]:
    try:
        rates = np.asarray(rate, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"rate must be one number or one per class, got {rate!r}") from None
    if rates.ndim > 0 and rates.shape != (num_classes,):
        raise ValueError(f"rate must be one number or one per class ({num_classes}), got shape {rates.shape}")
    rates = np.broadcast_to(rates, (num_classes,))
    wrong = np.flatnonzero(~((rates >= 0) & (rates <= 1)))
    if wrong.size:
        raise ValueError(f"rate must lie in [0, 1], got {rates[wrong[0]]} for class {wrong[0]}")
    return rates


def _others(old: int, counts: NDArray[np.int64], toward: str, drawn: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the class for every draw in [0, 1): never ``old``."""
    weights = np.ones(len(counts)) if toward == "uniform" else counts.astype(np.float64)
    weights[old] = 0
    bounds = np.cumsum(weights)
    if bounds[-1] == 0:
        raise ValueError(f"labels must have a class besides {old} to change into, got none; pass num_classes")
    others: NDArray[np.int64] = np.searchsorted(bounds, drawn * bounds[-1], side="right").astype(np.int64)
    return others
