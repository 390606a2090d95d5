"""Calling the caller's evaluation after an epoch, and taking plain numbers from it."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import nn

from lt_fast.training.history import OWN_COLUMNS

Evaluate: TypeAlias = Callable[[nn.Module], Mapping[str, float | None]]


def measure(evaluate: Evaluate | None, method: nn.Module) -> dict[str, float | None]:
    """Return what ``evaluate`` says of ``method``, in evaluation mode and without gradients.

    Raises:
        TypeError: if it gives something other than a mapping of names to numbers or None.
        ValueError: if it uses a name that the loop's own columns have.
    """
    if evaluate is None:
        return {}
    method.eval()
    with torch.no_grad():
        measured = evaluate(method)
    if not isinstance(measured, Mapping):
        raise TypeError(f"evaluate must return named numbers, got {type(measured).__name__}")
    return {name: _number(name, value) for name, value in measured.items()}


def _number(name: str, value: object) -> float | None:
    if name in OWN_COLUMNS:
        raise ValueError(f"evaluate must not use the names {', '.join(OWN_COLUMNS)}, got {name!r}; rename it")
    if value is None:
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"evaluate must return a number or None under each name, got {name}={value!r}") from None
