"""SADE: three experts for three class distributions, and inverse softmax, the loss of the third."""

from typing import Unpack

import numpy as np

from lt_fast._checks import number
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.balanced_softmax import log_prior
from lt_fast.losses.base import Loss, SharedOptions, Vector
from lt_fast.losses.experts import ExpertLosses
from lt_fast.registry import register


def log_inverse_prior(class_counts: CountsLike, *, empty: EmptyPolicy = "error") -> Vector:
    """Logarithm of the training prior in reverse order, (C,) float64: the rarest class has the largest class's prior.

    Classes of one size keep their order. An empty class is a ``ValueError``; ``empty="ignore"`` gives it the value of
    the rarest other class.

    Source: Zhang et al. 2022 (SADE), arXiv:2107.09249; code Vanint/SADE-AgnosticLT, model/loss.py,
    ``DiverseExpertLoss.inverse_prior``.

    >>> np.exp(log_inverse_prior([70, 20, 10])).round(2).tolist()
    [0.1, 0.2, 0.7]
    """
    counts = ClassCounts(class_counts).require_no_empty(empty)
    prior, present = log_prior(counts, empty="ignore"), counts.counts > 0
    order = np.argsort(prior[present], kind="stable")
    found = np.empty(len(order))
    found[order] = prior[present][order[::-1]]
    inverse = np.full(len(counts), found.max())
    inverse[present] = found
    return inverse


def _inverse_bias(counts: CountsLike, strength: float) -> Vector:
    found = log_prior(counts, empty="ignore") - strength * log_inverse_prior(counts, empty="ignore")
    return np.asarray(found)


@register("loss", "inverse_softmax")
class InverseSoftmaxLoss(Loss):
    """Cross entropy for a test set in which the frequent classes are the rare ones.

    Formula: ``-log softmax(scale * logits + log(prior) - strength * log(inverse_prior))[target]``, see
    ``log_inverse_prior``. Equals ``F.cross_entropy(scale * logits + log_prior(counts) - strength *
    log_inverse_prior(counts), target, weight)`` up to ``normalization``. ``strength=0`` is balanced softmax.

    Args:
        strength: of the inverse prior, finite, >= 0; ``tau`` in the paper.
        scale: multiplies the logits, > 0; 30 for cosines.
        shared: options of every loss, see ``Loss`` for them, Shape and Raises.

    Source: Zhang et al. 2022 (SADE), arXiv:2107.09249, equation 3; code Vanint/SADE-AgnosticLT, model/loss.py, expert 3
    of ``DiverseExpertLoss``. Differs from that code: no 1e-9 is added to a prior; classes of one size in the order of
    their numbers, which the code leaves to ``torch.sort``.

    >>> import torch
    >>> criterion = InverseSoftmaxLoss([70, 20, 10], strength=2.0, reduction="none")
    >>> criterion(torch.zeros(3, 3), torch.tensor([0, 1, 2]))  # rarer classes need larger logits
    tensor([0.0717, 2.7108, 5.9094])
    """

    def __init__(
        self, counts: CountsLike, *, strength: float = 2.0, scale: float = 1.0, **shared: Unpack[SharedOptions]
    ) -> None:
        strength = number("strength", strength, least=0)
        super().__init__(counts, bias=_inverse_bias(counts, strength), scale=scale, **shared)


@register("loss", "sade")
class SADELoss(ExpertLosses):
    """Cross entropy, balanced softmax and inverse softmax for three experts, added up.

    Formula: with z_e the cosines of expert e and s the scale::

        CE(s * z_1) + CE(s * z_2 + log(prior)) + CE(s * z_3 + log(prior) - strength * log(inverse_prior))

    Args:
        strength: of the inverse prior, finite, >= 0; ``tau`` in the paper.
        scale: multiplies the logits, > 0; 1 for linear heads.
        shared: options of every loss, see ``Loss`` for them and Raises.

    Shape:
        ``forward(logits (N, 3, C), ...)``; otherwise as ``Loss``.

    Raises:
        ValueError: if the logits are not those of three experts.

    Example:
        >>> import torch
        >>> criterion = SADELoss([500, 50, 5])
        >>> cosines = torch.zeros(1, 3, 3)  # of 1 image by 3 experts in 3 classes
        >>> round(criterion(cosines, torch.tensor([2])).item(), 2)
        19.62
        >>> [round(loss(cosines[:, 0], torch.tensor([2])).item(), 2) for loss in criterion.losses]
        [1.1, 4.71, 13.82]

    Source: Zhang et al. 2022 (SADE), arXiv:2107.09249, equations 1 to 3; code Vanint/SADE-AgnosticLT, model/loss.py,
    ``DiverseExpertLoss``. Differs from that code as ``InverseSoftmaxLoss``; the scale is here and not in the network.
    """

    def __init__(
        self, counts: CountsLike, *, strength: float = 2.0, scale: float = 30.0, **shared: Unpack[SharedOptions]
    ) -> None:
        strength = number("strength", strength, least=0)
        biases = (None, log_prior(counts, empty="ignore"), _inverse_bias(counts, strength))
        losses = [Loss(counts, bias=bias, scale=scale, **shared) for bias in biases]
        super().__init__(counts, losses, scale=scale, **shared)
