"""``mixed_margin_loss``: every loss of the family in one call, loss and gradient in one pass over the logits."""

from typing import Any

import torch
from torch import Tensor

from lt_fast.ops import arguments, libraries, prepared, reference, traced
from lt_fast.ops.arguments import DTYPES, REDUCTIONS, Arguments, Settings, Wanted
from lt_fast.ops.eager import FusedLoss

_NONE = REDUCTIONS.index("none")
_EXACT = frozenset(DTYPES[:2])  # whose gradient may be rounded before grad_output is multiplied in


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
    """Cross entropy with margins, bias and weights against one label or a mixture of two.

    For one label a row, with y the label::

        scores = scale * (logits - one_hot(y) * margin[y]) + bias
        loss_i = sample_weight_i * weight[y_i] * F.cross_entropy(scores, y, reduction="none")_i

    and for two ``f * loss(target) + (1 - f) * loss(target_b)``, each label with its own margin and weight, where the
    label factor f follows from the input factor ``lam`` by ``label_rule``. With n_a and n_b the training samples of
    the two classes:

    ============ =======================================================================================================
    ``mixup``    f = lam
    ``mam``      b = 1 / (1 + (n_b / n_a)^omega);  f = lam / (2 b) for lam < b, else 1 - (1 - lam) / (2 (1 - b))
    ``remix``    f = 0 if n_a >= kappa n_b and lam < tau;  else 1 if n_b >= kappa n_a and 1 - lam < tau;  else lam
    ``unimix``   f = lam + n_b / (n_a + n_b), less 1 where that exceeds 1 (the paper mixes the images by f, too)
    ``cp_mix``   f = (1 - tau) lam + tau n_b / (n_a + n_b)
    ============ =======================================================================================================

    Args:
        logits: scores before scaling; the only argument with a gradient: any other that requires one is an error.
        target: labels, those of the first image where two are mixed.
        target_b: labels of the second image; needs ``lam``.
        lam: factor of the first image, in [0, 1].
        label_rule: how ``lam`` becomes the label factor, see above.
        class_counts: training samples per class: a ``ClassCounts``, tensor or sequence. Read by all label rules but
            ``mixup``, and by ``normalization="expected"`` with a ``weight``.
        omega: exponent of ``mam``; 0 is mixup.
        kappa: imbalance from which ``remix`` acts, >= 1.
        tau: threshold of ``remix``, share of the class sizes in ``cp_mix``; in [0, 1].
        margin: subtracted from the own logit before scaling (LDAM); with ``margin_rule="maximum"`` subtracted from
            ``max_margin`` instead (MM-LDAM).
        margin_rule: ``"fixed"``, or ``"maximum"``: the margin comes from the row's own gap, own logit less the largest
            other, as a constant for the gradient: ``exp(-gap - gamma * m)`` for gap > 0, ``exp(gap - m)`` for gap < 0,
            0 for gap = 0, with ``m = max_margin - margin[y]``.
        max_margin: of ``"maximum"``; a *larger* value means a smaller margin.
        gamma: of ``"maximum"``: how much smaller the margin of right rows is.
        compat: ``"batch_first_label"`` repeats the published Maximum-Margin code, whose gap takes the score of the
            batch's first label for every row and counts a 0 among the others; for comparison only.
        bias: added to the scaled logits: log counts for balanced softmax, tau log prior for logit adjustment; -inf
            takes a class out.
        weight: one factor a class, multiplies both the loss and, with ``"weights"`` and ``"expected"``, the divisor.
        sample_weight: one factor a row.
        normalization: what ``reduction="mean"`` divides by. ``"expected"``: N times the training set's mean weight,
            ``(class_counts * weight).sum() / class_counts.sum()``, which is the same on every rank and under gradient
            accumulation. ``"weights"``: the batch's own sum of factors (label factor, class and sample weight), as
            torch's weighted mean; equal to mixing two such means where the second labels permute the first and
            ``lam`` is one number. ``"batch"``: N.
        scale: > 0, at least 1.2e-38.
        label_smoothing: share of the uniform distribution in the label. The class weight multiplies the smoothed loss
            as a whole; ``F.cross_entropy`` weights every class's term instead, and equals this without ``weight``.
        focal_gamma: multiplies each label's loss by ``(1 - p)^focal_gamma``, p its softmax probability with margin and
            bias. Weights do not enter p, as they do in LDAM-DRW's focal loss.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        return_gradient: also return the gradient of the loss with respect to ``logits``, of a reduced loss. Neither is
            on the graph: ``logits.backward(gradient)`` does what ``loss.backward()`` would have done, and saves what
            autograd costs, which at small shapes is more than the kernel. With a loss scaler keep to the graph: half
            gradients are rounded here before any factor.
        return_prediction: also return each row's largest logit's index, without margin and bias, lowest on ties.

    Shape:
        logits (N, C) float32, float64, float16 or bfloat16, any strides, C >= 2; target and target_b (N,) int64 in
        [0, C); lam and sample_weight numbers or (N,); class_counts, margin, bias and weight (C,). Returns a scalar, or
        (N,) for ``"none"``, float64 for float64 logits and float32 for all others; after it in a tuple, where they
        are asked for, the gradient (N, C) and the prediction (N,) int64. The gradient has the logits' dtype and is
        rounded to it once.

        N = 0 gives the mean 0 with an empty gradient, but NaN for ``"weights"``, as torch does.

    Under ``torch.func`` (``grad``, ``vmap``, ``jvp``, ``hessian``) and forward-mode differentiation plain torch
    computes it, since the kernels have no rules for those. A returned gradient is a constant there, too.

    NaN logits make the loss NaN, and so does a row of -inf alone; nothing raises, because on a GPU that would make
    every step wait. Check the loss where it is read anyway, or use ``torch.autograd.set_detect_anomaly``.

    The values of the logits are not looked at: the loss modules warn of probabilities and of scores that are no
    cosines, this function does not.

    Values of C-vectors given as tensors are looked at once per tensor and version (a change that torch does not count,
    through ``.data`` or memory shared with NumPy, goes unnoticed); in ``torch.compile`` they are not looked at.
    A number that changes from call to call, such as ``lam`` or ``tau``, makes ``torch.compile`` compile twice at most.
    Autocast changes nothing: half logits are taken as they are, the arithmetic is float32 inside. On the CPU the result
    does not depend on the number of threads, bit for bit. O(N * C), one read of the logits, one write of the gradient.

    Raises:
        TypeError: if an argument has a wrong type or dtype, such as float labels.
        ValueError: if a shape, device or value does not fit; a label, ``lam``, ``sample_weight`` or count out of range
            is found on the CPU, and stops the kernel on a GPU.
        NotImplementedError: if ``create_graph=True`` asks for a second derivative; ``lt_fast.ops.reference`` has one.

    Source: Cao et al. 2019, arXiv:1906.07413 (LDAM); Kang, Vu and Yoo 2021, arXiv:2206.05380, code
    ihaeyong/Maximum-Margin-LDAM (maximum margins; here the own label's score by default, see ``compat``);
    Ren et al. 2020, arXiv:2007.10740 (balanced softmax); Cheng et al. 2023, arXiv:2308.15457 (mam); Chou et al. 2020,
    arXiv:2007.03943 (remix); Xu et al. 2021, arXiv:2111.03874 (unimix); CP-Mix, arXiv:2411.07621 (its formula
    reconstructed from the text).
    """
    chosen = arguments.settings(
        label_rule, omega, kappa, tau, margin_rule, max_margin, gamma, compat,
        scale, label_smoothing, focal_gamma, normalization, reduction,
    )  # fmt: skip
    if return_gradient:
        arguments.require_reduced(chosen)
    if not return_prediction:
        usual = prepared.loss_of(
            logits, target, chosen, (class_counts, margin, bias, weight), target_b=target_b, lam=lam,
            sample_weight=sample_weight, return_gradient=return_gradient,
        )  # fmt: skip
        if usual is not None:
            return usual
    given = arguments.gather(
        logits, target, chosen, target_b=target_b, lam=lam, class_counts=class_counts, margin=margin, bias=bias,
        weight=weight, sample_weight=sample_weight,
    )  # fmt: skip
    wanted = Wanted(return_gradient, return_prediction)
    if arguments.transformed() or not libraries.has_kernel(logits.device.type):
        return reference.results_of(given, chosen, wanted)
    return _fused(given, chosen, wanted)


