"""``Classifier``: base class of the package's networks, features and a head."""

from torch import Tensor, nn


class Classifier(nn.Module):
    """A network whose logits are ``head(features(x))``, so that the head can be exchanged, calibrated or shared.

    Attributes:
        head: module from (N, D) features to (N, C) logits.
        num_classes: C.

    Shape:
        x (N, Ch, H, W) float; ``features(x)`` (N, D); returns (N, C).
    """

    head: nn.Module
    num_classes: int

    def features(self, x: Tensor) -> Tensor:
        """Return the (N, D) input of the head."""
        raise NotImplementedError(f"{type(self).__name__} must define features(x) -> (N, D)")

    def forward(self, x: Tensor) -> Tensor:
        """Return ``head(features(x))``."""
        logits: Tensor = self.head(self.features(x))
        return logits
