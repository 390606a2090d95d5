"""ResNet-10, -50, -152 and ResNeXt-50 for photographs: torchvision's networks with a head of C classes.

They are what methods on ImageNet-LT, Places-LT and iNaturalist 2018 are published with. Every other network of
torchvision or timm is named ``torchvision:NAME`` or ``timm:NAME``.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from lt_fast import _checks
from lt_fast._extras import require
from lt_fast.errors import UsageError
from lt_fast.models.adapt import Weights, adapt
from lt_fast.models.classifier import Classifier
from lt_fast.registry import register

_COLOURS, _SIDE = 3, 224


def basic_resnet(layers: Sequence[int], num_classes: int = 1000, in_channels: int = _COLOURS) -> nn.Module:
    """Return torchvision's ResNet of basic blocks, ``layers`` of them in the four stages."""
    models = require("torchvision.models.resnet", extra="train", purpose="a ResNet")
    return _for_channels(models.ResNet(models.BasicBlock, list(layers), num_classes), in_channels)


def library_resnet(name: str, num_classes: int = 1000, in_channels: int = _COLOURS) -> nn.Module:
    """Return torchvision's ResNet or ResNeXt called ``name``, with new weights."""
    models = require("torchvision.models", extra="train", purpose=f"the model {name}")
    return _for_channels(models.get_model(name, weights=None, num_classes=num_classes), in_channels)


