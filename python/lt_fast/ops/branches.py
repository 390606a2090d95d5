"""For losses whose maths the fused op has not: what it does with labels, factors and weights, round any row loss.

Plain torch, several matrices of the logits' size; arguments, messages and mixing are the op's own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lt_fast.ops import reference
from lt_fast.ops.options import MarginOptions

RowLoss = Callable[[Tensor, Tensor], Tensor]
"""``(logits (N, C), label (N,)) -> (N,)``: the loss of each row against one label, in the arithmetic dtype."""


def mixed_loss(
    row_loss: RowLoss,
    logits: Tensor,
    target: Tensor,
    *,
    target_b: Tensor | None = None,
    lam: Tensor | float | None = None,
    class_counts: Any = None,
    weight: Any = None,
    label_rule: str = "mixup",
    omega: float = 0.25,
    normalization: str = "expected",
    reduction: str = "mean",
) -> Tensor:
    """Mix, weigh and reduce ``row_loss`` as ``mixed_margin_loss`` does its own cross entropy.

    For two labels ``f * weight[a] * row_loss(logits, a) + (1 - f) * weight[b] * row_loss(logits, b)`` with the label
    factor f that ``label_rule`` makes of ``lam``. Its gradient is torch's own.

    Args:
        row_loss: gets the logits in float32, or float64 for float64 logits, and the labels of one image.
        logits: as for ``mixed_margin_loss``, and so are all arguments that follow.
        target: labels, those of the first image where two are mixed.
        target_b: labels of the second image; needs ``lam``.
        lam: factor of the first image, in [0, 1].
        class_counts: training samples per class.
        weight: one factor a class.
        label_rule: how ``lam`` becomes the label factor.
        omega: exponent of ``"mam"``.
        normalization: what ``reduction="mean"`` divides by.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Shape:
        logits (N, C); target, target_b and lam (N,); class_counts and weight (C,); returns a scalar, or (N,).

    Raises:
        TypeError: if an argument has a wrong type or dtype.
        ValueError: if a shape, device or value does not fit.
    """
    options = MarginOptions(label_rule, omega, normalization=normalization, reduction=reduction)
    return reference.mixed_loss(
        row_loss, options, logits, target, target_b, lam, class_counts=class_counts, weight=weight
    )


def mixed_labels(
    logits: Tensor,
    target: Tensor,
    *,
    target_b: Tensor | None = None,
    lam: Tensor | float | None = None,
    class_counts: Any = None,
    label_rule: str = "mixup",
    omega: float = 0.25,
) -> Tensor:
    """Return the labels as a distribution over the classes: one-hot, or ``f * one_hot(a) + (1 - f) * one_hot(b)``.

    Shape:
        as ``mixed_loss``; returns (N, C) of the arithmetic dtype.

    Raises:
        TypeError: if an argument has a wrong type or dtype.
        ValueError: if a shape, device or value does not fit.
    """
    options = MarginOptions(label_rule, omega)
    return reference.mixed_labels(options, logits, target, target_b, lam, class_counts=class_counts)


row_cross_entropy = reference.row_cross_entropy
