"""Maximum-Margin (MM) loss: the margin of a sample comes from its own scores; MM-LDAM widens it for rare classes."""

from typing import Any

from torch import Tensor

from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.losses.class_weights import checked_weights
from lt_fast.losses.ldam import ldam_margins
from lt_fast.losses.modules import OneCallLoss

LDAM_MARGIN = 0.5
"""LDAM margin of the rarest class that MM-LDAM takes off the offset; fixed in the authors' code."""


def maximum_margin_loss(
    logits: Tensor,
    target: Tensor,
    class_counts: CountsLike,
    *,
    target_b: Tensor | None = None,
    lam: Tensor | float | None = None,
    max_margin: float = 1.29,
    gamma: float = 1.528,
    scale: float = 19.0,
    ldam: bool = False,
    compat: str | None = None,
    weight: Any = None,
    label_rule: str = "mixup",
    omega: float = 0.25,
    normalization: str = "expected",
    reduction: str = "mean",
    empty: EmptyPolicy = "error",
) -> Tensor:
    """Maximum-Margin loss: right samples get a small margin, wrong ones a larger, largest close to the boundary.

    Equals ``F.cross_entropy(scale * (logits - one_hot(target) * margin), target, weight)`` up to ``normalization``,
    with the sample's own margin from its gap, ``gap = logits[y] - max_{j != y} logits[j]``, as a constant for the
    gradient::

        margin = exp(-gap - gamma * m)  if gap > 0,    exp(gap - m)  if gap < 0,    0  if gap = 0

    where the offset m is ``max_margin``, or for MM-LDAM ``max_margin - ldam_margins(class_counts)[y]``, so that a rarer
    class has a smaller offset and a larger margin. Plain MM knows no class sizes: they enter by ``weight`` (DRW) alone.

    Args:
        logits: cosine scores before scaling.
        target: class indices, those of the first image where two are mixed.
        class_counts: training samples per class.
        target_b: class indices of the second image; each label has its own gap and margin.
        lam: factor of the first image, in [0, 1].
        max_margin: offset in the exponent, finite, >= 0; a *larger* value means a smaller margin. The margin stays
            below ``exp(-m)``.
        gamma: factor of the offset where the sample is right, finite, >= 0; above 1 wrong samples get more margin.
        scale: factor of the cosine scores, > 0.
        ldam: MM-LDAM.
        compat: ``"batch_first_label"`` repeats a defect of the authors' code, see Source; for comparison only.
        weight: one factor a class, >= 0; ``effective_number_weights(counts)`` late in training is DRW.
        label_rule: ``"mixup"`` keeps ``lam``; ``"mam"`` moves it by the class sizes; see ``ops.mixed_margin_loss``.
        omega: strength of ``"mam"``.
        normalization: what the mean divides by. ``"expected"``: N times the mean weight of a training sample, the same
            on 1 and 16 ranks; ``"weights"``: the weights of the batch, as the authors' code; ``"batch"``: N.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        empty: ``"ignore"`` gives a class without samples the LDAM margin of the rarest.

    Shape:
        logits (N, C) float32, float64, bfloat16 or float16; target and target_b (N,) int64 in [0, C); lam a number or
        (N,); class_counts and weight (C,); returns a scalar, or (N,) for ``reduction="none"``. O(N * C), one pass.

    Raises:
        TypeError: if labels are not whole numbers, or an option is of a wrong type.
        ValueError: if a class is empty, a shape does not fit, a label is out of range, or an option is out of range or
            unknown.

    Source: Kang, Vu and Yoo 2021, arXiv:2206.05380; code ihaeyong/Maximum-Margin-LDAM, losses.py HMMLoss. The defaults
    are its README's for CIFAR-100 at ratio 100; the authors tuned all three by data set. Differs from that code, which
    takes the own score of *every* row from the column of the batch's first label, and counts a 0 in the place of the
    own column when it looks for the largest other: here each row has its own label, as the paper's text says, and the
    own column is left out. ``compat="batch_first_label"`` has the code's form, in which the published figures may have
    been computed; with it a row's loss depends on its batch.
    """
    criterion = MaximumMarginLoss(
        class_counts,
        max_margin=max_margin,
        gamma=gamma,
        scale=scale,
        ldam=ldam,
        compat=compat,
        weight=weight,
        label_rule=label_rule,
        omega=omega,
        normalization=normalization,
        reduction=reduction,
        empty=empty,
    )
    loss: Tensor = criterion(logits, target, target_b, lam)
    return loss


class MaximumMarginLoss(OneCallLoss):
    """``maximum_margin_loss`` with its vectors of length C made once.

    Formula: ``-log softmax(scale * (logits - one_hot(target) * margin))[target]`` with a margin from the sample's own
    gap to the largest other score, weighted by class; for two labels a sample their mixture.

    Shape:
        ``forward(logits (N, C), target_a (N,), target_b (N,) or None, lam (N,) or number or None)``; returns a scalar,
        or (N,) for ``reduction="none"``. Arguments and Raises: see ``maximum_margin_loss``.

    Source: Kang, Vu and Yoo 2021, arXiv:2206.05380; code ihaeyong/Maximum-Margin-LDAM, losses.py HMMLoss.
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        max_margin: float = 1.29,
        gamma: float = 1.528,
        scale: float = 19.0,
        ldam: bool = False,
        compat: str | None = None,
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
            margin=ldam_margins(counts, max_margin=LDAM_MARGIN, empty=empty) if ldam else None,
            weight=checked_weights(weight, len(counts)),
        )
        self.fix_options(
            margin_rule="maximum",
            max_margin=max_margin,
            gamma=gamma,
            scale=scale,
            compat=compat,
            label_rule=label_rule,
            omega=omega,
            normalization=normalization,
            reduction=reduction,
        )
