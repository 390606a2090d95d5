"""Seesaw loss: a sample pushes rarer classes down less, and classes that it is predicted as more."""

import math
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from lt_fast._checks import number
from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.losses.base import RowLoss, SharedOptions, row_cross_entropy
from lt_fast.registry import register


@register("loss", "seesaw")
class SeesawLoss(RowLoss):
    """Seesaw loss: cross entropy in which every other class is scaled for each sample.

    Formula: ``-log softmax(logits + log(M * C))[target]``. Equals
    ``F.cross_entropy(logits + log(M * C), target, weight)`` up to ``normalization``. For a sample
    of class y, and k another class, with n the class counts and s the softmax of the logits, as constants for the
    gradient::

        M_k = (n_k / n_y)**p  where n_k < n_y, else 1              mitigation: spare the rarer class
        C_k = (s_k / max(s_y, eps))**q  where that is > 1, else 1  compensation: punish the mistake

    Args:
        p: exponent of the mitigation, finite, >= 0; 0 turns it off.
        q: exponent of the compensation, finite, >= 0; 0 turns it off.
        eps: floor of s_y, in (0, 1].
        shared: options of every loss, see ``Loss`` for them, Shape and Raises. An ignored empty class counts as 1.

    Source: Wang et al. 2021, arXiv:2008.10032; code open-mmlab/mmpretrain, seesaw_loss.py. Differs from both: n is the
    training set's, where they count the labels seen so far; so the loss has no state, is the same on every rank, and
    starts with the ratios that the counting converges to.

    >>> import torch
    >>> criterion = SeesawLoss([500, 50, 5], reduction="none")
    >>> criterion(torch.zeros(2, 3), torch.tensor([0, 2]))  # an image of the frequent class spares the rare classes
    tensor([0.1686, 1.0986])
    """

    def __init__(
        self, counts: CountsLike, *, p: float = 0.8, q: float = 2.0, eps: float = 1e-2, **shared: Unpack[SharedOptions]
    ) -> None:
        log_counts = np.log(np.maximum(ClassCounts(counts).counts, 1))
        super().__init__(counts, vectors={"log_counts": log_counts}, **shared)
        self.p, self.q = (number(*it, least=0, hint="; 0 turns it off") for it in (("p", p), ("q", q)))
        self.log_eps = math.log(number("eps", eps, above=0, most=1, hint="; it is a floor of probabilities"))

    def row_loss(self, scores: Tensor, label: Tensor, log_counts: Tensor) -> Tensor:  # type: ignore[override]
        """Return the cross entropy with ``log(M * C)``, (N, C), added: 0 in the label's own column."""
        rarer = (log_counts - log_counts[label][:, None]).clamp_max(0)
        log_s = torch.log_softmax(scores.detach(), dim=1)
        own = log_s.gather(1, label[:, None])
        mistaken = (log_s - own.clamp_min(self.log_eps)).clamp_min(0)
        return row_cross_entropy(scores + (self.p * rarer + self.q * mistaken), label)
