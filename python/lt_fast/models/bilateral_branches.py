"""``BilateralBranchNetwork``: a network whose last block is there twice, for two ways of sampling (BBN)."""

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from lt_fast import _checks
from lt_fast.models.classifier import Classifier
from lt_fast.models.cosine_head import CosineHead
from lt_fast.models.digits_net import DigitsNet
from lt_fast.models.heads import make_head
from lt_fast.models.initialization import build
from lt_fast.models.resnet_cifar import ResNetCifar
from lt_fast.registry import MODELS, register

BRANCHES = ("conventional", "rebalancing")

_REBALANCING, _HEAD = 0x7265626C, 0x68656164
"""Change the seed of the network into those of its second block and of its head."""

_LAYERS_OF_DIGITS_NET = 3  # convolution, batch norm, ReLU

_OF_PHOTOGRAPHS = ("input_size", "mean", "std", "preset")


class DoubledBlock(nn.Module):
    """Two blocks of the same layers on the same input, one below the other in the channels.

    Attributes:
        conventional: block of images sampled uniformly.
        rebalancing: block of images sampled from the rare classes.
        only: name of the one block to compute, or None for both.
    """

    def __init__(self, conventional: nn.Module, rebalancing: nn.Module) -> None:
        super().__init__()
        self.conventional, self.rebalancing = conventional, rebalancing
        self.only: str | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 2 K, H, W), or (N, K, H, W) of one block."""
        blocks = BRANCHES if self.only is None else (self.only,)
        return torch.cat([getattr(self, name)(x) for name in blocks], dim=1)


class BilateralBranchNetwork(Classifier):
    """A network with its last block doubled: its features are those of both branches, one after the other.

    ``model(x) = head(cat(conventional, rebalancing))`` is the network as it is tested: both branches count alike.
    ``branch_features`` computes one branch, for a training that gives each its own images.

    Args:
        network: has a last block that is known: ``resnet32``, ``digits_net``, or a ResNet of torchvision or timm. It
            becomes a part of this network, with its last block doubled; its head gives the kind of the new one. The
            second block of a network of a library begins as a copy of the first, as pretrained weights ask for.
        seed: determines the weights of the new head and the new block.

    Attributes:
        network: the layers before the head.

    Shape:
        x (N, Ch, H, W) float; ``features(x)`` (N, 2 D); ``branch_features(x, branch)`` (N, D); returns (N, C).

    Raises:
        ValueError: if the last block of ``network`` is not known.

    Source: Zhou et al. 2020 (BBN), arXiv:1912.02413, Section 4; code megvii-research/BBN, in lib/net/network.py and
    lib/backbone/resnet_cifar.py: a residual block per branch, everything before it shared, one classifier of both.

    >>> from lt_fast.models import digits_net
    >>> model = BilateralBranchNetwork(digits_net(10, seed=0), seed=1)
    >>> x = torch.zeros(2, 1, 8, 8)
    >>> model.features(x).shape, model.branch_features(x, "rebalancing").shape
    (torch.Size([2, 128]), torch.Size([2, 64]))
    """

    def __init__(self, network: Classifier, *, seed: int = 0) -> None:
        super().__init__()
        stage, layers = _last_stage(network)
        block = stage[-1] if layers == 1 else stage[-layers:]
        second = copy.deepcopy(block)
        second = second if hasattr(network, "preset") else build(lambda: second, seed=seed ^ _REBALANCING)
        del stage[-layers:]
        stage.append(DoubledBlock(block, second))
        self.num_classes, self.head = network.num_classes, _wider(network, seed)
        network.head = nn.Identity()
        self.network = network
        for name in _OF_PHOTOGRAPHS:
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def features(self, x: Tensor) -> Tensor:
        """Return the features of both branches."""
        return self.network.features(x)

    def branch_features(self, x: Tensor, branch: str) -> Tensor:
        """Return the features of one branch, ``"conventional"`` or ``"rebalancing"``."""
        doubled = next(module for module in self.network.modules() if isinstance(module, DoubledBlock))
        doubled.only = _checks.choice("branch", branch, BRANCHES)
        try:
            return self.network.features(x)
        finally:
            doubled.only = None


def _last_stage(network: Classifier) -> tuple[nn.Sequential, int]:
    """Return the layers that end in the last block, and how many of them the block is."""
    if isinstance(network, ResNetCifar):
        return network.stages[-1], 1  # type: ignore[return-value]
    if isinstance(network, DigitsNet):
        return network.trunk, _LAYERS_OF_DIGITS_NET
    stage = getattr(getattr(network, "backbone", None), "layer4", None)  # of torchvision's and timm's ResNets
    if isinstance(stage, nn.Sequential):
        return stage, 1
    raise ValueError(
        f"model must be resnet32, digits_net or a ResNet of torchvision or timm for two branches, got "
        f"{type(network).__name__}, whose last block is unknown; name another, and leave --freeze out"
    )


def _wider(network: Classifier, seed: int) -> nn.Module:
    """Return a head of the kind that ``network`` has, for twice its features."""
    head: Any = network.head
    kind = "cosine" if isinstance(head, CosineHead) else "linear"
    classes, width = head.weight.shape
    return build(lambda: make_head(kind, 2 * width, classes), seed=seed ^ _HEAD)


@register("model", "bbn")
def bbn(
    num_classes: int, *, backbone: str = "resnet32", head: str = "linear", in_channels: int = 3, seed: int = 0
) -> BilateralBranchNetwork:
    """Return a ``BilateralBranchNetwork`` of a network by its name: 0.54 M parameters with ``"resnet32"``.

    Args:
        num_classes: C >= 1.
        backbone: a model by name: ``"resnet32"``, ``"digits_net"``, ``"torchvision:resnet50"``, ``"timm:resnet50"``.
        head: ``"linear"`` or ``"cosine"``.
        in_channels: 3 for colour, 1 for grey; networks of libraries have their own.
        seed: determines every weight; the global generator is neither read nor advanced.

    Raises:
        UsageError: if a name is unknown.
        ValueError: if the last block of the network is not known.

    Source: as ``BilateralBranchNetwork``.

    >>> model = bbn(10, backbone="digits_net", in_channels=1)
    >>> model.features(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 128])
    """
    factory = MODELS[backbone]
    channels = {"in_channels": in_channels} if "in_channels" in inspect.signature(factory).parameters else {}
    return BilateralBranchNetwork(factory(num_classes, head=head, seed=seed, **channels), seed=seed)
