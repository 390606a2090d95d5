"""Margins for the positive labels of rare classes, with one sigmoid per class."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.ldam import ldam_margins
from lt_fast.losses.multi_label import MultiLabelLoss


class MultiLabelLDAMLoss(MultiLabelLoss):
    """LDAM with one sigmoid per class: a positive logit must exceed 0 by a margin, larger for rarer classes.

    Formula: binary cross entropy of ``scale * (logits - y * margin)`` with ``margin_c`` proportional to
    ``n_c ** -0.25``, and the largest margin ``max_margin``. Equals
    ``F.binary_cross_entropy_with_logits(scale * (logits - target * margin), target)``.

    Args:
        counts: samples that have each class.
        max_margin: margin of the rarest class, finite, >= 0.
        scale: finite, > 0. 1 is for the logits of a linear layer; for cosines, use the scale of the softmax loss, 30.
        weight: one number per class; with ``effective_number_weights(counts)`` late in training it is DRW.
        reduction: see ``MultiLabelLoss``, also for Shape and Raises.
        empty: see there.

    Source: Cao et al. 2019, arXiv:1906.07413, equation 13, for the margins. The paper has softmax; the sigmoid form is
    ours, with the margin of each of a sample's labels and none for the other classes.

    >>> import torch
    >>> loss = MultiLabelLDAMLoss([16, 1], max_margin=1.0)
    >>> torch.equal(loss(torch.tensor([[0.5, 1.0]]), torch.ones(1, 2)), F.softplus(torch.zeros(())))
    True
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        max_margin: float = 0.5,
        scale: float = 1.0,
        weight: Any = None,
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
    ) -> None:
        counts = ClassCounts(counts).require_no_empty(empty)
        margin = ldam_margins(counts, max_margin=max_margin, empty=empty)
        super().__init__(counts, weight=weight, reduction=reduction, empty=empty, vectors={"margin": margin})
        self.scale = _checks.number("scale", scale, above=0)

    def entries(self, logits: Tensor, target: Tensor, margin: Tensor) -> Tensor:  # type: ignore[override]
        """Return the loss of each row and class."""
        scores = self.scale * (logits - target * margin)
        return F.binary_cross_entropy_with_logits(scores, target, reduction="none")
