"""Make a classifier head by name, and replace the head of a model."""

import copy
from collections.abc import Callable
from typing import TypeVar

from torch import nn

from lt_fast import _checks
from lt_fast.models.cosine_head import CosineHead

HEADS: dict[str, Callable[[int, int], nn.Module]] = {"linear": nn.Linear, "cosine": CosineHead}

Model = TypeVar("Model", bound=nn.Module)


def make_head(head: str, in_features: int, num_classes: int) -> nn.Module:
    """Return a ``"linear"`` or ``"cosine"`` head from D features to C classes, initialised by its constructor.

    Raises:
        ValueError: if ``head`` is another name.
    """
    return HEADS[_checks.choice("head", head, HEADS)](in_features, num_classes)


def swap_head(model: Model, head: nn.Module) -> Model:
    """Return ``model`` with another head; both share the features, and ``model`` keeps its own head.

    For a calibrated head, or the same backbone with a new classifier. Training the features of one trains both.

    Args:
        model: any module whose classifier is its attribute ``head``.
        head: takes what ``model.head`` takes; when both have a ``weight``, the number of inputs must agree.

    Raises:
        ValueError: if ``model`` has no ``head``, or the numbers of inputs differ.
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
