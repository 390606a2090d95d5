"""Logit-adjusted loss: a multiple of the log training prior is added to the logits during training."""

from typing import Unpack

from lt_fast._checks import number
from lt_fast.counts import CountsLike
from lt_fast.losses.balanced_softmax import log_prior
from lt_fast.losses.base import Loss, SharedOptions
from lt_fast.registry import register


@register("loss", "logit_adjusted")
class LogitAdjustedLoss(Loss):
    """Cross entropy of the logits plus ``tau`` times the log of the training prior; at test time the logits alone.

    Formula: ``-log softmax(logits + tau * log(prior))[target]``. Equals
    ``F.cross_entropy(logits + tau * log_prior(class_counts), target, weight)`` up to ``normalization``. ``tau=1`` is
    balanced softmax, whose minimiser has the lowest balanced error; ``tau=0`` is cross entropy.

    Args:
        tau: strength, finite, >= 0.
        shared: options of every loss, see ``Loss`` for them, Shape and Raises. The ``tau`` of label rules stays 0.5.

    Source: Menon et al. 2021, arXiv:2007.07314, equation 10; code google-research/google-research, logit_adjustment.
    Differs from that code: ``tau * log(prior)`` where it has ``log(prior**tau + 1e-12)``, equal except for the guard.

    >>> import torch
    >>> logits, target = torch.zeros(1, 3), torch.tensor([2])  # no class is preferred by the network
    >>> for tau in (0, 1, 2):
    ...     print(round(LogitAdjustedLoss([70, 20, 10], tau=tau)(logits, target).item(), 4))
    1.0986
    2.3026
    3.989
    """

    def __init__(self, counts: CountsLike, *, tau: float = 1.0, **shared: Unpack[SharedOptions]) -> None:  # type: ignore[misc]
        tau = number("tau", tau, least=0, hint="; 1 is balanced softmax, 0 cross entropy")
        super().__init__(counts, bias=tau * log_prior(counts, empty="ignore"), **shared)
