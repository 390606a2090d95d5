"""Balanced softmax: the training prior is added to the logits during training, so that the logits are free of it."""

from typing import Unpack

import numpy as np

from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.base import Loss, SharedOptions, Vector
from lt_fast.registry import register


def log_prior(class_counts: CountsLike, *, empty: EmptyPolicy = "error") -> Vector:
    """Logarithm of each class's fraction of the training samples, (C,) float64.

    An empty class is a ``ValueError``; ``empty="ignore"`` gives it the value of the rarest other class.

    >>> np.exp(log_prior([70, 20, 10])).round(2).tolist()
    [0.7, 0.2, 0.1]
    """
    counts = ClassCounts(class_counts).require_no_empty(empty)
    smallest = counts.counts[counts.counts > 0].min()
    return np.asarray(np.log(np.maximum(counts.counts, smallest) / counts.total))


@register("loss", "balanced_softmax")
class BalancedSoftmaxLoss(Loss):
    """Cross entropy of the logits plus the log of the training prior; at test time the logits are used alone.

    Formula: ``-log softmax(logits + log(prior))[target]``. Equals
    ``F.cross_entropy(logits + log(class_counts), target, weight)`` up to ``normalization``.

    Args:
        shared: options of every loss, see ``Loss`` for them, Shape and Raises.

    Source: Ren et al. 2020, arXiv:2007.10740; code jiawei-ren/BalancedMetaSoftmax-Classification. Differs from that
    code: the log of the fraction instead of the log of the count, which gives the same softmax.

    >>> import torch
    >>> from torch.nn.functional import cross_entropy
    >>> criterion = BalancedSoftmaxLoss([70, 20, 10])
    >>> logits, target = torch.tensor([[2.0, 0.0, 1.0], [0.5, 0.0, 1.5]]), torch.tensor([0, 2])
    >>> plain = cross_entropy(logits + torch.tensor([70.0, 20.0, 10.0]).log(), target)
    >>> round(criterion(logits, target).item(), 4), round(plain.item(), 4)
    (0.7395, 0.7395)
    """

    def __init__(self, counts: CountsLike, **shared: Unpack[SharedOptions]) -> None:
        super().__init__(counts, bias=log_prior(counts, empty="ignore"), **shared)
