"""Networks of several experts: shared early layers, and last layers and a head of its own for each expert."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.models.classifier import Classifier
from lt_fast.models.heads import make_head

MOST_EXPERTS = 64
"""More have no use, and a number by mistake must not fill the memory."""


class ExpertHeads(nn.Module):
    """A head for each expert; the logits are a mean of theirs.

    Formula: ``logits[n, c] = sum_e share[e, c] * heads[e](x_e)[n, c]``, with ``x_e`` the columns of expert e and
    ``share`` 1 / E unless a method or a calibrator has set other shares.

    Args:
        experts: E, in [1, 64].
        head: ``"linear"`` or ``"cosine"``.
        in_features: D, of one expert.
        num_classes: C.
        bias: of linear heads.
        uniform: as for ``make_head``.

    Attributes:
        experts: the E heads.
        share: buffer (E, C), saved with the weights; the column of each class sums to 1.

    Shape:
        x (N, E * D), the features of expert 0 first; returns (N, C).

    Source: Wang et al. 2021 (RIDE), arXiv:2010.01809; code frank-xwang/RIDE-LongTailRecognition, model/
    ldam_drw_resnets/ride_resnet_cifar.py, whose output is the mean of the experts' scaled logits.

    >>> heads = ExpertHeads(3, "cosine", in_features=4, num_classes=2)
    >>> x = torch.linspace(-1, 1, 60).reshape(5, 12)
    >>> heads.each(x).shape, torch.allclose(heads(x), heads.each(x).mean(1), atol=1e-6)
    (torch.Size([5, 3, 2]), True)
    """

    share: Tensor

    def __init__(
        self,
        experts: int,
        head: str,
        in_features: int,
        num_classes: int,
        *,
        bias: bool = True,
        uniform: bool = False,
    ) -> None:
        super().__init__()
        _checks.integer("experts", experts, least=1, most=MOST_EXPERTS)
        self.experts = nn.ModuleList(
            make_head(head, in_features, num_classes, bias=bias, uniform=uniform) for _ in range(experts)
        )
        self.cosine = head == "cosine"
        self.register_buffer("share", torch.full((experts, num_classes), 1 / experts))

    @property
    def num_experts(self) -> int:
        """E."""
        return len(self.experts)

    def each(self, x: Tensor) -> Tensor:
        """Return the logits of every expert, (N, E, C)."""
        columns = x.chunk(self.num_experts, dim=1)
        return torch.stack([head(own) for head, own in zip(self.experts, columns, strict=True)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean logits, (N, C)."""
        logits = self.each(x)
        return (logits * self.share.to(logits.dtype)).sum(dim=1)

    def set_share(self, share: Tensor) -> None:
        """Set what each expert contributes to each class.

        Args:
            share: (E,) or (E, C), not negative; divided by its sum over the experts.

        Raises:
            ValueError: if the shape is another, a share is negative or not finite, or those of a class are all 0.
        """
        experts, num_classes = self.share.shape
        if tuple(share.shape) not in ((experts,), (experts, num_classes)):
            raise ValueError(
                f"share must have shape ({experts},) or {(experts, num_classes)}, got {tuple(share.shape)}"
            )
        whole = share.detach().reshape(experts, -1).expand(experts, num_classes).to(self.share)
        if not bool((whole.isfinite() & (whole >= 0)).all()) or not bool((whole.sum(0) > 0).all()):
            raise ValueError("share must be finite, >= 0, and > 0 for one expert of each class")
        with torch.no_grad():
            self.share.copy_(whole / whole.sum(0))

    def flattened(self) -> nn.Linear:
        """Return the one linear layer that gives the same logits; of cosine heads, on features of unit length."""
        rows = [F.normalize(head.weight, dim=1) if self.cosine else head.weight for head in self.experts]  # type: ignore[arg-type]
        parts = list(zip(self.share, rows, strict=True))
        weight = torch.cat([share[:, None] * own for share, own in parts], dim=1)
        biases = [getattr(head, "bias", None) for head in self.experts]
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=biases[0] is not None, device="meta")
        linear.weight = nn.Parameter(weight.detach().clone())
        if biases[0] is not None:
            own = torch.stack(biases)  # type: ignore[arg-type]
            linear.bias = nn.Parameter((self.share * own).sum(0).detach())
        return linear

    @property
    def weight(self) -> Tensor:
        """The (C, E * D) weight of ``flattened()``, a copy."""
        return self.flattened().weight.detach()

    def weight_norm(self) -> Tensor:
        """Return (C,) the length of each row as the forward pass sees it: 1 for cosine heads."""
        return torch.ones_like(self.share[0]) if self.cosine else torch.linalg.vector_norm(self.weight, dim=1)

    def fill(self, generator: torch.Generator) -> None:  # noqa: ARG002  (nothing is drawn)
        """Set equal shares."""
        if not self.share.is_meta:
            self.share.fill_(1 / self.num_experts)


