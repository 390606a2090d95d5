"""``mixed_margin_loss``: every loss of the family in one call, loss and gradient in one pass over the logits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from lt_fast._tensors import arithmetic_dtype
from lt_fast.ops import arguments, autograd, libraries, reference
from lt_fast.ops.options import CHOICES, VECTOR_BITS, Layout, MarginOptions

_NO_FLOATS = frozenset((bool, np.bool_))
_COUNTS, _MARGIN, _BIAS, _WEIGHT = VECTOR_BITS.values()
_REFUSED = (KeyError, RuntimeError, TypeError, ValueError)


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

    and for two ``f * loss(target) + (1 - f) * loss(target_b)``, each label with its own margin and weight, where
    ``label_rule`` computes the label weight f from the mixing coefficient ``lam``. With n_a and n_b the training
    samples of the two classes:

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
        weight: one factor per class, multiplies both the loss and, with ``"weights"`` and ``"expected"``, the divisor.
        sample_weight: one factor per row.
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
    if _is_usual(logits):  # the short path: the op gets the arguments as they are, and checks them itself
        try:
            choices, constants = CHOICES[label_rule, margin_rule, compat, normalization, reduction], []
            if class_counts is not None:
                choices |= _COUNTS
                constants.append(class_counts)
            if margin is not None:
                choices |= _MARGIN
                constants.append(margin)
            if bias is not None:
                choices |= _BIAS
                constants.append(bias)
            if weight is not None:
                choices |= _WEIGHT
                constants.append(weight)
            if margin_rule == "fixed" and max_margin is gamma is None:
                largest, steepness = 0.0, 1.0
            else:
                largest, steepness = _numbers_of(margin_rule, max_margin, gamma)
            lam_tensor, lam_number = _lam_of(target_b, lam, sample_weight, constants)
            numbers = (lam_number, omega, kappa, tau, largest, steepness, scale, label_smoothing, focal_gamma)
            if _NO_FLOATS.isdisjoint(map(type, numbers)):
                inputs = (target, target_b, lam_tensor, sample_weight, constants, numbers)
                return autograd.call(logits, inputs, choices, return_gradient, return_prediction)
        except _REFUSED:
            pass  # named below, or taken after a conversion
    options = MarginOptions(
        label_rule, omega, kappa, tau, margin_rule, max_margin, gamma, compat, scale, label_smoothing, focal_gamma,
        normalization, reduction,
    )  # fmt: skip
    vectors = {"class_counts": class_counts, "margin": margin, "bias": bias, "weight": weight}
    return _checked_call(
        options, vectors, None, logits, target, target_b, lam, sample_weight, return_gradient, return_prediction
    )


def packed_margin_loss(
    layout: Layout,
    constants: Tensor,
    logits: Tensor,
    target: Tensor,
    target_b: Tensor | None = None,
    lam: Tensor | float | None = None,
    sample_weight: Tensor | float | None = None,
    *,
    return_gradient: bool = False,
    return_prediction: bool = False,
) -> Any:
    """Return what ``mixed_margin_loss`` returns, for options and class vectors that were packed once.

    Args:
        layout: of ``MarginOptions.pack``.
        constants: of ``MarginOptions.pack``, in the dtype that the loss is computed in.
        logits: as for ``mixed_margin_loss``, and so are all arguments that follow.
        target: labels, those of the first image where two are mixed.
        target_b: labels of the second image.
        lam: mixing coefficient of the first image.
        sample_weight: one factor per row.
        return_gradient: also return the gradient.
        return_prediction: also return the prediction.

    Raises:
        TypeError: if an argument has a wrong type or dtype.
        ValueError: if a shape, device or value does not fit.
    """
    if _is_usual(logits):
        try:
            lam_tensor, lam_number = _lam_of(target_b, lam, sample_weight, ())
            inputs = (target, target_b, lam_tensor, sample_weight, [constants], (lam_number,))
            return autograd.call(logits, inputs, layout.choices, return_gradient, return_prediction)
        except _REFUSED:
            pass  # as above
    vectors = layout.vectors(constants)
    return _checked_call(
        layout.options, vectors, constants, logits, target, target_b, lam, sample_weight, return_gradient,
        return_prediction,
    )  # fmt: skip


# --- the short path: no argument is converted, and the op itself checks everything ------------------------------------


def _is_usual(logits: Tensor) -> bool:
    """Return whether there is a kernel for these logits, and nothing of torch between it and them."""
    return (
        type(logits) is Tensor
        and libraries.BACKEND != "reference"
        and (logits.is_cpu or (logits.is_cuda and libraries.BACKEND == "cuda"))
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()  # noqa: SLF001  (no public function says it)
        and forward_ad._current_level < 0  # noqa: SLF001
        and not torch._C._len_torch_dispatch_stack()  # noqa: SLF001  (a trace would record a call that is refused)
    )


def _lam_of(target_b: Any, lam: Any, sample_weight: Any, vectors: Sequence[Any]) -> tuple[Tensor | None, float]:
    """Return ``lam`` as a tensor or as a number, and raise ``TypeError`` for what has to be converted first."""
    if sample_weight is not None and (type(sample_weight) is not Tensor or sample_weight.requires_grad):
        raise TypeError
    for vector in vectors:
        if type(vector) is not Tensor or vector.requires_grad:
            raise TypeError
    if lam is None and target_b is None:
        return None, 0.0
    if type(lam) is Tensor and target_b is not None and not lam.requires_grad:
        return lam, 0.0
    if type(lam) is float and target_b is not None:
        return None, lam
    raise TypeError


def _numbers_of(margin_rule: str, max_margin: float | None, gamma: float | None) -> tuple[float, float]:
    """Return the numbers of the rule ``"maximum"``, and raise ``TypeError`` where they do not fit the rule."""
    if margin_rule == "fixed" or max_margin is None or gamma is None:
        raise TypeError
    return max_margin, gamma


# --- every other call -------------------------------------------------------------------------------------------------


def _checked_call(
    options: MarginOptions, vectors: dict[str, Any], constants: Tensor | None, logits: Tensor, target: Any,
    target_b: Any, lam: Any, sample_weight: Any, return_gradient: bool, return_prediction: bool,
) -> Any:  # fmt: skip
    """Check and convert every argument, then call the op or the reference implementation."""
    if return_gradient:
        options.require_reduced()
    given = arguments.gather(
        logits, target, options, target_b=target_b, lam=lam, sample_weight=sample_weight, **vectors
    )
    if arguments.transformed() or not libraries.has_kernel(logits.device.type):
        return reference.results_of(given, options, return_gradient, return_prediction)
    held = {name: getattr(given, name) for name in VECTOR_BITS if getattr(given, name) is not None}
    layout = Layout(options, tuple(held))
    loose, numbers = list(held.values()), options.numbers
    if torch.compiler.is_compiling() and constants is None:
        constants = options.traced_constants(loose, logits)
    if constants is not None:
        loose, numbers = [constants.to(logits.device, arithmetic_dtype(logits))], ()
    inputs = (given.target, given.target_b, given.lam, given.sample_weight, loose, (0.0, *numbers))
    if torch.compiler.is_compiling():
        return autograd.traced_call(logits, inputs, layout.choices, return_gradient, return_prediction)
    try:
        return autograd.call(logits, inputs, layout.choices, return_gradient, return_prediction)
    except (RuntimeError, ValueError):
        if logits.device.type == "cpu":
            arguments.check_values(given, options)
        raise
