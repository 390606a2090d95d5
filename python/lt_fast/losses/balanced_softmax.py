"""Balanced softmax: the training prior goes into the softmax, so that the logits learn to do without it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.losses.class_weights import checked_weights
from lt_fast.losses.modules import OneCallLoss


def log_prior(class_counts: CountsLike, *, empty: EmptyPolicy = "error") -> NDArray[np.float64]:
    """Logarithm of every class's share of the training samples.

    Args:
        class_counts: training samples per class.
        empty: ``"ignore"`` gives a class without samples the value of the rarest other: the largest finite margin.

    Shape:
        class_counts (C,); returns (C,) float64, <= 0.

    Raises:
        ValueError: if a class is empty.
    """
    counts = ClassCounts(class_counts).require_no_empty(empty)
    smallest = counts.counts[counts.counts > 0].min()
    logarithm: NDArray[np.float64] = np.log(np.maximum(counts.counts, smallest) / counts.total)
    return logarithm


def balanced_softmax_loss(
    logits: Tensor,
    target: Tensor,
    class_counts: CountsLike,
    *,
    target_b: Tensor | None = None,
    lam: Tensor | float | None = None,
    weight: Any = None,
    label_rule: str = "mixup",
    omega: float = 0.25,
    normalization: str = "expected",
    reduction: str = "mean",
    empty: EmptyPolicy = "error",
) -> Tensor:
    """Cross entropy of the logits plus the log of the training prior; at test time the logits are used as they are.

    Equals ``F.cross_entropy(logits + log(class_counts), target, weight)`` up to ``normalization``.

    Args:
        logits: class scores, without the prior.
        target: class indices, those of the first image where two are mixed.
        class_counts: training samples per class.
        target_b: class indices of the second image.
        lam: factor of the first image, in [0, 1].
        weight: one factor a class, >= 0; the paper has none.
        label_rule: ``"mixup"`` keeps ``lam``; ``"mam"`` moves it by the class sizes; see ``ops.mixed_margin_loss``.
        omega: strength of ``"mam"``.
        normalization: what the mean divides by; without ``weight`` all three are N.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        empty: ``"ignore"`` treats a class without samples as if it had as many as the rarest other.

    Shape:
        logits (N, C) float32, float64, bfloat16 or float16; target and target_b (N,) int64 in [0, C); lam a number or
        (N,); class_counts and weight (C,); returns a scalar, or (N,) for ``reduction="none"``. O(N * C), one pass.

    Raises:
        TypeError: if labels are not whole numbers, or an option is of a wrong type.
        ValueError: if a class is empty, a shape does not fit, a label is out of range, or an option is unknown.

    Source: Ren et al. 2020, arXiv:2007.10740; code jiawei-ren/BalancedMetaSoftmax-Classification. Differs from that
    code: the log of the share instead of the log of the count, which a softmax cannot tell apart.
    """
    criterion = BalancedSoftmaxLoss(
        class_counts,
        weight=weight,
        label_rule=label_rule,
        omega=omega,
        normalization=normalization,
        reduction=reduction,
        empty=empty,
    )
    loss: Tensor = criterion(logits, target, target_b, lam)
    return loss


class BalancedSoftmaxLoss(OneCallLoss):
    """``balanced_softmax_loss`` with its vectors of length C made once.

    Formula: ``-log softmax(logits + log(prior))[target]``, weighted by class; for two labels a sample their mixture.

    Shape:
        ``forward(logits (N, C), target_a (N,), target_b (N,) or None, lam (N,) or number or None)``; returns a scalar,
        or (N,) for ``reduction="none"``. Arguments and Raises: see ``balanced_softmax_loss``.

    Source: Ren et al. 2020, arXiv:2007.10740; code jiawei-ren/BalancedMetaSoftmax-Classification.
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        weight: Any = None,
        label_rule: str = "mixup",
        omega: float = 0.25,
        normalization: str = "expected",
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
    ) -> None:
        super().__init__()
        counts = ClassCounts(counts).require_no_empty(empty)
        self.vectors = ClassVectors(
            counts,
            bias=log_prior(counts, empty=empty),
            weight=checked_weights(weight, len(counts)),
        )
        self.fix_options(
            label_rule=label_rule,
            omega=omega,
            normalization=normalization,
            reduction=reduction,
        )
