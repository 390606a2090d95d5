"""Logit-adjusted loss: a multiple of the log training prior goes into the softmax while training."""

import math
from typing import Any

from torch import Tensor

from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.balanced_softmax import log_prior
from lt_fast.losses.checks import real_number
from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.losses.class_weights import checked_weights
from lt_fast.losses.modules import OneCallLoss


def logit_adjusted_loss(
    logits: Tensor,
    target: Tensor,
    class_counts: CountsLike,
    *,
    target_b: Tensor | None = None,
    lam: Tensor | float | None = None,
    tau: float = 1.0,
    weight: Any = None,
    label_rule: str = "mixup",
    omega: float = 0.25,
    normalization: str = "expected",
    reduction: str = "mean",
    empty: EmptyPolicy = "error",
) -> Tensor:
    """Cross entropy of the logits plus ``tau`` times the log of the training prior; at test time the logits alone.

    Equals ``F.cross_entropy(logits + tau * log_prior(class_counts), target, weight)`` up to ``normalization``. With
    ``tau=1`` it is balanced softmax, whose minimiser has the lowest balanced error; ``tau=0`` is cross entropy.

    Args:
        logits: class scores, without the prior.
        target: class indices, those of the first image where two are mixed.
        class_counts: training samples per class.
        target_b: class indices of the second image.
        lam: factor of the first image, in [0, 1].
        tau: strength, finite, >= 0.
        weight: one factor a class, >= 0; the paper has none here.
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
        ValueError: if a class is empty, ``tau`` is negative or not finite, a shape does not fit, a label is out of
            range, or an option is unknown.

    Source: Menon et al. 2021, arXiv:2007.07314, equation 10; code google-research/google-research, logit_adjustment.
    Differs from that code: ``tau * log(prior)`` where it has ``log(prior**tau + 1e-12)``, equal but for the guard.
    """
    criterion = LogitAdjustedLoss(
        class_counts,
        tau=tau,
        weight=weight,
        label_rule=label_rule,
        omega=omega,
        normalization=normalization,
        reduction=reduction,
        empty=empty,
    )
    loss: Tensor = criterion(logits, target, target_b, lam)
    return loss


class LogitAdjustedLoss(OneCallLoss):
    """``logit_adjusted_loss`` with its vectors of length C made once.

    Formula: ``-log softmax(logits + tau * log(prior))[target]``, weighted by class; for two labels a sample their
    mixture.

    Shape:
        ``forward(logits (N, C), target_a (N,), target_b (N,) or None, lam (N,) or number or None)``; returns a scalar,
        or (N,) for ``reduction="none"``. Arguments and Raises: see ``logit_adjusted_loss``.

    Source: Menon et al. 2021, arXiv:2007.07314; code google-research/google-research, logit_adjustment.
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        tau: float = 1.0,
        weight: Any = None,
        label_rule: str = "mixup",
        omega: float = 0.25,
        normalization: str = "expected",
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
    ) -> None:
        super().__init__()
        if not (math.isfinite(real_number("tau", tau)) and tau >= 0):
            raise ValueError(f"tau must be finite and >= 0, got {tau}; 1 is balanced softmax, 0 cross entropy")
        counts = ClassCounts(counts).require_no_empty(empty)
        self.vectors = ClassVectors(
            counts,
            bias=tau * log_prior(counts, empty=empty),
            weight=checked_weights(weight, len(counts)),
        )
        self.fix_options(
            label_rule=label_rule,
            omega=omega,
            normalization=normalization,
            reduction=reduction,
        )
