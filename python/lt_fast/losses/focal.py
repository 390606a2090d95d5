"""Focal loss in its softmax form: samples that are already right count less."""

from typing import Any

from torch import Tensor

from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.checks import real_number
from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.losses.class_weights import checked_weights
from lt_fast.losses.modules import OneCallLoss


def focal_loss(
    logits: Tensor,
    target: Tensor,
    class_counts: CountsLike,
    *,
    target_b: Tensor | None = None,
    lam: Tensor | float | None = None,
    gamma: float = 2.0,
    weight: Any = None,
    label_rule: str = "mixup",
    omega: float = 0.25,
    normalization: str = "expected",
    reduction: str = "mean",
    empty: EmptyPolicy = "error",
) -> Tensor:
    """Focal loss: cross entropy times ``(1 - p)**gamma`` with p the probability of the own class.

    Equals ``weight[y] * (1 - p)**gamma * -log(p)`` averaged, ``p = softmax(logits)[y]``, up to ``normalization``.

    Args:
        logits: class scores.
        target: class indices, those of the first image where two are mixed.
        class_counts: training samples per class; read by ``weight``'s normalization and by label rules alone.
        target_b: class indices of the second image; each label has its own p.
        lam: factor of the first image, in [0, 1].
        gamma: focusing, finite, >= 0; 0 is cross entropy.
        weight: one factor a class, >= 0; ``effective_number_weights(counts)`` is class-balanced focal loss.
        label_rule: ``"mixup"`` keeps ``lam``; ``"mam"`` moves it by the class sizes; see ``ops.mixed_margin_loss``.
        omega: strength of ``"mam"``.
        normalization: what the mean divides by; without ``weight`` all three are N.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        empty: ``"ignore"`` allows classes without samples.

    Shape:
        logits (N, C) float32, float64, bfloat16 or float16; target and target_b (N,) int64 in [0, C); lam a number or
        (N,); class_counts and weight (C,); returns a scalar, or (N,) for ``reduction="none"``. O(N * C), one pass.

    Raises:
        TypeError: if labels are not whole numbers, or an option is of a wrong type.
        ValueError: if a class is empty, ``gamma`` is negative or not finite, a shape does not fit, a label is out of
            range, or an option is unknown.

    Source: Lin et al. 2017, arXiv:1708.02002, equation 4, whose best gamma is 2; the softmax form is that of
    kaidic/LDAM-DRW, losses.py, with gamma 1 there. Differs from that code with weights: there p is
    ``exp(-weight * CE)``, which is no probability. The paper and zhangyongshun/BagofTricks-LT have the sigmoid form,
    which is another loss.
    """
    criterion = FocalLoss(
        class_counts,
        gamma=gamma,
        weight=weight,
        label_rule=label_rule,
        omega=omega,
        normalization=normalization,
        reduction=reduction,
        empty=empty,
    )
    loss: Tensor = criterion(logits, target, target_b, lam)
    return loss


class FocalLoss(OneCallLoss):
    """``focal_loss`` with its vectors of length C made once.

    Formula: ``-(1 - p)**gamma * log(p)``, ``p = softmax(logits)[target]``, weighted by class; for two labels a sample
    their mixture.

    Shape:
        ``forward(logits (N, C), target_a (N,), target_b (N,) or None, lam (N,) or number or None)``; returns a scalar,
        or (N,) for ``reduction="none"``. Arguments and Raises: see ``focal_loss``.

    Source: Lin et al. 2017, arXiv:1708.02002; softmax form of kaidic/LDAM-DRW, losses.py.
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        gamma: float = 2.0,
        weight: Any = None,
        label_rule: str = "mixup",
        omega: float = 0.25,
        normalization: str = "expected",
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
    ) -> None:
        super().__init__()
        if not 0 <= real_number("gamma", gamma) < float("inf"):
            raise ValueError(f"gamma must be finite and >= 0, got {gamma}; 0 is cross entropy")
        counts = ClassCounts(counts).require_no_empty(empty)
        self.vectors = ClassVectors(counts, weight=checked_weights(weight, len(counts)))
        self.fix_options(
            focal_gamma=gamma,
            label_rule=label_rule,
            omega=omega,
            normalization=normalization,
            reduction=reduction,
        )
