"""A small convolutional network for 8 x 8 digits: trains on a few hundred images in seconds on a CPU."""

from torch import Tensor, nn

from lt_fast import _checks
from lt_fast.models.classifier import Classifier
from lt_fast.models.experts import ExpertHeads, MultiExpert, check_experts, multi_expert, narrowed, pooled
from lt_fast.models.heads import make_head
from lt_fast.models.initialization import build
from lt_fast.registry import register

_FEATURES = 64


class DigitsNet(Classifier):
    """Four 3 x 3 convolutions with batch norm, the third with stride 2, global average pooling, and a head.

    Build it by ``digits_net``, which fills the weights from a seed. The constructor leaves PyTorch's default weights,
    which come from its global generator; a cosine head has the weight of seed 0.

    Shape:
        x ``(N, in_channels, H, W)`` float; ``features(x)`` ``(N, 64)``; returns ``(N, num_classes)``. Any H and W.

    >>> import torch
    >>> model = digits_net(10, seed=0)
    >>> isinstance(model, DigitsNet), model.features(torch.zeros(2, 1, 8, 8)).shape
    (True, torch.Size([2, 64]))
    """

    def __init__(self, num_classes: int, *, head: str = "linear", in_channels: int = 1) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.trunk = nn.Sequential(
            *_convolution(in_channels, 32),
            *_convolution(32, 32),
            *_convolution(32, _FEATURES, stride=2),
            *_convolution(_FEATURES, _FEATURES),
        )
        self.head = make_head(head, _FEATURES, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled activations before the head, ``(N, 64)``."""
        out: Tensor = self.trunk(x)
        return out.mean(dim=(2, 3))


def _convolution(in_planes: int, planes: int, *, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(planes),
        nn.ReLU(),
    ]


def _of_experts(num_classes: int, *, head: str, in_channels: int, experts: int, expert_width: float) -> MultiExpert:
    """Return a network whose experts share the first two convolutions."""
    width = narrowed(_FEATURES, expert_width)
    return multi_expert(
        nn.Sequential(*_convolution(in_channels, 32), *_convolution(32, 32)),
        lambda: pooled(*_convolution(32, width, stride=2), *_convolution(width, width)),
        lambda: ExpertHeads(experts, head, width, num_classes),
        experts=experts,
    )


@register("model", "digits_net")
def digits_net(
    num_classes: int,
    *,
    head: str = "linear",
    in_channels: int = 1,
    seed: int = 0,
    experts: int = 1,
    expert_width: float = 1.0,
) -> DigitsNet | MultiExpert:
    """Network of 66 thousand parameters for 8 x 8 images of one channel.

    Args:
        num_classes: C >= 1.
        head: ``"linear"`` or ``"cosine"``.
        in_channels: 1 for scikit-learn's digits.
        seed: decides every weight; the global generator is neither read nor advanced.
        experts: 1, or E > 1 for a ``MultiExpert`` network: each expert has its own last two convolutions and head.
        expert_width: channels of an expert's convolutions as a fraction of the usual ones, in (0, 1].

    Raises:
        UsageError: if ``head`` is unknown.
        TypeError, ValueError: if a size is not an integer >= 1, ``expert_width`` is out of range or given for one
            expert, or ``seed`` is not an integer in [0, 2^64).

    Source: ours; no paper. Chosen for speed on two cores and for features that a linear head separates.

    >>> import torch
    >>> model, again = (digits_net(10, head="cosine", seed=0) for _ in range(2))
    >>> model(torch.zeros(2, 1, 8, 8)).shape, sum(weight.numel() for weight in model.parameters())
    (torch.Size([2, 10]), 65824)
    >>> torch.equal(model.head.weight, again.head.weight)  # the seed decides every weight
    True
    """
    _checks.num_classes(num_classes)
    _checks.integer("in_channels", in_channels, least=1)
    check_experts(experts, expert_width)
    if experts == 1:
        return build(lambda: DigitsNet(num_classes, head=head, in_channels=in_channels), seed=seed)
    return build(
        lambda: _of_experts(
            num_classes, head=head, in_channels=in_channels, experts=experts, expert_width=expert_width
        ),
        seed=seed,
    )
