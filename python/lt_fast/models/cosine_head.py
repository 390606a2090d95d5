"""``CosineHead``: class scores as cosines between the features and the weight of each class."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.models.seeds import seeded_generator

_NOT_OURS = {
    "bias": "a cosine has none; use lt_fast.losses.LogitAdjustedLoss or nn.Linear for a bias per class",
    "scale": "the scale belongs to the loss: lt_fast.losses.LDAMLoss(counts, scale=30)",
    "in_features": "its weight has that size; make another head, CosineHead(in_features, num_classes)",
    "num_classes": "its weight has that size; make another head, CosineHead(in_features, num_classes)",
}


class CosineHead(nn.Module):
    """Linear head without bias whose rows and inputs are scaled to unit length.

    Equals ``F.normalize(x, dim=-1) @ F.normalize(weight, dim=-1).T``. The scale that turns cosines into logits (30 in
    LDAM) belongs to the loss, so it is not in here; it changes no prediction.

    The constructor initialises the weight, so that the head works in any network: ``model.fc = CosineHead(512, 10)``.
    Every value depends on ``seed`` alone; the global generator is neither read nor advanced. Give two heads of one
    network different seeds. On the meta device nothing is sampled: call ``reset_parameters`` after ``to_empty``.

    Args:
        in_features: D.
        num_classes: C.
        seed: determines the initial weight, in [0, 2^64).
        device: of the weight, torch's default device if None.
        dtype: of the weight, torch's default dtype if None.

    Attributes:
        weight: ``(C, D)``; only the directions of its rows matter.

    Shape:
        x ``(..., D)`` float, usually ``(N, D)``; returns ``(..., C)`` in [-1, 1]. A feature of all zeros has the cosine
        0 with every class.

    Raises:
        TypeError: if a size or ``seed`` is not an integer.
        ValueError: if a size is below 1, or ``seed`` out of range.

    Source: Cao et al. 2019, arXiv:1906.07413; code kaidic/LDAM-DRW, models/resnet_cifar.py, NormedLinear.
    Differs from that code: the weight is ``(C, D)`` as in ``nn.Linear`` rather than ``(D, C)``.

    >>> head = CosineHead(in_features=4, num_classes=3, seed=0)
    >>> x = torch.ones(2, 4)
    >>> head(x).shape, torch.allclose(head(5 * x), head(x))  # the length of a feature does not count
    (torch.Size([2, 3]), True)
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        seed: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _checks.integer("in_features", in_features, least=1)
        _checks.num_classes(num_classes)
        seeded_generator(seed)
        self.seed = seed
        self.weight = nn.Parameter(torch.empty(num_classes, in_features, device=device, dtype=dtype))
        self.reset_parameters()

    @property
    def in_features(self) -> int:
        """D."""
        return self.weight.shape[1]

    @property
    def num_classes(self) -> int:
        """C."""
        return self.weight.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return the cosines of ``x`` with every class."""
        return F.linear(F.normalize(x, dim=-1), F.normalize(self.weight, dim=-1))

    def weight_norm(self) -> Tensor:
        """Return ``(C,)`` ones: the length of each row as the forward pass sees it."""
        return torch.ones_like(self.weight[:, 0])

    def reset_parameters(self) -> None:
        """Set the weight to the initial one of ``seed`` again."""
        self.fill(seeded_generator(self.seed))

    def fill(self, generator: torch.Generator) -> None:
        """Sample every row uniformly from the cube [-1, 1]^D and scale it to unit length, as the source does."""
        if self.weight.is_meta:
            return
        # Drawn where the generator is, and not in half precision: one seed gives one head on every device.
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        drawn = torch.empty(self.weight.shape, dtype=dtype, device=generator.device)
        drawn.uniform_(-1.0, 1.0, generator=generator)
        with torch.no_grad():
            self.weight.copy_(F.normalize(drawn, dim=1))

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; refuse the ones of ``nn.Linear`` that would have no effect here."""
        if name in _NOT_OURS and not (name == "bias" and value is None):
            raise AttributeError(f"{name} of CosineHead cannot be set: {_NOT_OURS[name]}")
        super().__setattr__(name, value)

    def extra_repr(self) -> str:
        """Return the sizes for ``print(model)``."""
        return f"in_features={self.in_features}, num_classes={self.num_classes}"
