"""The logits of each expert of a network, from the features that its head takes."""

from typing import Any

import torch
from torch import Tensor, nn

from lt_fast.calibration.checks import checked_matrix

FEWEST = 2


def expert_logits(head: Any, features: Tensor) -> Tensor:
    """Return the logits (N, E, C) of every expert for features (N, E * D), detached.

    Raises:
        ValueError: if ``head`` is none of several experts, or takes other features.
    """
    require_experts(head)
    given = checked_matrix(features, name="features")
    first = next(head.parameters())
    if given.shape[1] != head.weight.shape[1]:
        raise ValueError(f"features must have {head.weight.shape[1]} columns, as head takes, got {given.shape[1]}")
    with torch.no_grad():
        logits: Tensor = head.each(given.to(first)).to(given.device)
    return logits


def require_experts(head: nn.Module | None) -> None:
    """Raise unless ``head`` is one of several experts.

    Raises:
        ValueError: naming what it is.
    """
    if getattr(head, "num_experts", 1) < FEWEST or not hasattr(head, "each"):
        found = "None" if head is None else type(head).__name__
        raise ValueError(f"head must be that of several experts, got {found}; train with --set model.experts=3")