def _for_channels(network: Any, in_channels: int) -> nn.Module:
    """Give the network a first convolution for ``in_channels``, filled as torchvision fills it."""
    if in_channels != _COLOURS:
        network.conv1 = nn.Conv2d(in_channels, network.conv1.out_channels, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    found: nn.Module = network
    return found


@register("model", "resnet10")
def resnet10(
    num_classes: int,
    *,
    head: str = "linear",
    in_channels: int = 3,
    weights: Weights = None,
    experts: int = 1,
    split: str = "layer3",
    expert_width: float = 1.0,
    seed: int = 0,
) -> Classifier:
    """ResNet-10: torchvision's ResNet with one basic block in each of the four stages, 512 features, 4.9 M parameters.

    Args:
        num_classes: C >= 1.
        head: ``"linear"``, or ``"cosine"`` for losses with a scale of their own, such as LDAM.
        in_channels: 3 for colour, 1 for grey.
        weights: a state dict or a file with one; see ``adapt``. The library has none of this network.
        experts: 1, or E > 1 for a ``MultiExpert`` network; see ``adapt``.
        split: first of the four stages, ``"layer1"`` to ``"layer4"``, that experts do not share.
        expert_width: channels of the experts' stages as a fraction of the usual ones, in (0, 1].
        seed: decides every new weight; the global generator is neither read nor advanced.

    Shape:
        x ``(N, in_channels, H, W)`` float; ``features(x)`` ``(N, 512)``; returns ``(N, num_classes)``. Any H and W. Of
        images of 32 pixels or fewer a side, one pixel reaches the last stage, whose batch norm cannot train on a batch
        of one such image.

    Raises:
        UsageError: if ``weights`` is ``"pretrained"``.
        DataError: if the weights cannot be read, or are another network's.
        TypeError, ValueError: if a size is not an integer >= 1, ``head`` is unknown, or ``seed`` is not in [0, 2^64).
        MissingExtraError: if torchvision is not installed.

    Source: Liu et al. 2019, arXiv:1904.05160; code zhmiao/OpenLongTailRecognition-OLTR, models/ResNet10Feature.py, and
    Ren et al. 2020, jiawei-ren/BalancedMetaSoftmax-Classification. Differs from the former: no layer ``fc_add`` before
    the classifier, which the latter and facebookresearch/classifier-balancing leave out, too.

    >>> import torch
    >>> model = resnet10(20, head="cosine", seed=0)
    >>> model.features(torch.zeros(1, 3, 64, 64)).shape, model.head
    (torch.Size([1, 512]), CosineHead(in_features=512, num_classes=20))
    """
    if isinstance(weights, str) and weights == "pretrained":
        raise UsageError("weights must be a file or none for resnet10, got 'pretrained': torchvision has none of it")
    made = {"head": head, "weights": weights, "seed": seed, **_experts(experts, split, expert_width)}
    return _with_head(f"{__name__}:basic_resnet", num_classes, in_channels, layers=(1, 1, 1, 1), **made)


@register("model", "resnet50")
def resnet50(
    num_classes: int,
    *,
    head: str = "linear",
    in_channels: int = 3,
    weights: Weights = None,
    experts: int = 1,
    split: str = "layer3",
    expert_width: float = 1.0,
    seed: int = 0,
) -> Classifier:
    """ResNet-50, ``torchvision:resnet50``: 2,048 features, 23.5 M parameters.

    Args:
        num_classes: C >= 1.
        head: ``"linear"`` or ``"cosine"``.
        in_channels: 3 for colour, 1 for grey.
        weights: None for new ones; ``"pretrained"`` for torchvision's best, trained on ImageNet; a file.
        experts: as ``resnet10``.
        split: as ``resnet10``.
        expert_width: as ``resnet10``; 1 with given weights.
        seed: decides every new weight.

    Shape:
        as ``resnet10``, with 2,048 features.

    Raises:
        UsageError, DataError, TypeError, ValueError, MissingExtraError: as ``resnet10``; UsageError too if pretrained
            weights are asked for other channels than three.

    Source: He et al. 2016, arXiv:1512.03385, Table 1; models/ResNet50Feature.py of
    facebookresearch/classifier-balancing, whose blocks have their stride in the 3 x 3 convolution, as torchvision's.

    >>> model = resnet50(1000, experts=3, expert_width=0.75)
    >>> model.num_experts
    3
    """
    made = {"head": head, "weights": weights, "seed": seed, **_experts(experts, split, expert_width)}
    return _of_library("resnet50", num_classes, in_channels, **made)


@register("model", "resnet152")
def resnet152(
    num_classes: int,
    *,
    head: str = "linear",
    in_channels: int = 3,
    weights: Weights = None,
    experts: int = 1,
    split: str = "layer3",
    expert_width: float = 1.0,
    seed: int = 0,
) -> Classifier:
    """ResNet-152, ``torchvision:resnet152``: 2,048 features, 58 M parameters; Places-LT begins with pretrained weights.

    Args:
        num_classes: C >= 1.
        head: ``"linear"`` or ``"cosine"``.
        in_channels: 3 for colour, 1 for grey.
        weights: None for new ones; ``"pretrained"`` for torchvision's best, trained on ImageNet; a file.
        experts: as ``resnet10``.
        split: as ``resnet10``.
        expert_width: as ``resnet10``; 1 with given weights.
        seed: decides every new weight.

    Shape:
        as ``resnet10``, with 2,048 features.

    Raises:
        UsageError, DataError, TypeError, ValueError, MissingExtraError: as ``resnet50``.

    Source: He et al. 2016, arXiv:1512.03385, Table 1; models/ResNet152Feature.py of
    zhmiao/OpenLongTailRecognition-OLTR, which begins with Caffe's weights of 2015. Differs from that code: the
    pretrained weights are torchvision's, by a newer and better training.

    >>> model = resnet152(365)
    >>> sum(weight.numel() for weight in model.backbone.parameters()) // 1_000_000
    58
    """
    made = {"head": head, "weights": weights, "seed": seed, **_experts(experts, split, expert_width)}
    return _of_library("resnet152", num_classes, in_channels, **made)


@register("model", "resnext50")
def resnext50(
    num_classes: int,
    *,
    head: str = "linear",
    in_channels: int = 3,
    weights: Weights = None,
    experts: int = 1,
    split: str = "layer3",
    expert_width: float = 1.0,
    seed: int = 0,
) -> Classifier:
    """ResNeXt-50 (32 groups of 4), ``torchvision:resnext50_32x4d``: 2,048 features, 23 M parameters.

    Args:
        num_classes: C >= 1.
        head: ``"linear"`` or ``"cosine"``.
        in_channels: 3 for colour, 1 for grey.
        weights: None for new ones; ``"pretrained"`` for torchvision's best, trained on ImageNet; a file.
        experts: as ``resnet10``.
        split: as ``resnet10``.
        expert_width: as ``resnet10``; 1 with given weights.
        seed: decides every new weight.

    Shape:
        as ``resnet10``, with 2,048 features.

    Raises:
        UsageError, DataError, TypeError, ValueError, MissingExtraError: as ``resnet50``.

    Source: Xie et al. 2017, arXiv:1611.05431; models/ResNext50Feature.py of facebookresearch/classifier-balancing.

    >>> model = resnext50(1000, head="cosine")
    >>> model.head
    CosineHead(in_features=2048, num_classes=1000)
    """
    made = {"head": head, "weights": weights, "seed": seed, **_experts(experts, split, expert_width)}
    return _of_library("resnext50_32x4d", num_classes, in_channels, **made)


resnet50.weights_of = "torchvision:resnet50"  # type: ignore[attr-defined]
resnet152.weights_of = "torchvision:resnet152"  # type: ignore[attr-defined]
resnext50.weights_of = "torchvision:resnext50_32x4d"  # type: ignore[attr-defined]


def _experts(experts: int, split: str, expert_width: float) -> dict[str, Any]:
    return {"experts": experts, "split": split, "expert_width": expert_width}


def _of_library(name: str, num_classes: int, in_channels: int, **made: Any) -> Classifier:
    if in_channels == _COLOURS:
        return _with_head(f"torchvision:{name}", num_classes, in_channels, **made)
    if isinstance(made["weights"], str) and made["weights"] == "pretrained":
        raise UsageError(
            f"weights must be none for images of {in_channels} channels, got 'pretrained': torchvision's are for colour"
        )
    return _with_head(f"{__name__}:library_resnet", num_classes, in_channels, name=name, **made)


def _with_head(place: str, num_classes: int, in_channels: int, **made: Any) -> Classifier:
    _checks.num_classes(num_classes)
    _checks.integer("in_channels", in_channels, least=1)
    _checks.seed(made["seed"])
    if in_channels != _COLOURS:
        made |= {"input_size": (in_channels, _SIDE, _SIDE), "in_channels": in_channels}
    return adapt(place, num_classes, **made)
