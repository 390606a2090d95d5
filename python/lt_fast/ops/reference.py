"""The op in plain torch: to be read beside the formulas, compared with, and used where no library fits.

``mixed_margin_loss`` here and in ``lt_fast.ops`` take the same arguments and give the same loss. This one writes every
intermediate matrix, so it is several times slower; its gradient is torch's own, so it can be differentiated twice.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from lt_fast.ops import arguments
from lt_fast.ops.arguments import LABEL_RULES, MARGIN_RULES, NORMALIZATIONS, REDUCTIONS, Arguments, Settings, Wanted

Branch: TypeAlias = Callable[[Tensor, Tensor, Arguments, Settings], Tensor]
"""``(logits, label, given, chosen) -> (N,)``: the loss of each row against one label, before weights."""


def mixed_margin_loss(
    logits: Tensor,
    target: Tensor,
    *,
    target_b: Tensor | None = None,
    lam: Tensor | float | None = None,
    label_rule: str = "mixup",
    class_counts: Any = None,
    omega: float = 0.25,
    kappa: float = 3.0,
    tau: float = 0.5,
    margin: Any = None,
    margin_rule: str = "fixed",
    max_margin: float | None = None,
    gamma: float | None = None,
    compat: str | None = None,
    bias: Any = None,
    weight: Any = None,
    sample_weight: Tensor | float | None = None,
    normalization: str = "expected",
    scale: float = 1.0,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
    reduction: str = "mean",
    return_gradient: bool = False,
    return_prediction: bool = False,
) -> Any:
    """Return what ``lt_fast.ops.mixed_margin_loss`` returns for the same arguments, computed by plain torch.

    Arguments, shapes and errors are the same; only a second derivative works here. O(N * C) time, about ten matrices
    of the logits' size.
    """
    chosen = arguments.settings(
        label_rule, omega, kappa, tau, margin_rule, max_margin, gamma, compat,
        scale, label_smoothing, focal_gamma, normalization, reduction,
    )  # fmt: skip
    given = arguments.gather(
        logits, target, chosen, target_b=target_b, lam=lam, class_counts=class_counts, margin=margin, bias=bias,
        weight=weight, sample_weight=sample_weight,
    )  # fmt: skip
    if return_gradient:
        arguments.require_reduced(chosen)
    return results_of(given, chosen, Wanted(return_gradient, return_prediction))


def results_of(given: Arguments, chosen: Settings, wanted: Wanted) -> Any:
    """Compute the loss and what is wanted with it."""
    prediction = given.logits.argmax(1) if wanted.prediction else None
    if not wanted.gradient:
        return wanted.of(loss_of(given, chosen), None, prediction)
    _check_values(given, chosen)  # in the transform below values cannot be looked at
    gradient, loss = _gradient_and_loss(given, chosen)
    return wanted.of(loss, gradient, prediction)


def _gradient_and_loss(given: Arguments, chosen: Settings) -> tuple[Tensor, Tensor]:
    if not torch.compiler.is_compiling() and torch.is_inference_mode_enabled():
        # Older releases of torch give zeros for a gradient there.
        with torch.inference_mode(False):
            tensors = {f.name: getattr(given, f.name) for f in fields(given)}
            recordable = {name: tensor.clone() for name, tensor in tensors.items() if tensor is not None}
            return _gradient_and_loss(replace(given, **recordable), chosen)
    both = torch.func.grad_and_value(lambda logits: loss_of(replace(given, logits=logits), chosen))
    result: tuple[Tensor, Tensor] = both(given.logits.detach())
    return result


def loss_of(given: Arguments, chosen: Settings, branch: Branch | None = None) -> Tensor:
    """Compute the loss of arguments that have been gathered; ``branch`` stands in for ``branch_loss``."""
    _check_values(given, chosen)
    logits = given.logits.to(arguments.arithmetic_dtype(given.logits))
    branch = branch or branch_loss
    factor = label_factor(given, chosen)
    factors = _weighted(factor, given.target, given)
    losses = _cost(branch(logits, given.target, given, chosen), factors)
    if given.target_b is not None:
        factors_b = _weighted(1 - factor, given.target_b, given)
        losses = losses + _cost(branch(logits, given.target_b, given, chosen), factors_b)
        factors = factors + factors_b
    return _reduced(losses, factors, given, chosen)


def _check_values(given: Arguments, chosen: Settings) -> None:
    if given.logits.device.type == "cpu" and not torch.compiler.is_compiling() and not arguments.transformed():
        arguments.check_values(given, chosen)


def label_factor(given: Arguments, chosen: Settings) -> Tensor:
    """Factor of the first label, (N,), from the input factor ``lam`` and the counts of both labels."""
    if given.lam is None or given.target_b is None:
        return torch.ones_like(given.target, dtype=arguments.arithmetic_dtype(given.logits))
    lam = given.lam.expand(len(given.target))
    rule = LABEL_RULES[chosen.label_rule]
    if rule == "mixup" or given.class_counts is None:
        return lam
    n_a, n_b = given.class_counts[given.target], given.class_counts[given.target_b]
    if rule == "mam":
        # Within e^80 both b and 1 - b are numbers above 0, in float32 too: 0 / 0 has no factor in it.
        power = (chosen.omega * (n_b / n_a).log()).clamp(-80, 80).exp()
        b, a = 1 / (1 + power), power / (1 + power)
        return torch.where(lam < b, lam / (2 * b), 1 - (1 - lam) / (2 * a))
    if rule == "remix":
        to_b = (n_a >= chosen.kappa * n_b) & (lam < chosen.tau)
        to_a = (n_b >= chosen.kappa * n_a) & (1 - lam < chosen.tau)
        return torch.where(to_b, 0, torch.where(to_a, 1, lam))
    if rule == "unimix":
        shifted = lam + n_b / (n_a + n_b)
        return torch.where(shifted > 1, shifted - 1, shifted)
    return (1 - chosen.tau) * lam + chosen.tau * n_b / (n_a + n_b)  # cp_mix


def margin_of(logits: Tensor, label: Tensor, given: Arguments, chosen: Settings) -> Tensor:
    """Margin of each row's label, (N,), before scaling; a constant for the gradient."""
    fixed = torch.zeros_like(logits[:, 0]) if given.margin is None else given.margin[label]
    rule = MARGIN_RULES[chosen.margin_rule]
    if rule == "fixed" or len(label) == 0:
        return fixed
    z = logits.detach()
    own = is_own(label, z)
    if rule == "maximum":
        gap = z.gather(1, label[:, None])[:, 0] - z.masked_fill(own, -torch.inf).amax(1)
    else:  # the score of the batch's first label for every row, and 0 in the place of the own class
        gap = z[:, label[0]] - z.masked_fill(own, 0.0).amax(1)
    offset = chosen.max_margin - fixed
    right, left = torch.exp(-gap - chosen.gamma * offset), torch.exp(gap - offset)
    return torch.where(gap > 0, right, torch.where(gap < 0, left, 0.0))


