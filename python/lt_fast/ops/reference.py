"""The op in plain torch: to be read next to the formulas, compared with, and used where no library fits.

It writes every intermediate matrix, so it is several times slower. Losses whose maths the op does not have use the
functions at the end.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from lt_fast._tensors import arithmetic_dtype
from lt_fast.ops import arguments
from lt_fast.ops.arguments import Arguments
from lt_fast.ops.options import MarginOptions

RowLoss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""``(logits (N, C), label (N,)) -> (N,)``: the loss of each row against one label, in the arithmetic dtype."""


def mixed_margin_loss(
    logits: Tensor, target: Tensor, *, target_b: Tensor | None = None, lam: Tensor | float | None = None,
    sample_weight: Tensor | float | None = None, class_counts: Any = None, margin: Any = None, bias: Any = None,
    weight: Any = None, return_gradient: bool = False, return_prediction: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Equals ``lt_fast.ops.mixed_margin_loss``, errors included; plain torch, which can be differentiated twice.

    O(N * C) time, about ten matrices of the logits' size.
    """
    checked = MarginOptions(**options)
    vectors = {"class_counts": class_counts, "margin": margin, "bias": bias, "weight": weight}
    given = arguments.gather(logits, target, checked, target_b, lam, sample_weight, **vectors)
    if return_gradient:
        checked.require_reduced()
    return results_of(given, checked, return_gradient, return_prediction)


def results_of(given: Arguments, options: MarginOptions, return_gradient: bool, return_prediction: bool) -> Any:
    """Compute the loss and what is wanted with it."""
    prediction = (given.logits.argmax(1),) if return_prediction else ()
    if not return_gradient:
        return (loss_of(given, options), *prediction) if prediction else loss_of(given, options)
    _check_values(given, options)  # in the transform below values cannot be read
    gradient, loss = _gradient_and_loss(given, options)
    return loss, gradient, *prediction


def _gradient_and_loss(given: Arguments, options: MarginOptions) -> tuple[Tensor, Tensor]:
    if not torch.compiler.is_compiling() and torch.is_inference_mode_enabled():
        # Older releases of torch give zeros for a gradient there.
        with torch.inference_mode(False):
            tensors = {f.name: getattr(given, f.name) for f in fields(given)}
            recordable = {name: tensor.clone() for name, tensor in tensors.items() if tensor is not None}
            return _gradient_and_loss(replace(given, **recordable), options)
    both = torch.func.grad_and_value(lambda logits: loss_of(replace(given, logits=logits), options))
    return both(given.logits.detach())


def loss_of(given: Arguments, options: MarginOptions, row_loss: RowLoss | None = None) -> Tensor:
    """Compute the loss of arguments that have been gathered; ``row_loss`` replaces ``branch_loss``."""
    _check_values(given, options)
    logits = given.logits.to(arithmetic_dtype(given.logits))
    # Not `or`: torch 2.12's compiler cannot ask a nested function whether it is true.
    row_loss = row_loss if row_loss is not None else lambda scores, label: branch_loss(scores, label, given, options)
    factor = label_factor(given, options)
    factors = _weighted(factor, given.target, given)
    losses = cost(row_loss(logits, given.target), factors)
    if given.target_b is not None:
        factors_b = _weighted(1 - factor, given.target_b, given)
        losses = losses + cost(row_loss(logits, given.target_b), factors_b)
        factors = factors + factors_b
    return reduced(losses, factors, given, options)


def _check_values(given: Arguments, options: MarginOptions) -> None:
    if given.logits.device.type == "cpu" and not torch.compiler.is_compiling() and not arguments.transformed():
        arguments.check_values(given, options)


def label_factor(given: Arguments, options: MarginOptions) -> Tensor:
    """Return the weight of the first label, (N,), from ``lam`` and the counts of both labels."""
    if given.lam is None or given.target_b is None:
        return torch.ones_like(given.target, dtype=arithmetic_dtype(given.logits))
    lam = given.lam.expand(len(given.target))
    rule = options.label_rule
    if rule == "mixup" or given.class_counts is None:
        return lam
    n_a, n_b = given.class_counts[given.target], given.class_counts[given.target_b]
    if rule == "mam":
        # Within e^80 both b and 1 - b are numbers above 0, in float32 too: 0 / 0 has no factor in it.
        power = (options.omega * (n_b / n_a).log()).clamp(-80, 80).exp()
        b, a = 1 / (1 + power), power / (1 + power)
        return torch.where(lam < b, lam / (2 * b), 1 - (1 - lam) / (2 * a))
    if rule == "remix":
        to_b = (n_a >= options.kappa * n_b) & (lam < options.tau)
        to_a = (n_b >= options.kappa * n_a) & (1 - lam < options.tau)
        return torch.where(to_b, 0, torch.where(to_a, 1, lam))
    if rule == "unimix":
        shifted = lam + n_b / (n_a + n_b)
        return torch.where(shifted > 1, shifted - 1, shifted)
    return (1 - options.tau) * lam + options.tau * n_b / (n_a + n_b)  # cp_mix


def margin_of(logits: Tensor, label: Tensor, given: Arguments, options: MarginOptions) -> Tensor:
    """Return the margin of each row's label, (N,), before scaling; a constant for the gradient."""
    fixed = torch.zeros_like(logits[:, 0]) if given.margin is None else given.margin[label]
    if options.max_margin is None or options.gamma is None or len(label) == 0:
        return fixed
    z = logits.detach()
    own = is_own(label, z)
    if options.compat is None:
        gap = z.gather(1, label[:, None])[:, 0] - z.masked_fill(own, -torch.inf).amax(1)
    else:  # the score of the batch's first label for every row, and 0 in the place of the own class
        gap = z[:, label[0]] - z.masked_fill(own, 0.0).amax(1)
    return maximum_margin(gap, options.max_margin - fixed, options.gamma)


def maximum_margin(gap: Tensor, offset: Tensor, gamma: float) -> Tensor:
    """Return the margin that follows from the gap between the own logit and the largest other."""
    right, left = torch.exp(-gap - gamma * offset), torch.exp(gap - offset)
    return torch.where(gap > 0, right, torch.where(gap < 0, left, 0.0))


def is_own(label: Tensor, logits: Tensor) -> Tensor:
    """Return where each row's own column is, (N, C) bool: one-hot labels that ``torch.func.vmap`` can make, too."""
    return label[:, None] == torch.arange(logits.shape[1], device=logits.device)


def branch_loss(logits: Tensor, label: Tensor, given: Arguments, options: MarginOptions) -> Tensor:
    """Return the cross entropy of each row against one label, (N,), before weights."""
    # Not a product with the one-hot labels: a margin may be infinite, and 0 times infinity is NaN.
    shrink = torch.where(is_own(label, logits), margin_of(logits, label, given, options)[:, None], 0.0)
    scores = options.scale * (logits - shrink)
    if given.bias is not None:
        scores = scores + given.bias
    log_p = F.log_softmax(scores, dim=1)
    own = -log_p.gather(1, label[:, None])[:, 0]
    return smoothed_and_focused(own, lambda: -log_p.mean(1), options)


def smoothed_and_focused(own: Tensor, uniform: Callable[[], Tensor], options: MarginOptions) -> Tensor:
    """Return the loss from the cross entropy of the label, ``own``, and the mean of those of all classes."""
    loss = own
    if options.label_smoothing > 0:
        loss = (1 - options.label_smoothing) * own + options.label_smoothing * uniform()
    if options.focal_gamma > 0:
        miss = -torch.expm1(-own)
        certain = miss <= 0  # a power below 1 has an infinite slope there
        impossible = own == torch.inf  # p is 0: the slope of the power, times an infinite loss, would be NaN
        modulation = torch.where(certain | impossible, 1.0, miss) ** options.focal_gamma
        loss = modulation * torch.where(certain | (modulation == 0), 0.0, loss)
    return loss


def _weighted(factor: Tensor, label: Tensor, given: Arguments) -> Tensor:
    if given.weight is not None:
        factor = factor * given.weight[label]
    return factor if given.sample_weight is None else factor * given.sample_weight


def cost(loss: Tensor, factor: Tensor) -> Tensor:
    """Return ``factor * loss``; a factor of 0 makes also an infinite loss 0."""
    return torch.where((factor == 0) & loss.isinf(), 0.0, factor * loss)


def reduced(losses: Tensor, factors: Tensor, given: Arguments, options: MarginOptions) -> Tensor:
    """Return the losses of the rows, (N,), whose weights add up to ``factors``, (N,), as ``reduction`` asks for."""
    if options.reduction == "none":
        return losses
    if options.reduction == "sum":
        return losses.sum()
    if options.normalization == "weights":
        return losses.sum() / factors.sum()
    mean = losses.sum() / max(len(losses), 1)
    if options.normalization == "batch" or given.weight is None or given.class_counts is None:
        return mean
    return mean / ((given.class_counts * given.weight).sum() / given.class_counts.sum())


# --- losses with another row loss -------------------------------------------------------------------------------------


def mixed_loss(
    row_loss: RowLoss, options: MarginOptions, logits: Tensor, target: Tensor, target_b: Tensor | None = None,
    lam: Tensor | float | None = None, sample_weight: Tensor | None = None, *, class_counts: Any = None,
    weight: Any = None,
) -> Tensor:  # fmt: skip
    """Mix, weight and reduce ``row_loss`` as ``mixed_margin_loss`` does with its own cross entropy.

    Arguments, shapes, messages and mixing are those of ``mixed_margin_loss``; the gradient is torch's own. ``row_loss``
    gets the logits in float32, or float64 for float64 logits, and the labels of one image.
    """
    vectors = {"class_counts": class_counts, "weight": weight}
    given = arguments.gather(logits, target, options, target_b, lam, sample_weight, **vectors)
    return loss_of(given, options, row_loss)


def mixed_labels(
    options: MarginOptions, logits: Tensor, target: Tensor, target_b: Tensor | None = None,
    lam: Tensor | float | None = None, *, class_counts: Any = None,
) -> Tensor:  # fmt: skip
    """Return the labels as a distribution over the classes, (N, C): one-hot, or a mixture of two one-hot rows."""
    given = arguments.gather(logits, target, options, target_b, lam, class_counts=class_counts)
    _check_values(given, options)
    factor = label_factor(given, options)[:, None]
    labels = factor * is_own(given.target, logits)
    return labels if given.target_b is None else labels + (1 - factor) * is_own(given.target_b, logits)
