"""Weights per class from the training counts: effective number of samples, inverse frequency."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast._checks import refuse_masked
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy, in_class_order
from lt_fast.losses.checks import real_number
from lt_fast.ops.arguments import plain_numbers


def effective_number_weights(
    class_counts: CountsLike, beta: float = 0.9999, *, empty: EmptyPolicy = "error"
) -> NDArray[np.float64]:
    """Weights by the effective number of samples: one over how many *different* samples a class can be said to have.

    Equals ``w / w.sum() * C`` with ``w = (1 - beta) / (1 - beta**n)``. ``beta=0`` weighs all classes alike; as ``beta``
    goes to 1 the weights go to ``1/n``.

    Args:
        class_counts: training samples per class.
        beta: in ``[0, 1)``; 0.9999 is LDAM-DRW's for CIFAR-LT.
        empty: ``"ignore"`` gives a class without samples the weight 0 and the others what they would get without it.

    Shape:
        class_counts (C,); returns (C,) float64 of sum C (less the number of ignored classes).

    Raises:
        TypeError: if ``beta`` is no number.
        ValueError: if ``beta`` lies outside ``[0, 1)``, or a class is empty.

    Source: Cui et al. 2019, arXiv:1901.05555, Proposition 1 (effective number); code richardaecn/class-balanced-loss
    and kaidic/LDAM-DRW, cifar_train.py. Differs from both: ``1 - beta**n`` is computed by ``expm1``, so that a ``beta``
    close to 1 loses no digits.
    """
    counts = ClassCounts(class_counts).require_no_empty(empty)
    if not 0 <= real_number("beta", beta) < 1:
        hint = "; the limit beta -> 1 is inverse_frequency_weights(class_counts, 1.0)" if beta == 1 else ""
        raise ValueError(f"beta must be in [0, 1), got {beta}{hint}")
    if beta == 0:
        return _normalized((counts.counts > 0).astype(np.float64))
    effective = -np.expm1(counts.counts * math.log(beta))
    return _normalized(np.divide(1 - beta, effective, out=np.zeros(len(counts)), where=effective > 0))


def inverse_frequency_weights(
    class_counts: CountsLike, gamma: float = 1.0, *, empty: EmptyPolicy = "error"
) -> NDArray[np.float64]:
    """Weights by a power of the inverse class frequency ("generalised re-weighting").

    Equals ``u / u.sum() * C`` with ``u = (1 / n)**gamma``. ``gamma=0`` weighs all classes alike; MARC and DisAlign
    take 1.2.

    Args:
        class_counts: training samples per class.
        gamma: finite, >= 0.
        empty: ``"ignore"`` gives a class without samples the weight 0 and the others what they would get without it.

    Shape:
        class_counts (C,); returns (C,) float64 of sum C (less the number of ignored classes).

    Raises:
        TypeError: if ``gamma`` is no number.
        ValueError: if ``gamma`` is negative or not finite, or a class is empty.

    Source: Zhang et al. 2021 (DisAlign), arXiv:2103.16370, generalised re-weighting; Wang et al. 2022 (MARC),
    arXiv:2112.07225; code microsoft/robustlearn, marc/. Differs from that code: powers of ``smallest / n``, which
    cannot underflow together.
    """
    counts = ClassCounts(class_counts).require_no_empty(empty)
    if not (math.isfinite(real_number("gamma", gamma)) and gamma >= 0):
        raise ValueError(f"gamma must be finite and >= 0, got {gamma}")
    present = counts.counts > 0
    ratio = np.divide(counts.counts[present].min(), counts.counts, out=np.zeros(len(counts)), where=present)
    return _normalized(np.power(ratio, gamma, out=np.zeros(len(counts)), where=present))


def checked_weights(weight: Any, num_classes: int) -> NDArray[np.float64] | None:
    """Return ``weight`` as ``(C,)`` float64, None as None.

    Raises:
        TypeError: if it holds no numbers.
        ValueError: if it has another shape, is negative, NaN or infinite anywhere, or zero everywhere, or if it
            requires a gradient.
    """
    if weight is None:
        return None
    weight = in_class_order("weight", weight)
    refuse_masked("weight", weight)
    _refuse_gradient(weight)
    try:
        array = np.asarray(plain_numbers(weight), dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"weight must be one number a class, got {weight!r}") from None
    if array.shape != (num_classes,):
        raise ValueError(f"weight must have one entry a class, shape ({num_classes},), got shape {array.shape}")
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
