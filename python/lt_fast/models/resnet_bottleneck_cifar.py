"""The network of logit adjustment's code for 32 x 32 images: bottleneck blocks with projection shortcuts."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.models.classifier import Classifier
from lt_fast.models.heads import make_head
from lt_fast.models.initialization import build
from lt_fast.registry import register

_WIDTHS, _BLOCKS = (16, 32, 64), 5
_HEAD_STD = 0.01  # of the first weights of the classifier
_CUT = 0.87962566103423978  # standard deviation of a normal cut off at two


class _TruncatedNormal(nn.Conv2d):
    """A convolution whose first weights are normal, cut off at two standard deviations: ``he_normal`` of Keras."""

    def fill(self, generator: torch.Generator) -> None:
        """Sample with the standard deviation ``sqrt(2 / fan_in)`` after the cut."""
        std = (2 / self.weight[0].numel()) ** 0.5 / _CUT
        nn.init.trunc_normal_(self.weight, std=std, a=-2 * std, b=2 * std, generator=generator)


class _NormalLinear(nn.Linear):
    """A linear head whose first weights are normal and whose offsets begin at 0."""

    def fill(self, generator: torch.Generator) -> None:
        """Sample the weight with the standard deviation 0.01."""
        nn.init.normal_(self.weight, std=_HEAD_STD, generator=generator)
        nn.init.zeros_(self.bias)


class Bottleneck(nn.Module):
    """Convolutions of 1, 3 and 1 pixels with as many channels each; the first of a stage projects its shortcut.

    With stride 2 the middle convolution pads even sizes at the right and at the bottom alone, as TensorFlow does.
    """

    def __init__(self, in_planes: int, planes: int, *, stride: int, projects: bool) -> None:
        super().__init__()
        self.stride = stride
        self.conv1, self.bn1 = _TruncatedNormal(in_planes, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = _TruncatedNormal(planes, planes, 3, stride=stride, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = _TruncatedNormal(planes, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.shortcut = (
            nn.Sequential(_TruncatedNormal(in_planes, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes))
            if projects
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``relu(bn3(conv3(...)) + shortcut(x))``."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(_same_padding(out, self.stride))))
        return F.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


def _same_padding(x: Tensor, stride: int) -> Tensor:
    """Pad for a 3 x 3 convolution with ``ceil(size / stride)`` outputs; of an odd sum more goes behind."""
    total = [max((-(-size // stride) - 1) * stride + 3 - size, 0) for size in x.shape[2:]]
    (top, bottom), (left, right) = ((each // 2, each - each // 2) for each in total)
    return F.pad(x, (left, right, top, bottom))


class ResNetBottleneckCifar(Classifier):
    """Three stages of 16, 32 and 64 channels with five bottleneck blocks each, a batch norm, pooling, and a head.

    Build it by ``resnet32_bottleneck``, which fills the weights from a seed.

    Shape:
        x ``(N, in_channels, H, W)`` float; ``features(x)`` ``(N, 64)``; returns ``(N, num_classes)``. Any H and W.

    >>> model = resnet32_bottleneck(10, seed=0)
    >>> isinstance(model, ResNetBottleneckCifar), model.features(torch.zeros(1, 3, 32, 32)).shape
    (True, torch.Size([1, 64]))
    """

    def __init__(self, num_classes: int, *, head: str = "linear", in_channels: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes
        # Three pixels of padding for a 3 x 3 convolution: a 32 x 32 image becomes 36 x 36.
        self.conv1 = _TruncatedNormal(in_channels, _WIDTHS[0], 3, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        widths = (_WIDTHS[0], *_WIDTHS)
        self.stages = nn.Sequential(
            *(
                _stage(before, after, stride=2 if number else 1)
                for number, (before, after) in enumerate(pairwise(widths))
            )
        )
        self.last_bn = nn.BatchNorm2d(_WIDTHS[-1])
        made = make_head(head, _WIDTHS[-1], num_classes)
        self.head = _NormalLinear(_WIDTHS[-1], num_classes) if isinstance(made, nn.Linear) else made

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled activations before the head, ``(N, 64)``."""
        out: Tensor = self.last_bn(self.stages(F.relu(self.bn1(self.conv1(x)))))
        return out.mean(dim=(2, 3))


def _stage(in_planes: int, planes: int, *, stride: int) -> nn.Sequential:
    first = Bottleneck(in_planes, planes, stride=stride, projects=True)
    return nn.Sequential(first, *(Bottleneck(planes, planes, stride=1, projects=False) for _ in range(_BLOCKS - 1)))


@register("model", "resnet32_bottleneck")
def resnet32_bottleneck(
    num_classes: int, *, head: str = "linear", in_channels: int = 3, seed: int = 0
) -> ResNetBottleneckCifar:
    """The network that logit adjustment's code calls ResNet-32: 47 convolutions in bottleneck blocks.

    Args:
        num_classes: C >= 1.
        head: ``"linear"`` or ``"cosine"``.
        in_channels: 3 for colour, 1 for grey.
        seed: determines every weight; the global generator is neither read nor advanced.

    Raises:
        UsageError: if ``head`` is unknown.
        TypeError, ValueError: if a size is not an integer >= 1, or ``seed`` not one in [0, 2^64).

    Source: google-research/google-research, logit_adjustment/models.py, of Menon et al. 2021, arXiv:2007.07314: first
    weights, padding, the batch norm before the pooling and its momentum (0.9 in Keras is 0.1 here) as there.

    >>> model = resnet32_bottleneck(100, head="cosine", seed=0)
    >>> model(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 100])
    """
    _checks.num_classes(num_classes)
    _checks.integer("in_channels", in_channels, least=1)
    return build(lambda: ResNetBottleneckCifar(num_classes, head=head, in_channels=in_channels), seed=seed)
