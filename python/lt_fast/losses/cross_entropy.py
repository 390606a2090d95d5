"""Cross entropy for one or two labels a sample, with class weights: the baseline, and the loss of mixup and MAM."""

from typing import Any

from torch import Tensor

from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.losses.class_weights import checked_weights
from lt_fast.losses.modules import OneCallLoss


def cross_entropy_loss(
    logits: Tensor,
    target: Tensor,
    class_counts: CountsLike,
    *,
    target_b: Tensor | None = None,
    lam: Tensor | float | None = None,
    weight: Any = None,
    label_smoothing: float = 0.0,
    label_rule: str = "mixup",
    omega: float = 0.25,
    normalization: str = "expected",
    reduction: str = "mean",
    empty: EmptyPolicy = "error",
) -> Tensor:
    """Cross entropy for one label a sample, or for two that are mixed.

    Equals, with one label, ``F.cross_entropy(logits, target, weight)`` up to ``normalization``; with two, the mean of::

        f * weight[a] * CE(logits, a) + (1 - f) * weight[b] * CE(logits, b)

    where ``f``, the factor of the label, is what ``label_rule`` makes of ``lam``, the factor of the image.

    Args:
        logits: class scores.
        target: class indices, those of the first image where two are mixed.
        class_counts: training samples per class.
        target_b: class indices of the second image.
        lam: factor of the first image, in [0, 1].
        weight: one factor a class, >= 0; ``effective_number_weights(counts)`` late in training is DRW.
        label_smoothing: share of every label that is spread evenly over all classes, in [0, 1].
        label_rule: ``"mixup"`` keeps ``lam``; ``"mam"`` moves it by the class sizes; see ``ops.mixed_margin_loss``.
        omega: strength of ``"mam"``.
        normalization: what the mean divides by. ``"expected"``: N times the mean weight of a training sample, the same
            on 1 and 16 ranks; ``"weights"``: the weights of the batch, as torch; ``"batch"``: N.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        empty: ``"ignore"`` allows classes without samples.

    Shape:
        logits (N, C) float32, float64, bfloat16 or float16; target and target_b (N,) int64 in [0, C); lam a number or
        (N,); class_counts and weight (C,); returns a scalar, or (N,) for ``reduction="none"``. O(N * C), one pass.

    Raises:
        TypeError: if labels are not whole numbers, or an option is of a wrong type.
        ValueError: if a class is empty, a shape does not fit, a label is out of range, or an option is unknown.

    Source: torch.nn.functional.cross_entropy; two labels as in facebookresearch/mixup-cifar10, train.py. The weighted
    plain mean of ntucllab/imbalanced-DL, _mamix_drw.py, is ``normalization="batch"``.
    """
    criterion = CrossEntropyLoss(
        class_counts,
        weight=weight,
        label_smoothing=label_smoothing,
        label_rule=label_rule,
        omega=omega,
        normalization=normalization,
        reduction=reduction,
        empty=empty,
    )
    loss: Tensor = criterion(logits, target, target_b, lam)
    return loss


class CrossEntropyLoss(OneCallLoss):
    """``cross_entropy_loss`` with its vectors of length C made once.

    Formula: ``-log softmax(logits)[target]``, weighted by class; for two labels a sample their mixture.

    Shape:
        ``forward(logits (N, C), target_a (N,), target_b (N,) or None, lam (N,) or number or None)``; returns a scalar,
        or (N,) for ``reduction="none"``. Arguments and Raises: see ``cross_entropy_loss``.

    Source: torch.nn.CrossEntropyLoss; two labels as in facebookresearch/mixup-cifar10, train.py.
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        weight: Any = None,
        label_smoothing: float = 0.0,
        label_rule: str = "mixup",
        omega: float = 0.25,
        normalization: str = "expected",
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
    ) -> None:
        super().__init__()
        counts = ClassCounts(counts).require_no_empty(empty)
        self.vectors = ClassVectors(counts, weight=checked_weights(weight, len(counts)))
        self.fix_options(
            label_smoothing=label_smoothing,
            label_rule=label_rule,
            omega=omega,
            normalization=normalization,
            reduction=reduction,
        )
