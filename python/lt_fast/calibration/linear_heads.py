"""Linear and cosine heads as numbers: taken apart, computed, begun anew, put into a copy of a model."""

import copy
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast.calibration.checks import checked_matrix
from lt_fast.calibration.heads import Model, head_path, named_head

_PROBED = 8

Start: TypeAlias = Literal["trained", "fresh"]
"""The first weights of a classifier that is trained again: the head's, or new ones."""


def head_logits(features: Tensor, weight: Tensor, bias: Tensor | None, *, cosine: bool) -> Tensor:
    """Return what a linear head ``(N, C)``, or a cosine head, makes of features ``(N, D)``."""
    if cosine:
        return F.linear(F.normalize(features, dim=1), F.normalize(weight, dim=1), bias)
    return F.linear(features, weight, bias)


def taken_apart(head: nn.Module, features: Tensor, num_classes: int) -> tuple[Tensor, Tensor | None, bool]:
    """Return copies of a head's weight and bias, and whether it is a cosine head, tested by its output.

    Raises:
        ValueError: if it has no weight of shape ``(C, D)``, or is neither linear nor cosine.
    """
    head = flattened(head)
    weight, bias = getattr(head, "weight", None), getattr(head, "bias", None)
    shape = (num_classes, features.shape[1])
    if not isinstance(weight, Tensor) or tuple(weight.shape) != shape:
        found = tuple(weight.shape) if isinstance(weight, Tensor) else None
        logits = shape[0] == shape[1]
        hint = "; these look like logits: pass what the head is given, or leave head out" if logits else ""
        raise ValueError(f"head must have a weight of shape {shape} for these features, got {found}{hint}")
    own = weight.detach().clone().to(features), None if bias is None else bias.detach().clone().to(features)
    probe = features[:_PROBED]
    with torch.no_grad():
        wanted = head(probe.to(weight.device, weight.dtype)).to(probe)
        for cosine in (False, True):
            if torch.allclose(head_logits(probe, *own, cosine=cosine), wanted, rtol=1e-3, atol=1e-4):
                return *own, cosine
    raise ValueError(f"head must be linear or cosine, got {type(head).__name__}, whose output is neither")


def beginning(
    head: nn.Module | None, features: Tensor, num_classes: int, *, start: Start, seed: int
) -> tuple[Tensor, Tensor | None, bool]:
    """Return the first weight, the first offsets or None, and whether the head is a cosine one.

    Without a head the classifier is new and linear, with offsets. New offsets are 0.

    Raises:
        ValueError: if the head is neither linear nor cosine, or of other features.
    """
    fresh = new_weight(num_classes, features, seed)
    if head is None:
        return fresh, torch.zeros(num_classes).to(features), False
    weight, bias, cosine = taken_apart(head, features, num_classes)
    if start == "fresh":
        return fresh, None if bias is None else torch.zeros_like(bias), cosine
    return weight, bias, cosine


def flattened(head: nn.Module) -> nn.Module:
    """Return the one linear layer that a head of several experts is on its features, or any other head itself."""
    one: Any = getattr(head, "flattened", None)
    return head if one is None else cast("nn.Module", one())


def new_weight(num_classes: int, like: Tensor, seed: int) -> Tensor:
    """Return a new weight ``(C, D)`` for features ``like`` ``(N, D)``, distributed as that of ``nn.Linear``."""
    return uniform((num_classes, like.shape[1]), like, seed)


def uniform(shape: tuple[int, ...], like: Tensor, seed: int) -> Tensor:
    """Return draws of a local generator in ``[-D**-0.5, D**-0.5)``, as ``nn.Linear`` has for features ``like``."""
    draw = torch.Generator().manual_seed(seed)
    drawn: Tensor = like.shape[1] ** -0.5 * (2 * torch.rand(shape, generator=draw) - 1)
    return drawn.to(like)


def with_weights(model: Model, weight: Tensor, bias: Tensor | None, *, head: str) -> Model:
    """Return a copy of ``model`` whose module called ``head`` has this weight and bias.

    Raises:
        ValueError: if there is no such module, or its weights have another shape.
    """
    changed = copy.deepcopy(model)
    inner = flattened(named_head(changed, head))
    changed.set_submodule(head_path(changed, head), inner)
    own = {"weight": getattr(inner, "weight", None), "bias": getattr(inner, "bias", None)}
    for name, part in (("weight", weight), ("bias", bias)):
        shapes = [None if each is None else tuple(each.shape) for each in (part, own[name])]
        if shapes[0] != shapes[1]:
            raise ValueError(f"model must have {name} {shapes[0]} in {head!r}, as was fitted, got {shapes[1]}")
        if part is not None:
            with torch.no_grad():
                own[name].copy_(part)  # type: ignore[union-attr]
    return changed


def features_for(head: nn.Module | None, features_or_logits: Any) -> Any:
    """Return features of the width that ``head`` takes, checked, or without a head the logits as they are.

    Raises:
        TypeError, ValueError: if shape or dtype is wrong.
        DataError: if a feature is not finite; names its row.
    """
    if head is None:
        return features_or_logits
    features, weight = checked_matrix(features_or_logits, name="features"), getattr(head, "weight", None)
    if isinstance(weight, Tensor) and weight.shape[-1] != features.shape[1]:
        rule = f"features must have {weight.shape[-1]} columns, as head takes, got {features.shape[1]}"
        hint = "; leave head out to fit logits" if features.shape[1] == len(weight) else ""
        raise ValueError(f"{rule}{hint}")
    return features
