"""Focal losses with one sigmoid per class: focal loss as published, and its asymmetric form."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.counts import CountsLike, EmptyPolicy
from lt_fast.losses.multi_label import MultiLabelLoss


class MultiLabelFocalLoss(MultiLabelLoss):
    """Sigmoid focal loss: binary cross entropy with less weight for entries that are already right.

    Formula, with ``p = sigmoid(logits)``: ``-alpha * y * (1 - p)**gamma * log p - (1 - alpha) * (1 - y) * p**gamma *
    log(1 - p)``; without ``alpha`` both factors are 1. Equals ``torchvision.ops.sigmoid_focal_loss``.

    Args:
        counts: samples that have each class.
        gamma: focusing, finite, >= 0; 0 is binary cross entropy.
        alpha: weight of positives in [0, 1], and ``1 - alpha`` that of negatives. Lin et al. use 0.25 for detection.
        weight: one number per class. With ``effective_number_weights(counts)`` it is class-balanced focal loss.
        reduction: see ``MultiLabelLoss``, also for Shape and Raises.
        empty: see there.

    Source: Lin et al. 2017, arXiv:1708.02002, equations 4 and 5; Cui et al. 2019, arXiv:1901.05555, section 4, for
        class-balanced focal loss.

    >>> loss = MultiLabelFocalLoss([8, 2], gamma=2.0)
    >>> round(loss(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]])).item(), 4)  # log(2) / 4
    0.1733
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        gamma: float = 2.0,
        alpha: float | None = None,
        weight: Any = None,
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
    ) -> None:
        super().__init__(counts, weight=weight, reduction=reduction, empty=empty)
        self.gamma = _checks.number("gamma", gamma, least=0, hint="; 0 is binary cross entropy")
        self.alpha = None if alpha is None else _checks.number("alpha", alpha, least=0, most=1)

    def entries(self, logits: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        """Return the focal loss of each row and class."""
        positive, negative = (1.0, 1.0) if self.alpha is None else (self.alpha, 1 - self.alpha)
        right, wrong = focal_entry(logits, self.gamma), focal_entry(-logits, self.gamma)
        return positive * target * right + negative * (1 - target) * wrong


class AsymmetricLoss(MultiLabelLoss):
    """Asymmetric loss (ASL): negatives are focused more than positives, and easy ones are left out.

    Formula, with ``p = sigmoid(logits)`` and ``q = max(p - clip, 0)``: ``-y * (1 - p)**gamma_positive * log p - (1 - y)
    * q**gamma_negative * log(1 - q)``. Negatives with a probability below ``clip`` have no loss.

    Args:
        counts: samples that have each class.
        gamma_negative: focusing of negatives, finite, >= 0; with a clip 0 or >= 1.
        gamma_positive: focusing of positives, finite, >= 0.
        clip: probability below which a negative is left out, in [0, 1).
        weight: one number per class.
        reduction: see ``MultiLabelLoss``, also for Shape and Raises. The official code has ``"sum"``.
        empty: see there.

    Source: Ridnik et al. 2021, arXiv:2009.14119; code Alibaba-MIIL/ASL, src/loss_functions/losses.py, whose
        defaults are those here. The paper uses ``gamma_positive=0`` on MS-COCO. Differs from that code: logarithms are
        those of logits, so that none is cut off at 1e-8.

    >>> loss = AsymmetricLoss([8, 2], gamma_negative=4, gamma_positive=0, clip=0.5, reduction="none")
    >>> [round(entry, 4) for entry in loss(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))[0].tolist()]
    [0.0, 0.6931]
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        gamma_negative: float = 4.0,
        gamma_positive: float = 1.0,
        clip: float = 0.05,
        weight: Any = None,
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
    ) -> None:
        super().__init__(counts, weight=weight, reduction=reduction, empty=empty)
        self.gamma_negative = _checks.number("gamma_negative", gamma_negative, least=0)
        self.gamma_positive = _checks.number("gamma_positive", gamma_positive, least=0)
        self.clip = _checks.number("clip", clip, least=0, below=1)
        if self.clip and 0 < self.gamma_negative < 1:
            # The derivative of q**gamma is infinite at q = 0, where the clipped negatives are.
            raise ValueError(f"gamma_negative must be 0 or >= 1 with a clip, got {self.gamma_negative}")

    def entries(self, logits: Tensor, target: Tensor) -> Tensor:  # type: ignore[override]
        """Return the asymmetric loss of each row and class."""
        positive = focal_entry(logits, self.gamma_positive)
        return target * positive + (1 - target) * self._negative(logits)

    def _negative(self, logits: Tensor) -> Tensor:
        if not self.clip:
            return focal_entry(-logits, self.gamma_negative)
        clipped = (torch.sigmoid(logits) - self.clip).clamp(min=0)
        # 1 - q: above p = 1/2 from 1 - p, which keeps its digits where p rounds to 1; elsewhere from q.
        of_sure = (torch.sigmoid(-logits) + self.clip).clamp(max=1).log()
        rest = torch.where(logits > 0, of_sure, torch.log1p(-clipped.clamp(max=0.5)))
        return -(clipped**self.gamma_negative) * rest


def focal_entry(logits: Tensor, gamma: float) -> Tensor:
    """Return ``-(1 - p)**gamma * log p`` with ``p = sigmoid(logits)``, finite for all finite logits.

    ``(1 - p)**gamma`` is ``exp(gamma * logsigmoid(-logits))``: a power would have an infinite derivative where it
    underflows.
    """
    loss = -F.logsigmoid(logits)
    return loss * torch.exp(gamma * F.logsigmoid(-logits)) if gamma else loss
