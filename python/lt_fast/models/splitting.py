"""Split a network of another library at a named part, and make its later stages narrower."""

from typing import Any

import torch
from torch import Tensor, nn

from lt_fast._extras import require
from lt_fast._text import nearest
from lt_fast.errors import UsageError
from lt_fast.models.experts import narrowed


def split_at(network: nn.Module, split: str, images: Tensor) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the parts of ``network`` before ``split`` and from it on, of which the second returns features (N, D).

    Args:
        network: calls its parts one after the other and flattens the last one's output, as ResNets do.
        split: name of one of its parts.
        images: (N, Ch, H, W), on which both together are compared with the network.

    Raises:
        UsageError: if there is no such part, it is the first, or the network does more than call its parts in order.
    """
    parts = dict(network.named_children())
    names = list(parts)
    if split not in names[1:]:
        raise UsageError(
            f"split must name a part of {type(network).__name__} after its first, {', '.join(names[1:])}, got "
            f"{split!r}{nearest(split, names[1:])}"
        )
    at = names.index(split)
    early = nn.Sequential(*(parts[name] for name in names[:at]))
    late = nn.Sequential(*(parts[name] for name in names[at:]), nn.Flatten(1))
    if not _same_output(network, nn.Sequential(early, late), images):
        raise UsageError(
            f"model must call its parts one after the other to be split into experts, got {type(network).__name__}, "
            "which does more; name a ResNet, or leave experts out"
        )
    return early, late


def _same_output(network: nn.Module, parts: nn.Sequential, images: Tensor) -> bool:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            wanted, found = network(images), parts.eval()(images)
    except Exception:  # noqa: BLE001  (a part that is given what another one makes may raise anything)
        return False
    finally:
        for module, training in modes.items():
            module.training = training
    return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-3, atol=1e-5)


def narrow(network: nn.Module, split: str, width: float) -> None:
    """Replace the stages of a torchvision ResNet from ``split`` on by new ones of fewer channels, and its classifier.

    The new layers are initialised as torchvision does, from the global generator.

    Raises:
        UsageError: if it is no ResNet of torchvision.

    Source: ``reduce_dimension`` of frank-xwang/RIDE-LongTailRecognition, model/fb_resnets/EAResNet.py: 192 and 384
    planes of 256 and 512.
    """
    resnet = require("torchvision.models", extra="train", purpose="narrower experts").ResNet
    if not isinstance(network, resnet):
        raise UsageError(
            f"expert_width must be 1 for {type(network).__name__}, got {width:g}: only the ResNets of torchvision are "
            "made narrower; leave it out"
        )
    stages = [name for name, part in network.named_children() if isinstance(part, nn.Sequential)]
    if split not in stages:
        raise UsageError(f"split must be one of {', '.join(stages)} with expert_width, got {split!r}")
    before = stages[: stages.index(split)]
    channels = _channels(network.get_submodule(before[-1]) if before else nn.Sequential(network.get_submodule("bn1")))
    for name in stages[stages.index(split) :]:
        stage = _narrow_stage(network.get_submodule(name), channels, width, network)
        network.set_submodule(name, stage)
        channels = _channels(stage)
    network.fc = nn.Linear(channels, network.fc.out_features)


def _channels(stage: nn.Module) -> int:
    """Return the channels that a stage returns: those of the last layer of its last block."""
    return int(
        [part for part in list(stage.children())[-1].modules() if isinstance(part, nn.BatchNorm2d)][-1].num_features
    )


def _narrow_stage(stage: nn.Module, channels: int, width: float, network: nn.Module) -> nn.Sequential:
    """Return a new stage of as many blocks, for an input of ``channels``."""
    blocks: list[Any] = list(stage.children())
    expansion, stride, make = blocks[0].expansion, blocks[0].stride, type(blocks[0])
    planes = narrowed(_channels(stage) // expansion, width)
    cardinality = {"groups": network.groups, "base_width": network.base_width}
    shortcut = None
    if stride != 1 or channels != planes * expansion:
        convolution = nn.Conv2d(channels, planes * expansion, 1, stride=stride, bias=False)
        shortcut = nn.Sequential(convolution, nn.BatchNorm2d(planes * expansion))
    first = make(channels, planes, stride, shortcut, **cardinality)
    others = [make(planes * expansion, planes, **cardinality) for _ in blocks[1:]]
    made = nn.Sequential(first, *others)
    for part in made.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    return made
