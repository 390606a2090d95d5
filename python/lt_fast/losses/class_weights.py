"""Weights per class from the training counts: effective number of samples, inverse frequency."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast._checks import number, refuse_masked
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy, in_class_order
from lt_fast.ops.arguments import plain_numbers


def effective_number_weights(
    class_counts: CountsLike, beta: float = 0.9999, *, empty: EmptyPolicy = "error"
) -> NDArray[np.float64]:
    """Weights by the effective number of samples: the inverse of how many *different* samples a class has.

    Equals ``w / w.sum() * C`` with ``w = (1 - beta) / (1 - beta**n)``. ``beta=0`` gives all classes the same weight; for
    ``beta`` to 1 the weights approach ``1/n``.

    Args:
        class_counts: training samples per class.
        beta: in ``[0, 1)``; LDAM-DRW uses 0.9999 for CIFAR-LT.
        empty: ``"ignore"`` gives a class without samples weight 0 and the others their weights without that class.

    Shape:
        class_counts (C,); returns (C,) float64 of sum C (less the number of ignored classes).

    Raises:
        TypeError: if ``beta`` is not a number.
        ValueError: if ``beta`` is outside ``[0, 1)``, or a class is empty.

    Source: Cui et al. 2019, arXiv:1901.05555, Proposition 1 (effective number); code richardaecn/class-balanced-loss
    and kaidic/LDAM-DRW, cifar_train.py. Differs from both: ``1 - beta**n`` is computed by ``expm1``, which is accurate
    for a ``beta`` close to 1.
    """
    counts = ClassCounts(class_counts).require_no_empty(empty)
    hint = "; the limit beta -> 1 is inverse_frequency_weights(class_counts, 1.0)" if beta == 1 else ""
    beta = number("beta", beta, least=0, below=1, hint=hint)
    if beta == 0:
        return _normalized((counts.counts > 0).astype(np.float64))
    effective = -np.expm1(counts.counts * math.log(beta))
    return _normalized(np.divide(1 - beta, effective, out=np.zeros(len(counts)), where=effective > 0))


def inverse_frequency_weights(
    class_counts: CountsLike, gamma: float = 1.0, *, empty: EmptyPolicy = "error"
) -> NDArray[np.float64]:
    """Weights by a power of the inverse class frequency ("generalised re-weighting").

    Equals ``u / u.sum() * C`` with ``u = (1 / n)**gamma``. ``gamma=0`` gives all classes the same weight; MARC and
    DisAlign use 1.2. Arguments, shape and errors as ``effective_number_weights``, with ``gamma`` finite and >= 0.

    Source: Zhang et al. 2021 (DisAlign), arXiv:2103.16370, generalised re-weighting; Wang et al. 2022 (MARC),
    arXiv:2112.07225; code microsoft/robustlearn, marc/. Differs from that code: powers of ``smallest / n``, of which
    the largest is 1, so that they cannot all underflow.
    """
    counts = ClassCounts(class_counts).require_no_empty(empty)
    gamma = number("gamma", gamma, least=0)
    present = counts.counts > 0
    ratio = np.divide(counts.counts[present].min(), counts.counts, out=np.zeros(len(counts)), where=present)
    return _normalized(np.power(ratio, gamma, out=np.zeros(len(counts)), where=present))


def checked_weights(weight: Any, num_classes: int) -> NDArray[np.float64] | None:
    """Return ``weight`` as ``(C,)`` float64, None as None.

    Raises:
        TypeError: if it does not hold numbers.
        ValueError: if it has another shape, an entry that is negative or not finite, only zeros, or a gradient.
    """
    if weight is None:
        return None
    weight = in_class_order("weight", weight)
    refuse_masked("weight", weight)
    _refuse_gradient(weight)
    try:
        array = np.asarray(plain_numbers(weight), dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"weight must be one number per class, got {weight!r}") from None
    if array.shape != (num_classes,):
        raise ValueError(f"weight must have one entry per class, shape ({num_classes},), got shape {array.shape}")
    wrong = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if wrong.size:
        raise ValueError(f"weight must be finite and >= 0, got {array[wrong[0]]} for class {wrong[0]}")
    if not array.any():
        raise ValueError(f"weight must be > 0 for at least one class, got {num_classes} zeros")
    return array


def _refuse_gradient(weight: Any) -> None:
    listed = isinstance(weight, list | tuple)
    parts = {f"weight[{at}]": part for at, part in enumerate(weight)} if listed else {"weight": weight}
    for name, part in parts.items():
        if getattr(part, "requires_grad", False):
            raise ValueError(
                f"{name} must not require a gradient: a loss treats its class weights as constants; "
                f"pass {name}.detach()"
            )


def _normalized(raw: NDArray[np.float64]) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = raw * (np.count_nonzero(raw) / raw.sum())
    return weights
