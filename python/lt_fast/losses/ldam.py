"""LDAM: a margin that is larger for rarer classes, inside a scaled softmax."""

from typing import Unpack

import numpy as np

from lt_fast._checks import number
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.base import Loss, SharedOptions, Vector
from lt_fast.registry import register


def ldam_margins(class_counts: CountsLike, *, max_margin: float = 0.5, empty: EmptyPolicy = "error") -> Vector:
    """Margin of each class, proportional to ``class_counts ** -0.25``, (C,) float64; the rarest has ``max_margin``.

    Args:
        class_counts: training samples per class.
        max_margin: finite, >= 0.
        empty: ``"ignore"`` gives a class without samples ``max_margin``.

    Raises:
        TypeError, ValueError: if ``max_margin`` is not a finite number >= 0, or a class is empty.

    Source: Cao et al. 2019, arXiv:1906.07413; code kaidic/LDAM-DRW, losses.py.

    >>> ldam_margins([810_000, 10_000, 625], max_margin=0.5).round(3).tolist()  # proportional to count ** -1/4
    [0.083, 0.25, 0.5]
    """
    counts = ClassCounts(class_counts).require_no_empty(empty).counts
    max_margin = number("max_margin", max_margin, least=0)
    smallest = counts[counts > 0].min()
    return np.asarray(max_margin * (smallest / np.maximum(counts, smallest)) ** 0.25)


@register("loss", "ldam")
class LDAMLoss(Loss):
    """Label-distribution-aware margin loss: rarer classes have wider margins.

    Formula: ``-log softmax(scale * (logits - one_hot(target) * margin))[target]``, ``margin`` of ``ldam_margins``.
    Equals ``F.cross_entropy(scale * (logits - one_hot(target) * margin), target, weight)`` up to ``normalization``.

    Args:
        max_margin: margin of the rarest class, finite, >= 0.
        scale: multiplies the logits, which are cosines, > 0.
        shared: options of every loss, see ``Loss`` for them, Shape and Raises. ``weight`` late in training: LDAM-DRW.

    Source: Cao et al. 2019, arXiv:1906.07413; code kaidic/LDAM-DRW, losses.py. Differs from that code: any device and
    dtype; ``normalization="expected"`` is the default where the code has ``"weights"``.

    >>> import torch
    >>> criterion = LDAMLoss([5000, 500, 50], max_margin=0.5, scale=30, reduction="none")
    >>> cosines = torch.tensor([[0.6, 0.4, 0.1], [0.1, 0.4, 0.6]])  # both own cosines lead by 0.2
    >>> criterion(cosines, torch.tensor([0, 2]))  # the margins are 0.16 and 0.5
    tensor([0.2505, 9.0002])
    """

    def __init__(
        self, counts: CountsLike, *, max_margin: float = 0.5, scale: float = 30.0, **shared: Unpack[SharedOptions]
    ) -> None:
        margin = ldam_margins(counts, max_margin=max_margin, empty="ignore")
        super().__init__(counts, margin=margin, scale=scale, **shared)
