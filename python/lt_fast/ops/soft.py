"""The loss against a distribution over the labels of each row: soft targets, (N, C).

It is the expectation of the loss of one label, ``sum_c soft_c * weight_c * loss(logits, c)``, of which two labels with
their factors are a case. Rows of at most two labels are computed as that case; others here, in plain torch, by the
losses of every class at once in O(N * C).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lt_fast import _tensors
from lt_fast.ops import arguments, reference
from lt_fast.ops.arguments import Arguments
from lt_fast.ops.mixed_margin import stacked_margin_loss
from lt_fast.ops.options import MarginOptions

_THIRD = 1e-6  # more than the rounding error of a smoothed label
_SUM = 0.01  # more than the rounding error of a sum of bfloat16 shares


class TwoLabels(NamedTuple):
    """The two largest shares of each row: labels, the first one's part of their sum, and that sum; (N,) each.

    A row with one label has it twice, so that no label rule gives another label a share.
    """

    target: Tensor
    target_b: Tensor
    lam: Tensor
    total: Tensor


def largest_two(soft: Tensor) -> TwoLabels:
    """Return the two largest shares of each row of ``soft``, (N, C) >= 0; nothing waits for a device."""
    shares, labels = soft.topk(2, dim=1)
    first, second = labels.unbind(1)
    total = shares.sum(1)
    lam = shares[:, 0] / total.clamp_min(torch.finfo(soft.dtype).tiny)
    return TwoLabels(first, second.where(shares[:, 1] > 0, first), lam, total)


def most_labels(soft: Tensor, above: float = 0.0) -> Tensor:
    """Return how many labels the row with the most of them has, and which row that is, (2,) int64; of N > 0 rows."""
    number = (soft > above).sum(1)
    return torch.stack([number.amax(), number.argmax()])


def has_two_labels(soft: Tensor) -> bool:
    """Return whether no row has more than two labels; reads the values, for which the host waits for a GPU."""
    return soft.shape[1] <= 2 or not bool(soft.topk(3, dim=1).values[:, 2].any())  # noqa: PLR2004


def checked(soft: Tensor, logits: Tensor) -> Tensor:
    """Return soft targets of the logits' shape (N, C) in the dtype of the arithmetic.

    Raises:
        TypeError: for logits of a wrong dtype.
        ValueError: for logits that are not (N, C), another device or a gradient; on the CPU for a share < 0, or a sum
            of a row that is not 1 to 1 %.
    """
    _tensors.check_logits(logits, soft)
    _tensors.refuse_gradient("target", soft)
    _tensors.require_same_device("target", soft, logits)
    soft = soft.to(_tensors.arithmetic_dtype(logits))
    if _tensors.readable(soft):
        check_shares(soft)
    return soft


def are_distributions(soft: Tensor, dim: int) -> bool:
    """Return whether all entries are >= 0 and sum to 1 over a dimension, to 1 %; reads the values."""
    return bool((soft >= 0).all()) and bool(((soft.sum(dim) - 1).abs() <= _SUM).all())


def check_shares(soft: Tensor) -> None:
    """Raise ``ValueError`` for soft targets (N, C) with a share < 0, or a row whose sum is not 1 to 1 %."""
    wrong = ~(soft >= 0)
    if bool(wrong.any()):
        at, label = wrong.nonzero()[0].tolist()
        raise ValueError(f"target must be >= 0 in every class, got {float(soft[at, label]):g} in row {at}")
    total = soft.sum(1)
    off = (total - 1).abs() > _SUM
    if bool(off.any()):
        at = int(off.nonzero()[0])
        hint = _of_other_sum(soft[at], float(total[at]))
        raise ValueError(f"target must sum to 1 over the classes, got {float(total[at]):g} in row {at}{hint}")


def _of_other_sum(row: Tensor, total: float) -> str:
    if total == 0:
        return "; leave rows without a label out: keep = target.sum(1) > 0, then logits[keep] and target[keep]"
    if bool(((row == 0) | (row == 1)).all()):
        return "; for several labels of one image use a binary loss, such as lt_fast.losses.MultiLabelBCELoss"
    return "; divide it by its sum over the classes"


def soft_margin_loss(options: MarginOptions, rows: Tensor, logits: Tensor, soft: Tensor) -> Tensor:
    """Equals ``stacked_margin_loss``, in expectation over the labels of ``soft``, (N, C), which ``checked`` returned.

    Raises:
        ValueError: for ``compat``, and for a label rule that has no meaning for these labels.
    """
    if options.compat is not None:
        raise ValueError(
            f"compat must be None for soft targets, got {options.compat!r}: it repeats code for one label per row"
        )
    if _tensors.readable(soft) and has_two_labels(soft):
        loss: Tensor = stacked_margin_loss(options, rows, logits, *largest_two(soft))
        return loss
    return soft_loss(lambda scores, given: every_margin_loss(scores, given, options), options, logits, soft, rows)


def soft_loss(
    every_loss: Callable[[Tensor, Arguments], Tensor],
    options: MarginOptions,
    logits: Tensor,
    soft: Tensor,
    rows: Tensor,
) -> Tensor:
    """Weight and reduce the losses of every class, (N, C), which ``every_loss`` computes of the logits.

    ``every_loss`` gets the logits in the dtype of the arithmetic, and the arguments of the call.
    """
    given = _gathered(options, logits, soft, options.by_name(rows))
    factors = shares(soft, given, options)
    if given.weight is not None:
        factors = factors * given.weight
    losses = every_loss(logits.to(soft.dtype), given)
    return reference.reduced(reference.cost(losses, factors).sum(1), factors.sum(1), given, options)


def soft_labels(options: MarginOptions, logits: Tensor, soft: Tensor, class_counts: Tensor) -> Tensor:
    """Return ``soft`` as the label rule changes it, (N, C)."""
    return shares(soft, _gathered(options, logits, soft, {"class_counts": class_counts}), options)


def _gathered(options: MarginOptions, logits: Tensor, soft: Tensor, vectors: dict[str, Any]) -> Arguments:
    two = largest_two(soft)
    return arguments.gather(logits, two.target, options, two.target_b, two.lam, **vectors)


def shares(soft: Tensor, given: Arguments, options: MarginOptions) -> Tensor:
    """Return the share of each label, (N, C), in which a label rule changes those of the two mixed labels.

    A uniform part, as label smoothing gives it, keeps its size: the rule is about the rest.
    """
    if options.label_rule == "mixup":
        return soft
    uniform = soft.amin(1, keepdim=True) if soft.shape[1] > 2 else torch.zeros_like(soft[:, :1])  # noqa: PLR2004
    rest = soft - uniform
    if _tensors.readable(rest) and len(rest):
        _require_two_mixed(rest, options.label_rule)
    two = largest_two(rest)
    mixed = replace(given, target=two.target, target_b=two.target_b, lam=two.lam)
    factor = reference.label_factor(mixed, options)
    first, second = (two.total * factor)[:, None], (two.total * (1 - factor))[:, None]
    labels = first * reference.is_own(two.target, soft) + second * reference.is_own(two.target_b, soft)
    return uniform + labels


def _require_two_mixed(rest: Tensor, rule: str) -> None:
    number, at = most_labels(rest, _THIRD).tolist()
    if number > 2:  # noqa: PLR2004
        raise ValueError(
            f"target must mix at most two labels, beside a uniform share, for label_rule={rule!r}, got {number} in row "
            f"{at}; make the loss with label_rule='mixup', which takes the shares as they are"
        )


# --- the loss of every class ------------------------------------------------------------------------------------------


def every_margin_loss(logits: Tensor, given: Arguments, options: MarginOptions) -> Tensor:
    """Return ``reference.branch_loss`` of each row against every class, (N, C): column c is the loss of label c."""
    scores = options.scale * logits
    if given.bias is not None:
        scores = scores + given.bias
    if given.margin is None and options.max_margin is None:
        own = -F.log_softmax(scores, dim=1)
        return reference.smoothed_and_focused(own, lambda: own.mean(1, keepdim=True), options)
    scores = scores - scores.detach().amax(1, keepdim=True)  # so that large scores keep their digits
    shrink = options.scale * _every_margin(logits, given, options)
    moved = scores - shrink
    own = F.softplus(log_sum_of_others(scores) - moved, threshold=50)
    mean = (scores.sum(1, keepdim=True) - shrink) / scores.shape[1]
    return reference.smoothed_and_focused(own, lambda: own + moved - mean, options)


def _every_margin(logits: Tensor, given: Arguments, options: MarginOptions) -> Tensor:
    """Return ``reference.margin_of`` for every class, (C,) or (N, C)."""
    fixed = logits.new_zeros(logits.shape[1]) if given.margin is None else given.margin
    if options.max_margin is None or options.gamma is None:
        return fixed
    z = logits.detach()
    largest = z.topk(2, dim=1)
    gap = z - largest.values[:, :1].where(~reference.is_own(largest.indices[:, 0], z), largest.values[:, 1:])
    return reference.maximum_margin(gap, options.max_margin - fixed, options.gamma)


def log_sum_of_others(scores: Tensor) -> Tensor:
    """Equals ``scores.masked_fill(own, -inf).logsumexp(1)`` for every class as the own one, (N, C).

    Only the sum without the largest score could cancel: it is summed by itself.
    """
    largest, label = scores.max(1, keepdim=True)
    first = reference.is_own(label[:, 0], scores)
    others = scores.masked_fill(first, -torch.inf)
    powers = (others - largest).exp()
    rest = (powers.sum(1, keepdim=True) - powers).clamp_min(0)
    return torch.where(first, log_sum(others), largest + rest.log1p())


def log_sum(scores: Tensor) -> Tensor:
    """Equals ``scores.logsumexp(1, keepdim=True)``, with a slope for scores that are -inf alone."""
    largest = scores.detach().amax(1, keepdim=True).clamp_min(torch.finfo(scores.dtype).min)
    # A sum of nothing: log(0) has no slope. The smallest normal number adds less than any rounding error.
    return ((scores - largest).exp().sum(1, keepdim=True) + torch.finfo(scores.dtype).tiny).log() + largest
