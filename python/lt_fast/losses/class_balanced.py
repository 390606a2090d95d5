"""Class-balanced loss: softmax cross entropy weighted by the inverse effective number of samples."""

from torch import Tensor

from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.losses.class_weights import effective_number_weights
from lt_fast.losses.modules import OneCallLoss


def class_balanced_loss(
    logits: Tensor,
    target: Tensor,
    class_counts: CountsLike,
    *,
    target_b: Tensor | None = None,
    lam: Tensor | float | None = None,
    beta: float = 0.9999,
    label_rule: str = "mixup",
    omega: float = 0.25,
    normalization: str = "expected",
    reduction: str = "mean",
    empty: EmptyPolicy = "error",
) -> Tensor:
    """Class-balanced softmax cross entropy: a class weighs as much as its samples *differ*.

    Equals ``F.cross_entropy(logits, target, effective_number_weights(class_counts, beta))`` up to ``normalization``.

    The three ways to divide differ in step size and in noise. ``"batch"`` is Cui et al.'s own: the weights sum to C,
    so on a natural batch the mean weight is well below 1 and the step shrinks with the imbalance. ``"weights"`` is
    LDAM-DRW's re-weighting: the divisor is that of the batch, so one rare sample makes all others of its batch count
    less. ``"expected"``, the default, has the step size of the second and the fixed divisor of the first.

    Args:
        logits: class scores.
        target: class indices, those of the first image where two are mixed.
        class_counts: training samples per class.
        target_b: class indices of the second image.
        lam: factor of the first image, in [0, 1].
        beta: in [0, 1); 0 is no weighting, close to 1 is the inverse frequency.
        label_rule: ``"mixup"`` keeps ``lam``; ``"mam"`` moves it by the class sizes; see ``ops.mixed_margin_loss``.
        omega: strength of ``"mam"``.
        normalization: what the mean divides by, see above.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        empty: ``"ignore"`` gives a class without samples the weight 0.

    Shape:
        logits (N, C) float32, float64, bfloat16 or float16; target and target_b (N,) int64 in [0, C); lam a number or
        (N,); class_counts (C,); returns a scalar, or (N,) for ``reduction="none"``. O(N * C), one pass.

    Raises:
        TypeError: if labels are not whole numbers, or an option is of a wrong type.
        ValueError: if a class is empty, ``beta`` outside [0, 1), a shape does not fit, a label is out of range, or an
            option is unknown.

    Source: Cui et al. 2019, arXiv:1901.05555; code richardaecn/class-balanced-loss. Only the softmax form: the paper's
    sigmoid and focal forms are other losses.
    """
    criterion = ClassBalancedLoss(
        class_counts,
        beta=beta,
        label_rule=label_rule,
        omega=omega,
        normalization=normalization,
        reduction=reduction,
        empty=empty,
    )
    loss: Tensor = criterion(logits, target, target_b, lam)
    return loss


class ClassBalancedLoss(OneCallLoss):
    """``class_balanced_loss`` with its vectors of length C made once.

    Formula: ``-weight[target] * log softmax(logits)[target]``, ``weight = effective_number_weights(counts, beta)``; for
    two labels a sample their mixture.

    Shape:
        ``forward(logits (N, C), target_a (N,), target_b (N,) or None, lam (N,) or number or None)``; returns a scalar,
        or (N,) for ``reduction="none"``. Arguments and Raises: see ``class_balanced_loss``.

    Source: Cui et al. 2019, arXiv:1901.05555; code richardaecn/class-balanced-loss.
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        beta: float = 0.9999,
        label_rule: str = "mixup",
        omega: float = 0.25,
        normalization: str = "expected",
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
    ) -> None:
        super().__init__()
        counts = ClassCounts(counts).require_no_empty(empty)
        weight = effective_number_weights(counts, beta, empty=empty)
        self.vectors = ClassVectors(counts, weight=weight)
        self.fix_options(
            label_rule=label_rule,
            omega=omega,
            normalization=normalization,
            reduction=reduction,
        )
