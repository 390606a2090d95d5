"""Bayias-compensated loss: the difference of the log priors of training and test is added to the logits in training."""

from typing import Any, Unpack

import numpy as np

from lt_fast._tensors import class_vector
from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.losses.balanced_softmax import log_prior
from lt_fast.losses.base import Loss, SharedOptions, Vector
from lt_fast.registry import register


@register("loss", "bayias")
class BayiasLoss(Loss):
    """Cross entropy of the logits plus the log of training prior over test prior; at test time the logits alone.

    Formula: ``-log softmax(logits + log(prior) - log(test_prior))[target]``. Equals
    ``F.cross_entropy(logits + log_prior(class_counts) - log(test_prior), target, weight)`` up to ``normalization``. For
    equally frequent test classes, the default, the loss is ``BalancedSoftmaxLoss``: a constant leaves softmax as it is.
    The logits then hold under the test prior::

        criterion = lt.losses.BayiasLoss(counts, test_prior=[0.5, 0.3, 0.2])
        loss = criterion(model(x), y)

    Args:
        test_prior: (C,) class frequencies at test time of any scale, each > 0; None for equal ones.
        shared: options of every loss, see ``Loss`` for them, Shape and Raises.

    Source: Xu, Chai, Yuan 2021, arXiv:2111.03874, Section 3.2; code XuZhengzhuo/Prior-LT, core.py
    Bayias_compensated_loss, whose ``inf_lable_distrbution`` is ``test_prior``.

    >>> import torch
    >>> logits, target = torch.tensor([[2.0, 0.0, 1.0], [0.5, 0.0, 1.5]]), torch.tensor([0, 2])
    >>> round(BayiasLoss([70, 20, 10])(logits, target).item(), 4)  # for equally frequent test classes
    0.7395
    >>> criterion = BayiasLoss([70, 20, 10], test_prior=[0.7, 0.2, 0.1])  # that of training: plain cross entropy
    >>> round(criterion(logits, target).item(), 4)
    0.436
    """

    def __init__(self, counts: CountsLike, *, test_prior: Any = None, **shared: Unpack[SharedOptions]) -> None:
        bias = log_prior(counts, empty="ignore")
        if test_prior is not None:
            bias = bias - _log_of(test_prior, len(ClassCounts(counts)))
        super().__init__(counts, bias=bias, **shared)


def _log_of(test_prior: Any, num_classes: int) -> Vector:
    prior = class_vector("test_prior", test_prior, num_classes).numpy()
    wrong = np.flatnonzero(~(np.isfinite(prior) & (prior > 0)))
    if wrong.size:
        raise ValueError(
            f"test_prior must be finite and > 0 in every class, got {prior[wrong[0]]:g} for class {wrong[0]}; give a "
            "class that will not occur a small frequency"
        )
    return np.asarray(np.log(prior / prior.sum()))
