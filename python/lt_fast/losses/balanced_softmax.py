"""Balanced softmax: the training prior is added to the logits during training, so that the logits are free of it."""

from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.base import MarginLoss, SharedOptions


def log_prior(class_counts: CountsLike, *, empty: EmptyPolicy = "error") -> NDArray[np.float64]:
    """Logarithm of each class's fraction of the training samples, (C,) float64.

    Args:
        class_counts: training samples per class.
        empty: ``"ignore"`` gives a class without samples the value of the rarest other class.

    Raises:
        ValueError: if a class is empty.
    """
    counts = ClassCounts(class_counts).require_no_empty(empty)
    smallest = counts.counts[counts.counts > 0].min()
    logarithm: NDArray[np.float64] = np.log(np.maximum(counts.counts, smallest) / counts.total)
    return logarithm


class BalancedSoftmaxLoss(MarginLoss):
    """Cross entropy of the logits plus the log of the training prior; at test time the logits are used alone.

    Formula: ``-log softmax(logits + log(prior))[target]``. Equals
    ``F.cross_entropy(logits + log(class_counts), target, weight)`` up to ``normalization``.

    Args:
        counts: training samples per class.
        shared: options of every loss, see ``Loss``, also for Shape and Raises.

    Source: Ren et al. 2020, arXiv:2007.10740; code jiawei-ren/BalancedMetaSoftmax-Classification. Differs from that
    code: the log of the fraction instead of the log of the count, which gives the same softmax.
    """

    def __init__(self, counts: CountsLike, **shared: Unpack[SharedOptions]) -> None:
        super().__init__(counts, bias=log_prior(counts, empty="ignore"), **shared)
