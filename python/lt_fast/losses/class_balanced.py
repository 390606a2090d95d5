"""Class-balanced loss: softmax cross entropy weighted by the inverse effective number of samples."""

from typing import ClassVar, Unpack

from lt_fast.counts import CountsLike
from lt_fast.losses.base import Loss, UnweightedOptions
from lt_fast.losses.class_weights import effective_number_weights
from lt_fast.registry import register


@register("loss", "class_balanced")
class ClassBalancedLoss(Loss):
    """Class-balanced softmax cross entropy: the weight of a class is the inverse of its number of *different* samples.

    Formula: ``-weight[target] * log softmax(logits)[target]``. Equals
    ``F.cross_entropy(logits, target, effective_number_weights(class_counts, beta))`` up to ``normalization``.

    The normalizations differ in step size and in noise. ``"batch"`` is Cui et al.'s: the weights sum to C, so on a
    natural batch the mean weight is well below 1, and the step shrinks with the imbalance. ``"weights"`` is LDAM-DRW's
    re-weighting: it divides by the weights of the batch, so one rare sample lowers the weight of all others in its
    batch. ``"expected"``, the default, has the step size of the second and the fixed divisor of the first.

    Args:
        beta: in [0, 1); 0 is no weighting, close to 1 is the inverse frequency.
        shared: options of every loss but ``weight``, see ``Loss`` for them, Shape and Raises.

    Source: Cui et al. 2019, arXiv:1901.05555; code richardaecn/class-balanced-loss. Only the softmax form: the paper's
    sigmoid and focal forms are other losses.

    >>> import torch
    >>> criterion = ClassBalancedLoss([5000, 500, 50], beta=0.999, reduction="none")
    >>> criterion(torch.zeros(3, 3), torch.tensor([0, 1, 2]))  # log(3) times the weight of each class
    tensor([0.1380, 0.3483, 2.8095])
    """

    shared_options: ClassVar[type] = UnweightedOptions

    def __init__(self, counts: CountsLike, *, beta: float = 0.9999, **shared: Unpack[UnweightedOptions]) -> None:
        super().__init__(counts, weight=effective_number_weights(counts, beta, empty="ignore"), **shared)
