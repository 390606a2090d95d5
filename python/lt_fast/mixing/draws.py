"""The random numbers of a mixed batch, each a pure function of (seed, epoch, step); checks that mixers share."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_fast import _hints as hints
from lt_fast import _rust
from lt_fast._checks import integer, number

# Every step owns 2^32 consecutive draws of a stream, so no batch size makes two steps of an epoch share one. Partners
# use the first half of them, boxes the second.
DRAWS_PER_STEP = 1 << 32
_MAX_KEY = (1 << 32) - 1


def partner_positions(batch_size: int, *, seed: int, epoch: int, step: int) -> NDArray[np.int64]:
    """Return a uniformly random permutation of ``range(batch_size)``. O(B log B).

    Ranks of independent uniform draws; two of B draws are equal with probability below ``B**2 / 2**54``, and then the
    earlier one comes first.
    """
    draws = _rust.uniform(seed, _rust.STREAM_PARTNER, epoch, step * DRAWS_PER_STEP, batch_size)
    return np.argsort(draws, kind="stable")


def beta_coefficients(
    alpha: float, batch_size: int, *, per_sample: bool, seed: int, epoch: int, step: int
) -> NDArray[np.float32]:
    """Return (B,) draws of Beta(alpha, alpha): one for the whole batch, or one per sample."""
    count = batch_size if per_sample else 1
    draws = _rust.beta(alpha, alpha, seed, _rust.STREAM_MIX, epoch, step * DRAWS_PER_STEP, count)
    coefficients = draws.astype(np.float32)
    return coefficients if per_sample else np.repeat(coefficients, batch_size)


def box_draws(batch_size: int, *, per_sample: bool, seed: int, epoch: int, step: int) -> NDArray[np.float64]:
    """Return (B, 3) uniform draws in [0, 1): the same three for the whole batch, or three per sample."""
    count = batch_size if per_sample else 1
    first = step * DRAWS_PER_STEP + DRAWS_PER_STEP // 2
    draws = _rust.uniform(seed, _rust.STREAM_PARTNER, epoch, first, 3 * count).reshape(-1, 3)
    return draws if per_sample else np.repeat(draws, batch_size, axis=0)


def checked_alpha(alpha: float) -> float:
    """Return ``alpha``; raise unless Beta(alpha, alpha) exists."""
    hint = "; leave the mixer out to train without mixing" if isinstance(alpha, int | float) and alpha == 0 else ""
    return number("alpha", alpha, above=0, hint=hint)


def checked_key(*, epoch: int, step: int) -> None:
    """Raise unless ``epoch`` and ``step`` are integers in [0, 2^32)."""
    integer("epoch", epoch, least=0, most=_MAX_KEY)
    integer("step", step, least=0, most=_MAX_KEY)


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