def _fused(given: Arguments, chosen: Settings, wanted: Wanted) -> Any:
    """Call the op, and say in Python's words what it refused."""
    if torch.compiler.is_compiling():
        return _call(given, chosen, wanted)
    try:
        return _call(given, chosen, wanted)
    except RuntimeError:
        if given.logits.device.type == "cpu":
            arguments.check_values(given, chosen)
        raise


def _call(given: Arguments, chosen: Settings, wanted: Wanted) -> Any:
    logits = given.logits.detach() if wanted.gradient else given.logits
    differentiate = logits.requires_grad and torch.is_grad_enabled()
    ready = chosen.reduction != _NONE and logits.dtype in _EXACT
    inputs = (
        logits,
        given.target,
        given.target_b,
        given.lam,
        given.class_counts,
        given.margin,
        given.bias,
        given.weight,
        given.sample_weight,
        *chosen,
        wanted.gradient or (differentiate and ready),
        differentiate and not ready,
        wanted.prediction,
    )
    if differentiate and not torch.compiler.is_compiling():
        loss, prediction = FusedLoss.apply(*inputs)  # type: ignore[no-untyped-call]
        return wanted.of(loss, None, prediction)
    numbers = arguments.traced_numbers(chosen) if torch.compiler.is_compiling() else None
    if numbers is not None:
        loss, gradient, _, prediction = traced.loss_of(inputs, numbers)
    else:
        loss, gradient, _, prediction = torch.ops.lt_fast.mixed_margin_loss(*inputs)
    return wanted.of(loss, gradient, prediction)
