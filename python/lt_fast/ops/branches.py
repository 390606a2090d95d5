"""For losses whose maths the fused op has not: what it does with labels, factors and weights, round any row loss.

Plain torch, several matrices of the logits' size; arguments, messages and mixing are the op's own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lt_fast.ops import arguments, reference
from lt_fast.ops.arguments import Arguments, Settings

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
    given, chosen = _gathered(
        logits, target, target_b, lam, class_counts, weight, label_rule, omega, normalization, reduction
    )
    return reference.loss_of(given, chosen, lambda scores, label, *_: row_loss(scores, label))


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
    given, chosen = _gathered(
        logits, target, target_b, lam, class_counts, None, label_rule, omega, "batch", "mean"
    )  # fmt: skip
    if logits.device.type == "cpu" and not torch.compiler.is_compiling() and not arguments.transformed():
        arguments.check_values(given, chosen)
    factor = reference.label_factor(given, chosen)[:, None]
    labels = factor * reference.is_own(given.target, logits)
    return labels if given.target_b is None else labels + (1 - factor) * reference.is_own(given.target_b, logits)


def row_cross_entropy(scores: Tensor, label: Tensor) -> Tensor:
    """Equals ``F.cross_entropy(scores, label, reduction="none")``, with a gradient that keeps its digits where p is 1.

    The label's own column stays out of the sum: ``log(1 + exp(logsumexp_{j != y}(z_j) - z_y))``, whose gradient has no
    ``p - 1`` in it. The sum is taken relative to its largest term, so that scores of 1e4 lose nothing either.

    Shape:
        scores (N, C), -inf allowed; label (N,) int64; returns (N,).
    """
    own = scores.gather(1, label[:, None])
    others = scores.masked_fill(reference.is_own(label, scores), -torch.inf)
    largest = others.detach().amax(1, keepdim=True).clamp_min(torch.finfo(scores.dtype).min)
    # A sum of nothing: log(0) has no slope. The smallest normal number adds less than any rounding error.
    total = (others - largest).exp().sum(1, keepdim=True) + torch.finfo(scores.dtype).tiny
    return F.softplus(total.log() + (largest - own), threshold=50)[:, 0]


def _gathered(
    logits: Tensor,
    target: Tensor,
    target_b: Tensor | None,
    lam: Any,
    class_counts: Any,
    weight: Any,
    label_rule: str,
    omega: float,
    normalization: str,
    reduction: str,
) -> tuple[Arguments, Settings]:
    kappa, tau, compat, scale, smoothing, focal = 3.0, 0.5, None, 1.0, 0.0, 0.0
    chosen = arguments.settings(
        label_rule, omega, kappa, tau, "fixed", None, None, compat, scale, smoothing, focal, normalization, reduction
    )
    given = arguments.gather(
        logits, target, chosen, target_b=target_b, lam=lam, class_counts=class_counts, weight=weight,
        margin=None, bias=None, sample_weight=None,
    )  # fmt: skip
    return given, chosen
