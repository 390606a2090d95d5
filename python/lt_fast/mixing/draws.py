"""The two random things in a mixed batch, the partner and the factor, as pure functions of (seed, epoch, step)."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_fast import _rust
from lt_fast import _hints as hints

# Every step owns 2^32 consecutive draws, so no batch size makes two steps of an epoch share one.
DRAWS_PER_STEP = 1 << 32


def partner_positions(batch_size: int, *, seed: int, epoch: int, step: int) -> NDArray[np.int64]:
    """Return a uniformly random permutation of ``range(batch_size)``. O(B log B).

    Ranks of independent uniform draws; two of B draws are equal with probability below ``B**2 / 2**54``, and then the
    earlier one comes first.
    """
    draws = _rust.uniform(seed, _rust.STREAM_PARTNER, epoch, step * DRAWS_PER_STEP, batch_size)
    return np.argsort(draws, kind="stable")


def beta_factors(
    alpha: float, batch_size: int, *, per_sample: bool, seed: int, epoch: int, step: int
) -> NDArray[np.float32]:
    """Return (B,) draws of Beta(alpha, alpha): one for the whole batch, or one a sample."""
    count = batch_size if per_sample else 1
    draws = _rust.beta(alpha, alpha, seed, _rust.STREAM_MIX, epoch, step * DRAWS_PER_STEP, count)
    factors = draws.astype(np.float32)
    return factors if per_sample else np.repeat(factors, batch_size)


def require_number(name: str, value: object) -> None:
    """Raise ``TypeError`` unless ``value`` is a number, or a tensor of one; a bool and a string are none."""
    of_one = isinstance(value, Tensor) and value.numel() == 1
    if isinstance(value, bool) or not (of_one or isinstance(value, (int, float, np.integer, np.floating))):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")


def checked_alpha(alpha: float) -> float:
    """Return ``alpha``; raise ``ValueError`` unless Beta(alpha, alpha) exists."""
    require_number("alpha", alpha)
    if not (math.isfinite(alpha) and alpha > 0):
        hint = "; leave the mixer out to train without mixing" if alpha == 0 else ""
        raise ValueError(f"alpha must be finite and > 0, got {alpha}{hint}")
    return float(alpha)


def checked_key(*, seed: int, epoch: int = 0, step: int = 0) -> None:
    """Raise unless ``seed`` is a whole number in [0, 2^64), ``epoch`` and ``step`` in [0, 2^32)."""
    for name, value, bits in (("seed", seed, 64), ("epoch", epoch, 32), ("step", step, 32)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
            raise TypeError(f"{name} must be a whole number, got {type(value).__name__}")
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name} must be in [0, 2**{bits}), got {value}")


def checked_target(target: Tensor, name: str = "target", *, num_classes: int | None = None) -> Tensor:
    """Return ``target``; raise unless it is a one-dimensional tensor of integer class indices below ``num_classes``."""
    if not isinstance(target, Tensor):
        raise TypeError(
            f"{name} must be a tensor of class indices, got {type(target).__name__}"
            f"{hints.for_labels_type(name, target)}"
        )
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        hint = _ONE_LABEL.format(name=name) if target.ndim > 1 else hints.for_labels_dtype(name, target, target)
        raise TypeError(f"{name} must hold class indices (int64), got {target.dtype}{hint}")
    if target.ndim != 1:
        several = target.ndim > 1 and target.numel() != len(target)
        hint = _ONE_LABEL.format(name=name) if several else f"; use {name}.reshape(-1)"
        raise ValueError(
            f"{name} must be one-dimensional, one class index a sample, got shape {tuple(target.shape)}{hint}"
        )
    if num_classes is not None:
        _check_labels(target, name, num_classes)
    return target


_ONE_LABEL = "; mix before labels are made soft: for one-hot labels pass {name}.long().argmax(1)"


def _check_labels(target: Tensor, name: str, num_classes: int) -> None:
    if target.device.type != "cpu" or target.numel() == 0 or torch.compiler.is_compiling():
        return
    outside = ((target < 0) | (target >= num_classes)).nonzero()
    if len(outside):
        at = int(outside[0])
        hint = hints.for_label_value(name, target, num_classes, rows="x")
        raise ValueError(f"{name} must lie in [0, {num_classes}), got {int(target[at])} at position {at}{hint}")
