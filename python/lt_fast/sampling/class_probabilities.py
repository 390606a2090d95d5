"""Class probabilities: by an exponent, by effective number, or as given."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks
from lt_fast._loaded import is_tensor
from lt_fast.counts import ClassCounts, EmptyPolicy, in_class_order


def class_probabilities(
    class_counts: ClassCounts | ArrayLike, *, q: float = 0.0, empty: EmptyPolicy = "error"
) -> NDArray[np.float64]:
    """Return ``n_c ** q / sum_k n_k ** q``: the probability of each class in Kang et al.'s family.

    Args:
        class_counts: samples per class.
        q: 1 instance-balanced, 0.5 square-root, 0 class-balanced, -1 reverse.
        empty: ``"error"``, or ``"ignore"`` to give empty classes the probability 0.

    Shape:
        returns (C,) float64 with sum 1.

    Raises:
        TypeError: if ``q`` is not a number.
        ValueError: if a class is empty, unless ``empty="ignore"``; if ``q`` is not finite.

    Source: Kang et al. 2020, arXiv:1910.09217, equation (1).

    >>> [class_probabilities([900, 90, 10], q=q).round(2).tolist() for q in (1, 0.5, 0)]
    [[0.9, 0.09, 0.01], [0.7, 0.22, 0.07], [0.33, 0.33, 0.33]]
    """
    counts = ClassCounts(class_counts).require_no_empty(empty).counts
    q = _checks.number("q", q, hint="; 0 is class-balanced, 1 instance-balanced")
    shown = counts > 0
    weights = np.zeros(len(counts))
    # Relative to the class with the largest weight: no q overflows.
    weights[shown] = (counts[shown] / counts.max()) ** q if q >= 0 else (counts[shown].min() / counts[shown]) ** -q
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities


def effective_number_probs(
    class_counts: ClassCounts | ArrayLike, beta: float = 0.9999, *, empty: EmptyPolicy = "error"
) -> NDArray[np.float64]:
    """Return ``n_c * (1 - beta) / (1 - beta ** n_c)`` over its sum: samples weighted by effective number.

    ``beta=0`` is instance-balanced, ``beta`` towards 1 class-balanced.

    Args:
        class_counts: samples per class.
        beta: in [0, 1); Cui et al. use 0.9 to 0.9999.
        empty: ``"error"``, or ``"ignore"`` to give empty classes the probability 0.

    Shape:
        returns (C,) float64 with sum 1.

    Raises:
        TypeError: if ``beta`` is not a number.
        ValueError: if a class is empty, unless ``empty="ignore"``; if ``beta`` is not in [0, 1).

    Source: Cui et al. 2019, arXiv:1901.05555, equation (3), as weights of samples to draw:
        ``ImbalancedDatasetSampler`` in utils.py of kaidic/LDAM-DRW.

    >>> effective_number_probs([900, 90, 10], beta=0.99).round(2)
    array([0.78, 0.13, 0.09])
    """
    counts = ClassCounts(class_counts).require_no_empty(empty).counts
    beta = _checks.number("beta", beta, least=0, below=1, hint="; 0.9999 is usual")
    weights = np.zeros(len(counts))
    shown = counts > 0
    log_beta = np.log(beta) if beta > 0 else -np.inf
    weights[shown] = counts[shown] * (1 - beta) / -np.expm1(counts[shown] * log_beta)
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities


def entries_of(name: str, values: Any, names: ClassCounts | Sequence[str] | None = None) -> NDArray[np.float64]:
    """Return a copy of ``values``, one number per class, as float64; errors name the argument ``name``.

    Args:
        name: the argument.
        values: one number per class, in the order of the classes or named by class number or by ``names``.
        names: as for ``in_class_order``.
    """
    _checks.refuse_masked(name, values)
    values = in_class_order(name, values, names)
    if is_tensor(values):
        values = values.detach().cpu().double().numpy()
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be numbers, one per class, got {values!r}") from error


def explicit_probabilities(class_probs: ArrayLike, counts: ClassCounts, empty: EmptyPolicy) -> NDArray[np.float64]:
    """Return ``class_probs`` normalised to sum 1.

    Raises:
        TypeError: if it does not hold numbers.
        ValueError: if it has not one entry per class, one is negative or not finite, or all are 0.
    """
    probs = entries_of("class_probs", class_probs, counts)
    if probs.shape != (counts.num_classes,):
        raise ValueError(f"class_probs must have one entry per class ({counts.num_classes}), got shape {probs.shape}")
    wrong = np.flatnonzero(~(np.isfinite(probs) & (probs >= 0)))
    if wrong.size:
        raise ValueError(f"class_probs must be finite and >= 0, got {probs[wrong[0]]} for class {wrong[0]}")
    if empty == "ignore":
        probs[counts.empty] = 0
    if not probs.any():
        raise ValueError(f"class_probs must have a positive entry, got {len(probs)} zeros")
    scaled = probs / probs.max()  # the sum of the largest doubles is infinite
    probabilities: NDArray[np.float64] = scaled / scaled.sum()
    return probabilities
