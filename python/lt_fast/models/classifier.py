"""``Classifier``: base class of the package's networks, features and a head."""

from typing import Any

from torch import Tensor, nn


class Classifier(nn.Module):
    """A network whose logits are ``head(features(x))``, so that the head can be exchanged, calibrated or shared.

    Attributes:
        head: module from (N, D) features to (N, C) logits.
        num_classes: C.

    Shape:
        x (N, Ch, H, W) float; ``features(x)`` (N, D); returns (N, C), or (N, E, C) with ``each``.

    >>> import torch
    >>> from lt_fast.models import digits_net
    >>> model, x = digits_net(10, seed=0).eval(), torch.zeros(2, 1, 8, 8)
    >>> isinstance(model, Classifier), torch.equal(model(x), model.head(model.features(x)))
    (True, True)
    """

    head: nn.Module
    num_classes: int

    def features(self, x: Tensor) -> Tensor:
        """Return the (N, D) input of the head."""
        raise NotImplementedError(f"{type(self).__name__} must define features(x) -> (N, D)")

    @property
    def num_experts(self) -> int:
        """How many experts the head has, E; 1 of every other head."""
        return int(getattr(self.head, "num_experts", 1))

    def forward(self, x: Tensor, *, each: bool = False) -> Tensor:
        """Return ``head(features(x))``; with ``each`` the logits of every expert, (N, E, C)."""
        features = self.features(x)
        of_each: Any = getattr(self.head, "each", None)
        if each and of_each is not None:
            logits: Tensor = of_each(features)
        else:
            logits = self.head(features)
        return logits[:, None] if each and of_each is None else logits