def is_own(label: Tensor, logits: Tensor) -> Tensor:
    """Return where each row's own column is, (N, C) bool: one-hot labels that ``torch.func.vmap`` can make, too."""
    return label[:, None] == torch.arange(logits.shape[1], device=logits.device)


def branch_loss(logits: Tensor, label: Tensor, given: Arguments, chosen: Settings) -> Tensor:
    """Cross entropy of each row against one label, (N,), before weights."""
    # Not a product with the one-hot labels: a margin may be infinite, and 0 times infinity is NaN.
    shrink = torch.where(is_own(label, logits), margin_of(logits, label, given, chosen)[:, None], 0.0)
    scores = chosen.scale * (logits - shrink)
    if given.bias is not None:
        scores = scores + given.bias
    log_p = F.log_softmax(scores, dim=1)
    own = -log_p.gather(1, label[:, None])[:, 0]
    loss = own
    if chosen.label_smoothing > 0:
        loss = (1 - chosen.label_smoothing) * own - chosen.label_smoothing * log_p.mean(1)
    if chosen.focal_gamma > 0:
        miss = -torch.expm1(-own)
        certain = miss <= 0  # a power below 1 has an infinite slope there
        impossible = own == torch.inf  # p is 0: the slope of the power, times an infinite loss, would be NaN
        modulation = torch.where(certain | impossible, 1.0, miss) ** chosen.focal_gamma
        loss = modulation * torch.where(certain | (modulation == 0), 0.0, loss)
    return loss


def _weighted(factor: Tensor, label: Tensor, given: Arguments) -> Tensor:
    if given.weight is not None:
        factor = factor * given.weight[label]
    return factor if given.sample_weight is None else factor * given.sample_weight


def _cost(loss: Tensor, factor: Tensor) -> Tensor:
    """``factor * loss``; a factor of 0 makes also an infinite loss 0."""
    return torch.where((factor == 0) & loss.isinf(), 0.0, factor * loss)


def _reduced(losses: Tensor, factors: Tensor, given: Arguments, chosen: Settings) -> Tensor:
    reduction = REDUCTIONS[chosen.reduction]
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    normalization = NORMALIZATIONS[chosen.normalization]
    if normalization == "weights":
        return losses.sum() / factors.sum()
    mean = losses.sum() / max(len(losses), 1)
    if normalization == "batch" or given.weight is None or given.class_counts is None:
        return mean
    return mean / ((given.class_counts * given.weight).sum() / given.class_counts.sum())
