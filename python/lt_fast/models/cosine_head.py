"""``CosineHead``: class scores as cosines between a feature and each class's direction."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CosineHead(nn.Module):
    """Linear head without bias whose rows and inputs are scaled to unit length.

    Equals ``F.normalize(x, dim=1) @ F.normalize(weight, dim=1).T``. The scale that turns cosines into logits (30 in
    LDAM) belongs to the loss, so it is not in here; it changes no prediction.

    Args:
        in_features: D.
        num_classes: C.

    Attributes:
        weight: ``(C, D)``; only the directions of its rows matter.

    Shape:
        x ``(N, D)`` float; returns ``(N, C)`` in [-1, 1]. A feature of all zeros has the cosine 0 with every class.

    Source: Cao et al. 2019, arXiv:1906.07413; code kaidic/LDAM-DRW, models/resnet_cifar.py, NormedLinear.
    Differs from that code: the weight is kept ``(C, D)`` as in ``nn.Linear`` rather than ``(D, C)``.
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, in_features))

    def forward(self, x: Tensor) -> Tensor:
        """Return the cosines of ``x`` with every class."""
        return F.linear(F.normalize(x, dim=1), F.normalize(self.weight, dim=1))

    def weight_norm(self) -> Tensor:
        """Return ``(C,)`` ones: the length of each row as the forward pass sees it."""
        return torch.ones_like(self.weight[:, 0])

    def fill(self, generator: torch.Generator) -> None:
        """Draw every row uniformly from the cube [-1, 1]^D and scale it to unit length, as the source does."""
        with torch.no_grad():
            self.weight.uniform_(-1.0, 1.0, generator=generator)
            self.weight.copy_(F.normalize(self.weight, dim=1))

    def extra_repr(self) -> str:
        """Return the sizes for ``print(model)``."""
        return f"in_features={self.weight.shape[1]}, num_classes={self.weight.shape[0]}"
