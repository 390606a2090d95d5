"""Make a classifier head by name, and replace the head of a model."""

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from lt_fast import _checks
from lt_fast.models.cosine_head import CosineHead

HEADS: dict[str, Callable[[int, int], nn.Module]] = {"linear": nn.Linear, "cosine": CosineHead}

Model = TypeVar("Model", bound=nn.Module)


class UniformLinear(nn.Linear):
    """``nn.Linear`` whose first weights from a seed are those of its own constructor: uniform in ``1 / sqrt(D)``."""

    def fill(self, generator: torch.Generator) -> None:
        """Sample weight and offsets uniformly from ``[-1 / sqrt(D), 1 / sqrt(D)]``."""
        bound = self.in_features**-0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)


def make_head(head: str, in_features: int, num_classes: int, *, bias: bool = True, uniform: bool = False) -> nn.Module:
    """Return a ``"linear"`` or ``"cosine"`` head from D features to C classes, initialised by its constructor.

    Args:
        head: which.
        in_features: D.
        num_classes: C.
        bias: of a linear head; a cosine has none.
        uniform: whether ``models.initialization`` fills a linear head as ``nn.Linear`` does itself.

    Raises:
        ValueError: if ``head`` is another name.
    """
    make = HEADS[_checks.choice("head", head, HEADS)]
    if make is not nn.Linear:
        return make(in_features, num_classes)
    return (UniformLinear if uniform else nn.Linear)(in_features, num_classes, bias=bias)


def swap_head(model: Model, head: nn.Module) -> Model:
    """Return ``model`` with another head; both share the features, and ``model`` keeps its own head.

    For a calibrated head, or the same backbone with a new classifier. Training the features of one trains both.

    Args:
        model: any module whose classifier is its attribute ``head``.
        head: takes what ``model.head`` takes; when both have a ``weight``, the number of inputs must agree.

    Raises:
        ValueError: if ``model`` has no ``head``, or the numbers of inputs differ.

    >>> from lt_fast.models import CosineHead, digits_net
    >>> model = digits_net(10, seed=0)
    >>> other = swap_head(model, CosineHead(64, 5))
    >>> other.num_classes, model.num_classes, other.head
    (5, 10, CosineHead(in_features=64, num_classes=5))
    """
    if not isinstance(getattr(model, "head", None), nn.Module):
        raise ValueError(f"model must have a module named 'head', got {type(model).__name__} without one")  # noqa: TRY004
    before, after = (getattr(each, "weight", None) for each in (model.head, head))
    if before is not None and after is not None and before.shape[1] != after.shape[1]:
        raise ValueError(f"head must take {before.shape[1]} features, as the one it replaces, got {after.shape[1]}")
    swapped = copy.copy(model)
    swapped._modules = {**model._modules, "head": head}  # noqa: SLF001  (nn.Module has no shallow copy of its own)
    if after is not None and hasattr(model, "num_classes"):
        swapped.num_classes = after.shape[0]
    return swapped