class MultiExpert(Classifier):
    """Shared early layers, then for each expert its own later layers.

    ``model(x)`` is the mean of the experts' logits, (N, C), and ``model(x, each=True)`` gives those of every expert,
    (N, E, C). ``features(x)`` has the features of all experts side by side; with cosine heads each expert's have unit
    length, so that the mean of the cosines is linear in them.

    Args:
        shared: the layers that all experts share.
        experts: from the output of ``shared`` to (N, D), one module for each expert.
        heads: of as many experts.
        num_classes: C.

    Attributes:
        cosine: whether features have unit length.

    Shape:
        x (N, Ch, H, W) float; ``features(x)`` (N, E * D); returns (N, C), or (N, E, C) with ``each``.

    Source: as of ``ExpertHeads``.

    >>> from lt_fast.models import digits_net
    >>> model, x = digits_net(10, experts=3, seed=0), torch.zeros(2, 1, 8, 8)
    >>> isinstance(model, MultiExpert), model(x).shape, model(x, each=True).shape
    (True, torch.Size([2, 10]), torch.Size([2, 3, 10]))
    """

    head: ExpertHeads

    def __init__(self, shared: nn.Module, experts: Sequence[nn.Module], heads: ExpertHeads, num_classes: int) -> None:
        super().__init__()
        self.num_classes, self.shared = num_classes, shared
        self.experts, self.head = nn.ModuleList(experts), heads
        self.cosine = heads.cosine  # of the network: another head takes the same features

    def features(self, x: Tensor) -> Tensor:
        """Return the features of all experts, (N, E * D)."""
        common = self.shared(x)
        every = [expert(common) for expert in self.experts]
        return torch.cat([F.normalize(each, dim=1) for each in every] if self.cosine else every, dim=1)


def pooled(*layers: nn.Module) -> nn.Sequential:
    """Return ``layers``, then the mean over all pixels: what one expert computes, (N, D)."""
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(1))


def multi_expert(
    shared: nn.Module, expert: Callable[[], nn.Module], heads: Callable[[], ExpertHeads], *, experts: int
) -> MultiExpert:
    """Return a network of ``experts`` results of ``expert()``, made one after the other."""
    every = [expert() for _ in range(experts)]
    made = heads()
    return MultiExpert(shared, every, made, made.share.shape[1])


def check_experts(experts: int, expert_width: float) -> None:
    """Check both options of a network.

    Raises:
        TypeError, ValueError: if ``experts`` is not an integer in [1, 64], or ``expert_width`` not a number in (0, 1],
            or not 1 for a network without experts.
    """
    _checks.integer("experts", experts, least=1, most=MOST_EXPERTS)
    _checks.number("expert_width", expert_width, above=0, most=1)
    if experts == 1 and expert_width != 1:
        raise ValueError(f"expert_width must be 1 for one expert, got {expert_width}; give experts=3, or leave it out")


def narrowed(channels: int, expert_width: float) -> int:
    """Return the channels of a layer of an expert: a fraction of ``channels``, rounded, at least 1.

    Raises:
        TypeError, ValueError: if ``expert_width`` is not a number in (0, 1].
    """
    return max(1, round(channels * _checks.number("expert_width", expert_width, above=0, most=1)))
