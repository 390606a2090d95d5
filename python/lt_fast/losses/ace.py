"""ACE: experts of nested subsets of the classes, the whole of them first, the rarest alone last."""

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from lt_fast import _checks
from lt_fast._checks import number
from lt_fast._tensors import class_vector
from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.losses.base import Loss, SharedOptions, Vector
from lt_fast.losses.experts import ExpertLosses
from lt_fast.registry import register

_MASKED = -1e4  # added to a score, it leaves a probability of exactly 0


def nested_classes(class_counts: CountsLike, experts: int = 3) -> NDArray[np.bool_]:
    """Return which classes each expert knows, (E, C): expert e the rarest ``C - e * C // E`` of them, e from 0.

    So the first knows all and the last the rarest E-th. Of classes of one size the later one counts as rarer.

    Args:
        class_counts: training samples per class.
        experts: E, in [1, C].

    Raises:
        TypeError, ValueError: if ``experts`` is out of range.

    >>> nested_classes([500, 120, 40, 9, 2, 1], 3).astype(int).tolist()
    [[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]]
    """
    counts = ClassCounts(class_counts).counts
    experts = _checks.integer("experts", experts, least=1, most=len(counts), hint=", the number of classes")
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.stack([rank >= e * len(counts) // experts for e in range(experts)])


@register("loss", "ace")
class ACELoss(ExpertLosses):
    """Cross entropy of each expert over the classes that it knows, on the images of these classes.

    Formula, with K_e the classes of expert e (``nested_classes``), z_e its cosines and s the scale::

        sum_e mean over images of K_e of -log(exp(s * z_e[target]) / sum over c in K_e of exp(s * z_e[c]))

    The mean has the divisor of ``normalization``: with ``"expected"`` the expected number of images of K_e in a batch,
    so that a batch without one is no division by zero, and the loss is the same on 1 and on 16 ranks.

    Args:
        experts: E, in [1, C]; the network must have as many.
        scale: multiplies the logits, > 0; 1 for linear heads.
        shared: options of every loss, see ``Loss`` for them and Raises.

    Shape:
        ``forward(logits (N, E, C), ...)``; otherwise as ``Loss``.

    Source: after Cai et al. 2021 (ACE), arXiv:2108.02385, of which the abstract alone was available, and no code:
    experts of subsets, not disturbed by what they never see. That the subsets are nested parts by rank, the divisor and
    cosine heads in place of a re-scaling by the norms of the weights are ours.

    >>> import torch
    >>> criterion = ACELoss([500, 120, 40, 9, 2, 1], experts=3)
    >>> cosines = torch.zeros(4, 3, 6, requires_grad=True)  # of 4 images by 3 experts in 6 classes
    >>> criterion(cosines, torch.tensor([0, 0, 2, 5])).backward()
    >>> (cosines.grad.abs().sum(2) > 0).int().tolist()  # which image trains which expert
    [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """

    def __init__(
        self, counts: CountsLike, *, experts: int = 3, scale: float = 30.0, **shared: Unpack[SharedOptions]
    ) -> None:
        known = nested_classes(counts, experts)
        given = ClassCounts(counts).require_no_empty(shared.get("empty", "error"))
        losses = [_of_known(given, own, number("scale", scale, above=0), dict(shared)) for own in known]
        super().__init__(counts, losses, scale=scale, **shared)


def _of_known(counts: ClassCounts, known: NDArray[np.bool_], scale: float, shared: dict[str, Any]) -> Loss:
    """Return the loss of one expert: classes that it does not know have weight 0 and are left out of its softmax."""
    weight = shared.pop("weight", None)
    of_user: Vector = np.ones(len(counts)) if weight is None else class_vector("weight", weight, len(counts)).numpy()
    own = known * of_user
    if not own.any():
        raise ValueError(f"weight must be > 0 for a class of every expert, got zeros for {known.sum()} classes of one")
    return Loss(counts, bias=np.where(known, 0.0, _MASKED), weight=own, scale=scale, **shared)
