"""ResNet for 32 x 32 images: the CIFAR network of He et al., with parameter-free shortcuts."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.models.classifier import Classifier
from lt_fast.models.experts import ExpertHeads, MultiExpert, check_experts, multi_expert, narrowed, pooled
from lt_fast.models.heads import make_head
from lt_fast.models.initialization import build
from lt_fast.registry import register

_WIDTHS = (16, 32, 64)
_BLOCKS = 5
_MOST_LAST_BLOCKS = 64


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut without parameters (option A).

    Where the width grows, the shortcut takes every second pixel and pads the channels with zeros, half before and
    half after, as the CIFAR networks of the paper do.
    """

    def __init__(self, in_planes: int, planes: int) -> None:
        super().__init__()
        self.stride = 1 if in_planes == planes else 2
        self.padding = (planes - in_planes) // 2
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))``."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """Return ``x``, subsampled and zero-padded where the block changes the shape."""
        if self.stride == 1:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))


class ResNetCifar(Classifier):
    """Three stages of 16, 32 and 64 channels with ``blocks`` blocks each, global average pooling, and a head.

    ``6 * blocks + 2`` layers: 5 blocks make ResNet-32. Build it by ``resnet32``, which fills the weights from a seed.
    The constructor leaves PyTorch's default weights, which come from its global generator; a cosine head has the weight
    of seed 0.

    Args:
        blocks: of each stage.
        num_classes: C.
        head: ``"linear"`` or ``"cosine"``.
        in_channels: of the images.
        bias: of a linear head.
        uniform_head: whether ``resnet32`` fills a linear head as ``nn.Linear`` does itself.
        last_blocks: blocks side by side in the place of the last one, whose features are concatenated.

    Shape:
        x ``(N, in_channels, H, W)`` float; ``features(x)`` ``(N, 64 * last_blocks)``; returns ``(N, num_classes)``. Any
        H and W.

    >>> model = resnet32(10, seed=0)
    >>> isinstance(model, ResNetCifar), model.features(torch.zeros(1, 3, 32, 32)).shape
    (True, torch.Size([1, 64]))
    """

    def __init__(
        self,
        blocks: int,
        num_classes: int,
        *,
        head: str = "linear",
        in_channels: int = 3,
        bias: bool = True,
        uniform_head: bool = False,
        last_blocks: int = 1,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(in_channels, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        widths = (_WIDTHS[0], *_WIDTHS)
        self.stages = nn.Sequential(*(_stage(before, after, blocks) for before, after in pairwise(widths)))
        # The last block stays in its stage, so that a network with one has the names that it always had.
        self.beside = nn.ModuleList(BasicBlock(_WIDTHS[-1], _WIDTHS[-1]) for _ in range(last_blocks - 1))
        self.head = make_head(head, last_blocks * _WIDTHS[-1], num_classes, bias=bias, uniform=uniform_head)

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled activations before the head, ``(N, 64 * last_blocks)``."""
        out: Tensor = F.relu(self.bn1(self.conv1(x)))
        if not len(self.beside):
            return self.stages(out).mean(dim=(2, 3))  # type: ignore[no-any-return]
        *before, last = self.stages
        for stage in (*before, last[:-1]):  # type: ignore[index]
            out = stage(out)
        return torch.cat([block(out).mean(dim=(2, 3)) for block in (last[-1], *self.beside)], dim=1)  # type: ignore[index]


def _stage(in_planes: int, planes: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(in_planes, planes), *(BasicBlock(planes, planes) for _ in range(blocks - 1)))


