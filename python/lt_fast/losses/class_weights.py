"""Weights per class from the training counts: effective number of samples, inverse frequency."""

import math

import numpy as np

from lt_fast._checks import number
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.base import Vector
from lt_fast.registry import register


@register("reweight", "effective_number")
def effective_number_weights(class_counts: CountsLike, beta: float = 0.9999, *, empty: EmptyPolicy = "error") -> Vector:
    """Weights by the effective number of samples: the inverse of how many *different* samples a class has.

    Equals ``w / w.sum() * C`` with ``w = (1 - beta) / (1 - beta**n)``. ``beta=0`` gives all classes weight 1, and for
    ``beta`` close to 1 the weights are those of ``1/n``. Returns (C,) float64 of sum C less the ignored classes.

    Args:
        class_counts: training samples per class.
        beta: in ``[0, 1)``; LDAM-DRW uses 0.9999 for CIFAR-LT.
        empty: ``"ignore"`` gives a class without samples weight 0 and the others their weights without that class.

    Raises:
        TypeError, ValueError: if ``beta`` is not a number in ``[0, 1)``, or a class is empty.

    Source: Cui et al. 2019, arXiv:1901.05555, Proposition 1 (effective number); code richardaecn/class-balanced-loss
    and kaidic/LDAM-DRW, cifar_train.py. Differs from both: ``1 - beta**n`` is computed by ``expm1``, which is accurate
    for a ``beta`` close to 1.

    >>> effective_number_weights([5000, 500, 50], beta=0.99).round(3).tolist()  # 500 samples are as good as 5000
    [0.661, 0.665, 1.674]
    >>> effective_number_weights([5000, 500, 50], beta=0.9999).round(3).tolist()
    [0.034, 0.275, 2.691]
    """
    counts = ClassCounts(class_counts).require_no_empty(empty)
    hint = "; the limit beta -> 1 is inverse_frequency_weights(class_counts, 1.0)" if beta == 1 else ""
    beta = number("beta", beta, least=0, below=1, hint=hint)
    if beta == 0:
        return _normalized((counts.counts > 0).astype(np.float64))
    effective = -np.expm1(counts.counts * math.log(beta))
    return _normalized(np.divide(1 - beta, effective, out=np.zeros(len(counts)), where=effective > 0))


@register("reweight", "inverse_frequency")
def inverse_frequency_weights(class_counts: CountsLike, gamma: float = 1.0, *, empty: EmptyPolicy = "error") -> Vector:
    """Weights by a power of the inverse class frequency ("generalised re-weighting").

    Equals ``u / u.sum() * C`` with ``u = (1 / n)**gamma``. ``gamma=0`` gives all classes the same weight; MARC and
    DisAlign use 1.2. Arguments, shape and errors as ``effective_number_weights``, with ``gamma`` finite and >= 0.

    Source: Zhang et al. 2021 (DisAlign), arXiv:2103.16370, generalised re-weighting; Wang et al. 2022 (MARC),
    arXiv:2112.07225; code microsoft/robustlearn, marc/. Differs from that code: powers of ``smallest / n``, of which
    the largest is 1, so that they cannot all underflow.

    >>> inverse_frequency_weights([500, 50, 5]).round(3).tolist()
    [0.027, 0.27, 2.703]
    >>> inverse_frequency_weights([500, 50, 5], gamma=0.5).round(3).tolist()
    [0.212, 0.67, 2.118]
    """
    counts = ClassCounts(class_counts).require_no_empty(empty)
    gamma = number("gamma", gamma, least=0)
    present = counts.counts > 0
    ratio = np.divide(counts.counts[present].min(), counts.counts, out=np.zeros(len(counts)), where=present)
    return _normalized(np.power(ratio, gamma, out=np.zeros(len(counts)), where=present))


def _normalized(raw: Vector) -> Vector:
    return np.asarray(raw * (np.count_nonzero(raw) / raw.sum()))
