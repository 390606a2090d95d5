"""LDAM: a margin that grows as the class gets rarer, inside a scaled softmax."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.checks import real_number
from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.losses.class_weights import checked_weights
from lt_fast.losses.modules import OneCallLoss


def ldam_margins(
    class_counts: CountsLike, *, max_margin: float = 0.5, empty: EmptyPolicy = "error"
) -> NDArray[np.float64]:
    """Margin of every class: proportional to ``class_counts ** -0.25``, the rarest class gets ``max_margin``.

    Args:
        class_counts: training samples per class.
        max_margin: finite, >= 0.
        empty: ``"ignore"`` gives a class without samples ``max_margin``, the largest finite one.

    Shape:
        class_counts (C,); returns (C,) float64 in (0, max_margin].

    Raises:
        TypeError: if ``max_margin`` is no number.
        ValueError: if a class is empty, or ``max_margin`` is negative or not finite.

    Source: Cao et al. 2019, arXiv:1906.07413; code kaidic/LDAM-DRW, losses.py.
    """
    counts = ClassCounts(class_counts).require_no_empty(empty).counts
    if not (math.isfinite(real_number("max_margin", max_margin)) and max_margin >= 0):
        raise ValueError(f"max_margin must be finite and >= 0, got {max_margin}")
    smallest = counts[counts > 0].min()
    margins: NDArray[np.float64] = max_margin * (smallest / np.maximum(counts, smallest)) ** 0.25
    return margins


def ldam_loss(
    logits: Tensor,
    target: Tensor,
    class_counts: CountsLike,
    *,
    target_b: Tensor | None = None,
    lam: Tensor | float | None = None,
    max_margin: float = 0.5,
    scale: float = 30.0,
    weight: Any = None,
    label_rule: str = "mixup",
    omega: float = 0.25,
    normalization: str = "expected",
    reduction: str = "mean",
    empty: EmptyPolicy = "error",
) -> Tensor:
    """Label-distribution-aware margin loss: rarer classes get wider margins.

    Equals ``F.cross_entropy(scale * (logits - one_hot(target) * margin), target, weight)`` up to ``normalization``,
    with ``margin_c`` proportional to ``class_counts[c] ** -0.25`` and ``max_margin`` the largest.

    Args:
        logits: cosine scores before scaling.
        target: class indices, those of the first image where two are mixed.
        class_counts: training samples per class.
        target_b: class indices of the second image; each label is scored with its own margin.
        lam: factor of the first image, in [0, 1].
        max_margin: margin of the rarest class, finite, >= 0.
        scale: factor of the cosine scores, > 0.
        weight: one factor a class, >= 0; ``effective_number_weights(counts)`` late in training is LDAM-DRW.
        label_rule: ``"mixup"`` keeps ``lam``; ``"mam"`` moves it by the class sizes; see ``ops.mixed_margin_loss``.
        omega: strength of ``"mam"``.
        normalization: what the mean divides by. ``"expected"``: N times the mean weight of a training sample, the same
            on 1 and 16 ranks; ``"weights"``: the weights of the batch, as the authors' code; ``"batch"``: N.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        empty: ``"ignore"`` gives a class without samples the margin ``max_margin``.

    Shape:
        logits (N, C) float32, float64, bfloat16 or float16; target and target_b (N,) int64 in [0, C); lam a number or
        (N,); class_counts and weight (C,); returns a scalar, or (N,) for ``reduction="none"``. O(N * C), one pass.

    Raises:
        TypeError: if labels are not whole numbers, or an option is of a wrong type.
        ValueError: if a class is empty, a shape does not fit, a label is out of range, or an option is unknown.

    Source: Cao et al. 2019, arXiv:1906.07413; code kaidic/LDAM-DRW, losses.py. Differs from that code: any device and
    dtype; ``"expected"`` is the default where the code has ``"weights"``.
    """
    criterion = LDAMLoss(
        class_counts,
        max_margin=max_margin,
        scale=scale,
        weight=weight,
        label_rule=label_rule,
        omega=omega,
        normalization=normalization,
        reduction=reduction,
        empty=empty,
    )
    loss: Tensor = criterion(logits, target, target_b, lam)
    return loss


class LDAMLoss(OneCallLoss):
    """``ldam_loss`` with its vectors of length C made once.

    Formula: ``-log softmax(scale * (logits - one_hot(target) * margin))[target]``, ``margin = ldam_margins(counts)``,
    weighted by class; for two labels a sample their mixture.

    Shape:
        ``forward(logits (N, C), target_a (N,), target_b (N,) or None, lam (N,) or number or None)``; returns a scalar,
        or (N,) for ``reduction="none"``. Arguments and Raises: see ``ldam_loss``.

    Source: Cao et al. 2019, arXiv:1906.07413; code kaidic/LDAM-DRW, losses.py.
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        max_margin: float = 0.5,
        scale: float = 30.0,
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
            margin=ldam_margins(counts, max_margin=max_margin, empty=empty),
            weight=checked_weights(weight, len(counts)),
        )
        self.fix_options(
            scale=scale,
            label_rule=label_rule,
            omega=omega,
            normalization=normalization,
            reduction=reduction,
        )
