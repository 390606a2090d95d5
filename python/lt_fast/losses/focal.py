"""Focal loss in its softmax form: samples with a high probability of their class have less weight."""

from typing import Unpack

from lt_fast._checks import number
from lt_fast.counts import CountsLike
from lt_fast.losses.base import Loss, SharedOptions
from lt_fast.registry import register


@register("loss", "focal")
class FocalLoss(Loss):
    """Focal loss: cross entropy times ``(1 - p)**gamma`` with p the probability of the own class.

    Formula: ``-(1 - p)**gamma * log(p)``, ``p = softmax(logits)[target]``. Equals
    ``weight[y] * (1 - p)**gamma * -log(p)`` averaged, up to ``normalization``.

    Args:
        gamma: focusing, finite, >= 0; 0 is cross entropy.
        shared: options of every loss, see ``Loss`` for them, Shape and Raises. With the ``weight`` of
            ``effective_number_weights(counts)`` it is class-balanced focal loss.

    Source: Lin et al. 2017, arXiv:1708.02002, equation 4, whose best gamma is 2; the softmax form is that of
    kaidic/LDAM-DRW, losses.py, with gamma 1 there. Differs from that code with weights: there p is
    ``exp(-weight * CE)``, which is not a probability. The paper and zhangyongshun/BagofTricks-LT have the sigmoid form,
    which is another loss.

    >>> import torch
    >>> logits, target = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 0])  # one easy row, one undecided row
    >>> for gamma in (0, 2):
    ...     print(FocalLoss([500, 5], gamma=gamma, reduction="none")(logits, target))
    tensor([0.1269, 0.6931])
    tensor([0.0018, 0.1733])
    """

    def __init__(self, counts: CountsLike, *, gamma: float = 2.0, **shared: Unpack[SharedOptions]) -> None:
        gamma = number("gamma", gamma, least=0, hint="; 0 is cross entropy")
        super().__init__(counts, focal_gamma=gamma, **shared)
