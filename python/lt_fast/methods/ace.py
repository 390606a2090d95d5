"""``AllyComplementaryExperts``: experts of nested subsets of the classes, each at its own learning rate (ACE)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.losses.ace import nested_classes
from lt_fast.methods.classification import Classification
from lt_fast.registry import register


@register("method", "ace")
class AllyComplementaryExperts(Classification):
    """Train as ``Classification`` does, with what the experts of ``ACELoss`` need of the network and the optimizer.

    The logit of a class is the mean over the experts that know it, and the layers of an expert and its head learn at
    ``(images of its classes) / (all images)`` times the learning rate, so that an expert of few images does not learn
    them by heart.

    Args:
        model: a ``lt_fast.models.MultiExpert``; the shares of its head are set.
        criterion: ``ACELoss`` with as many experts.
        counts: training samples per class: a ``ClassCounts``, or a sequence of counts.
        logit_scale: what predictions multiply the logits by.

    Raises:
        TypeError, ValueError: as ``Classification``, and if ``model`` has no experts.

    Source: after Cai et al. 2021 (ACE), arXiv:2108.02385, of which the abstract alone was available: "a
    distribution-adaptive optimizer to adjust the learning pace of each expert". That the pace is the share of the
    images, and the plain mean over the experts that know a class, are ours; see ``ACELoss``.

    >>> import lt_fast as lt
    >>> counts = [500, 120, 40, 9, 2, 1]
    >>> model = lt.models.digits_net(6, head="cosine", experts=3, seed=0)
    >>> method = AllyComplementaryExperts(model, lt.losses.ACELoss(counts, experts=3), counts, logit_scale=30.0)
    >>> [round(pace, 3) for pace in method.pace]  # of the experts of all, of four and of two classes
    [1.0, 0.077, 0.004]
    >>> model.head.share[:, [0, 2, 5]].round(decimals=2)  # of each expert in the logits of three classes
    tensor([[1.0000, 0.5000, 0.3300],
            [0.0000, 0.5000, 0.3300],
            [0.0000, 0.0000, 0.3300]])
    """

    def __init__(self, model: nn.Module, criterion: nn.Module, counts: CountsLike, *, logit_scale: float = 1.0) -> None:
        super().__init__(model, criterion, logit_scale=logit_scale)
        experts = getattr(model, "num_experts", 1)
        if experts == 1:
            raise ValueError(
                "model must have several experts for the method ace, got 1; --set model.experts=3 makes them"
            )
        counts = ClassCounts(counts)
        self.known = nested_classes(counts, experts)
        self.pace: list[float] = (np.where(self.known, counts.counts, 0).sum(1) / counts.total).tolist()
        model.head.set_share(torch.from_numpy(self.known).float())  # type: ignore[union-attr,operator]

    def learning_rates(self) -> Mapping[int, float]:
        """Return the pace of each expert for its layers and its head."""
        heads: Any = self.model.head.experts  # type: ignore[union-attr]
        layers: Any = getattr(self.model, "experts", heads)  # a frozen network's do not learn
        parts = zip(self.pace, layers, heads, strict=True)
        return {id(parameter): pace for pace, *own in parts for part in own for parameter in part.parameters()}
