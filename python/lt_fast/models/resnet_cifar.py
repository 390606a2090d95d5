"""ResNet for 32 x 32 images: the CIFAR network of He et al., with parameter-free shortcuts."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.models.classifier import Classifier
from lt_fast.models.experts import ExpertHeads, MultiExpert, check_experts, multi_expert, narrowed, pooled
from lt_fast.models.heads import make_head
from lt_fast.models.initialization import build
from lt_fast.registry import register

_WIDTHS = (16, 32, 64)


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

    Shape:
        x ``(N, in_channels, H, W)`` float; ``features(x)`` ``(N, 64)``; returns ``(N, num_classes)``. Any H and W.
    """

    def __init__(self, blocks: int, num_classes: int, *, head: str = "linear", in_channels: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(in_channels, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        widths = (_WIDTHS[0], *_WIDTHS)
        self.stages = nn.Sequential(*(_stage(before, after, blocks) for before, after in pairwise(widths)))
        self.head = make_head(head, _WIDTHS[-1], num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled activations before the head, ``(N, 64)``."""
        out: Tensor = self.stages(F.relu(self.bn1(self.conv1(x))))
        return out.mean(dim=(2, 3))


def _stage(in_planes: int, planes: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(in_planes, planes), *(BasicBlock(planes, planes) for _ in range(blocks - 1)))


def _of_experts(
    blocks: int, num_classes: int, *, head: str, in_channels: int, experts: int, expert_width: float
) -> MultiExpert:
    """Return a ResNet whose experts share all but the last two stages."""
    first, *own = _WIDTHS
    second, third = (narrowed(width, expert_width) for width in own)
    stem = [nn.Conv2d(in_channels, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.ReLU()]
    return multi_expert(
        nn.Sequential(*stem, _stage(first, first, blocks)),
        lambda: pooled(_stage(first, second, blocks), _stage(second, third, blocks)),
        lambda: ExpertHeads(experts, head, third, num_classes),
        experts=experts,
    )


@register("model", "resnet32")
def resnet32(
    num_classes: int,
    *,
    head: str = "linear",
    in_channels: int = 3,
    seed: int = 0,
    experts: int = 1,
    expert_width: float = 1.0,
) -> ResNetCifar | MultiExpert:
    """ResNet-32 for CIFAR: 0.46 M parameters, 69 M multiply-adds on a 32 x 32 image.

    Args:
        num_classes: C >= 1.
        head: ``"linear"``, or ``"cosine"`` for losses with a scale of their own, such as LDAM.
        in_channels: 3 for colour, 1 for grey.
        seed: determines every weight; the global generator is neither read nor advanced. Two heads of one seed share
            their backbone's weights.
        experts: 1, or E > 1 for a ``MultiExpert`` network: each expert has its own second and third stage and head.
        expert_width: channels of an expert's stages as a fraction of the usual ones, in (0, 1]; 0.75 makes 24 and 48.

    Raises:
        UsageError: if ``head`` is unknown.
        TypeError, ValueError: if a size is not an integer >= 1, ``expert_width`` is out of range or given for one
            expert, or ``seed`` is not an integer in [0, 2^64).

    Source: He et al. 2016, arXiv:1512.03385, section 4.2, with option A shortcuts; Kaiming-normal initialisation and
    use for long tails as in kaidic/LDAM-DRW, models/resnet_cifar.py. Experts: frank-xwang/RIDE-LongTailRecognition,
    model/ldam_drw_resnets/ride_resnet_cifar.py, whose ``reduce_dimension`` is ``expert_width=0.75``.
    Differs from that code: global average pooling for any image size, where the code pools a square.
    """
    _checks.num_classes(num_classes)
    _checks.integer("in_channels", in_channels, least=1)
    blocks = 5
    check_experts(experts, expert_width)
    if experts == 1:
        return build(lambda: ResNetCifar(blocks, num_classes, head=head, in_channels=in_channels), seed=seed)
    return build(
        lambda: _of_experts(
            blocks, num_classes, head=head, in_channels=in_channels, experts=experts, expert_width=expert_width
        ),
        seed=seed,
    )
