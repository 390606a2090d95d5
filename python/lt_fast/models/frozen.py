"""``Frozen``: a network whose features are fixed, so that its head is trained on features as well as on images."""

from typing import Self

from torch import Tensor, nn

from lt_fast.models.classifier import Classifier


class Frozen(Classifier):
    """A network of which only the head learns.

    Its layers before the head stay in evaluation mode and require no gradient. Given features, it is its head alone: a
    training on features, computed once, saves a network that takes images.

    Args:
        network: with ``features`` and ``head``; it loses its head to this one.

    Attributes:
        network: the layers before the head.

    Shape:
        x (N, Ch, H, W) images, or (N, D) features; returns (N, C).

    >>> import torch
    >>> from lt_fast.models import digits_net
    >>> model = Frozen(digits_net(10, seed=0))
    >>> [name for name, weight in model.named_parameters() if weight.requires_grad]
    ['head.weight', 'head.bias']
    >>> x = torch.zeros(2, 1, 8, 8)
    >>> torch.equal(model(x), model(model.features(x)))  # images, or their features
    True
    """

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.num_classes, self.head = network.num_classes, network.head
        network.head = nn.Identity()
        self.network = network.requires_grad_(requires_grad=False).eval()
        for name in ("input_size", "mean", "std", "preset"):
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def features(self, x: Tensor) -> Tensor:
        """Return the (N, D) input of the head; features are returned as they are."""
        return x if x.ndim == 2 else self.network.features(x)  # noqa: PLR2004

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the head; the layers before it stay in evaluation mode."""
        # Not by the base class: walking through every layer of a large network takes longer than an epoch of the head.
        self.training = mode
        self.head.train(mode)
        return self