def _of_experts(
    num_classes: int,
    *,
    head: str,
    bias: bool,
    uniform_head: bool,
    in_channels: int,
    experts: int,
    expert_width: float,
) -> MultiExpert:
    """Return a ResNet whose experts share all but the last two stages."""
    first, *own = _WIDTHS
    second, third = (narrowed(width, expert_width) for width in own)
    stem = [nn.Conv2d(in_channels, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU()]
    return multi_expert(
        nn.Sequential(*stem, _stage(first, first, _BLOCKS)),
        lambda: pooled(_stage(first, second, _BLOCKS), _stage(second, third, _BLOCKS)),
        lambda: ExpertHeads(experts, head, third, num_classes, bias=bias, uniform=uniform_head),
        experts=experts,
    )


@register("model", "resnet32")
def resnet32(
    num_classes: int,
    *,
    head: str = "linear",
    in_channels: int = 3,
    bias: bool = True,
    uniform_head: bool = False,
    last_blocks: int = 1,
    seed: int = 0,
    experts: int = 1,
    expert_width: float = 1.0,
) -> ResNetCifar | MultiExpert:
    """ResNet-32 for CIFAR: 0.46 M parameters, 69 M multiply-adds on a 32 x 32 image.

    Args:
        num_classes: C >= 1.
        head: ``"linear"``, or ``"cosine"`` for losses with a scale of their own, such as LDAM.
        in_channels: 3 for colour, 1 for grey.
        bias: whether a linear head has offsets; a cosine head has none. ntucllab/imbalanced-DL has none.
        uniform_head: first weights of a linear head uniform in ``1 / sqrt(D)``, as ``nn.Linear`` has them itself, in
            place of Kaiming-normal ones, 2.45 times as wide. Those of ntucllab/imbalanced-DL and microsoft/robustlearn.
        last_blocks: blocks side by side in the place of the last one, whose features are concatenated. 2 make the
            network of hyperconnect/LADE, which is that of megvii-research/BBN: 128 features.
        seed: determines every weight; the global generator is neither read nor advanced. Two heads of one seed share
            their backbone's weights.
        experts: 1, or E > 1 for a ``MultiExpert`` network: each expert has its own second and third stage and head.
        expert_width: channels of an expert's stages as a fraction of the usual ones, in (0, 1]; 0.75 makes 24 and 48.

    Raises:
        UsageError: if ``head`` is unknown.
        TypeError, ValueError: if a size is not an integer >= 1, ``expert_width`` is out of range or given for one
            expert, or ``seed`` is not an integer in [0, 2^64).

    Source: He et al. 2016, arXiv:1512.03385, section 4.2, with option A shortcuts; Kaiming-normal initialisation and
    use for long tails as in kaidic/LDAM-DRW, models/resnet_cifar.py; two last blocks as in megvii-research/BBN,
    lib/backbone/resnet_cifar.py BBN_ResNet_Cifar. Experts: frank-xwang/RIDE-LongTailRecognition,
    model/ldam_drw_resnets/ride_resnet_cifar.py, whose ``reduce_dimension`` is ``expert_width=0.75``.
    Differs from that code: global average pooling for any image size, where the code pools a square.

    >>> model = resnet32(100, head="cosine", seed=0)
    >>> model(torch.zeros(2, 3, 32, 32)).shape, sum(weight.numel() for weight in model.parameters())
    (torch.Size([2, 100]), 469904)
    """
    _checks.num_classes(num_classes)
    _checks.integer("in_channels", in_channels, least=1)
    _checks.integer("last_blocks", last_blocks, least=1, most=_MOST_LAST_BLOCKS)
    check_experts(experts, expert_width)
    of_head: dict[str, Any] = {"head": head, "bias": bias, "uniform_head": uniform_head}
    if experts == 1:
        return build(
            lambda: ResNetCifar(_BLOCKS, num_classes, in_channels=in_channels, last_blocks=last_blocks, **of_head),
            seed=seed,
        )
    if last_blocks != 1:
        raise ValueError(f"last_blocks must be 1 with {experts} experts, got {last_blocks}; leave one of them out")
    return build(
        lambda: _of_experts(
            num_classes, in_channels=in_channels, experts=experts, expert_width=expert_width, **of_head
        ),
        seed=seed,
    )
