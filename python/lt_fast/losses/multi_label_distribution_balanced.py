"""Distribution-balanced loss: weights that allow for labels that occur together, and tolerance for negatives."""

import numpy as np
import torch
from torch import Tensor

from lt_fast import _checks
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.base import Vector
from lt_fast.losses.multi_label import MultiLabelLoss, checked_num_samples
from lt_fast.losses.multi_label_focal import focal_entry


class DistributionBalancedLoss(MultiLabelLoss):
    """Distribution-balanced (DB) focal loss, for batches of a class-balanced sampler.

    A class-balanced sampler also repeats the common labels that occur together with rare ones. The loss allows for
    that, and keeps the many negatives from pushing down the logits of rare classes. With n_c the counts, N the number
    of samples, and y the targets::

        P_ic = (1 / n_c) / sum_j (y_ij / n_j)                     share of class c in how often row i is drawn
        r_ic = alpha + sigmoid(beta * (P_ic - mu))                re-balanced weight
        z_ic = logits_ic - kappa * log(N / n_c - 1)               bias by the class frequency
        loss = balance * r * ( y * focal(z) + (1 - y) * focal(-negative_scale * z) / negative_scale )

    with ``focal(z) = -(1 - p)**gamma * log p``, ``p = sigmoid(z)``. In a row without labels P is infinite, and r is
    ``alpha + 1``.

    Args:
        counts: samples n_c that have each class.
        num_samples: N, more than any class has.
        alpha: smallest weight, finite, >= 0.
        beta: slope of the weight, finite, >= 0.
        mu: share at which the slope is largest, finite. Wu et al. use 0.2 on COCO-MLT and 0.3 on VOC-MLT.
        negative_scale: lambda of the paper, finite, > 0: 2 on COCO-MLT, 5 on VOC-MLT.
        kappa: strength of the bias, finite, >= 0. The published numbers are with ``0.05 / negative_scale``.
        gamma: focusing, finite, >= 0; 0 is the loss without focal weights, which the authors use with ``balance=1``.
        balance: factor of the loss, finite, > 0.
        reduction: see ``MultiLabelLoss``, also for Shape and Raises.
        empty: see there. An ignored class has no bias, and its weight is ``alpha + sigmoid(-beta * mu)``.

    Raises:
        ValueError: if a class has all samples.

    Source: Wu et al. 2020, arXiv:2007.09654; code wutong16/DistributionBalancedLoss,
        mllt/models/losses/resample_loss.py and configs/coco/LT_resnet50_pfc_DB.py, whose settings are the defaults.
        Differs from that code: kappa is that of the paper's equation, where the code divides it by ``negative_scale``,
        which its authors call a mistake (issue 8 there); the logits are not changed in place.

    With the sampler, which draws a class and then one of its samples:

    >>> import lt_fast as lt
    >>> indptr, indices = [0, 1, 2, 4, 5], [0, 0, 0, 1, 0]  # the labels of four samples; class 1 is rare
    >>> sampler = lt.sampling.MultilabelBalancedSampler(indptr, indices, strategy="cycle", num_samples=8)
    >>> rows = list(sampler)
    >>> rows.count(2) >= 4
    True
    >>> loss = DistributionBalancedLoss(sampler.class_counts, num_samples=5)
    >>> loss(torch.zeros(8, 2), lt.losses.multi_hot(indptr, indices, rows, num_classes=2)).shape
    torch.Size([])
    """

    def __init__(
        self,
        counts: CountsLike,
        num_samples: int,
        *,
        alpha: float = 0.1,
        beta: float = 10.0,
        mu: float = 0.2,
        negative_scale: float = 2.0,
        kappa: float = 0.025,
        gamma: float = 2.0,
        balance: float = 2.0,
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
    ) -> None:
        counts = ClassCounts(counts).require_no_empty(empty)
        strength = _checks.number("kappa", kappa, least=0)
        vectors = {"inverse_count": _inverse(counts), "bias": strength * _log_odds(counts, num_samples)}
        super().__init__(counts, reduction=reduction, empty=empty, vectors=vectors)
        self.alpha, self.beta = (_checks.number(*it, least=0) for it in (("alpha", alpha), ("beta", beta)))
        self.mu = _checks.number("mu", mu)
        self.negative_scale = _checks.number("negative_scale", negative_scale, above=0)
        self.gamma, self.balance = _checks.number("gamma", gamma, least=0), _checks.number("balance", balance, above=0)

    def entries(self, logits: Tensor, target: Tensor, inverse_count: Tensor, bias: Tensor) -> Tensor:  # type: ignore[override]
        """Return the loss of each row and class."""
        scores = logits - bias
        positive = focal_entry(scores, self.gamma)
        negative = focal_entry(-self.negative_scale * scores, self.gamma) / self.negative_scale
        weight = self.balance * self.rebalanced_weights(target, inverse_count)
        return weight * (target * positive + (1 - target) * negative)

    def rebalanced_weights(self, target: Tensor, inverse_count: Tensor) -> Tensor:
        """Return ``alpha + sigmoid(beta * (P - mu))``, (N, C)."""
        drawn = (target * inverse_count).sum(1, keepdim=True)
        share = torch.where(drawn > 0, inverse_count / drawn, torch.inf)
        # Not sigmoid of an infinite product: beta = 0 would make it NaN.
        return self.alpha + torch.sigmoid(self.beta * (share - self.mu).clamp(max=torch.finfo(share.dtype).max))


def _inverse(counts: ClassCounts) -> Vector:
    return np.divide(1.0, counts.counts, out=np.zeros(len(counts)), where=counts.counts > 0)


def _log_odds(counts: ClassCounts, num_samples: int) -> Vector:
    """Return ``log(N / n - 1)``, 0 for classes without samples."""
    total = checked_num_samples(num_samples, counts)
    full = np.flatnonzero(counts.counts == total)
    if full.size:
        raise ValueError(
            f"num_samples must be > {total}, the samples of class {full[0]}, got {total}; leave out a class that every "
            "sample has: it has no negatives"
        )
    found = counts.counts > 0
    odds = np.divide(total, counts.counts, out=np.full(len(counts), 2.0), where=found) - 1
    return np.asarray(np.log(odds))
