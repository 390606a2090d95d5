"""Cross entropy with a margin that is inversely proportional to the class count."""

import torch
from torch import Tensor, nn

from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.ops import mixed_margin_loss
from lt_fast.registry import register


@register("loss", "inverse_margin")
class InverseMarginLoss(nn.Module):
    """Formula, arguments, shapes and source go here."""

    def __init__(self, counts: CountsLike, *, max_margin: float = 0.5) -> None:
        super().__init__()
        sizes = ClassCounts(counts).require_no_empty().counts
        self.register_buffer("margin", torch.from_numpy(max_margin * sizes.min() / sizes))

    def forward(
        self, logits: Tensor, target: Tensor, target_b: Tensor | None = None, lam: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss of logits (N, C) against one label per row, or two with mixing coefficients."""
        return mixed_margin_loss(logits, target, target_b=target_b, lam=lam, margin=self.margin)
