"""``mixed_margin_loss``: every loss of the family in one call, loss and gradient in one pass over the logits."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lt_fast import _libraries as libraries
from lt_fast.ops import arguments, autograd, reference
from lt_fast.ops.options import CHOICES, VECTOR_BITS, VECTORS, MarginOptions

_COUNTS, _MARGIN, _BIAS, _WEIGHT = VECTOR_BITS.values()
_NUMBERS = frozenset((float, int))  # a bool is no number
# No public functions say it.
_transforms_active, _modes = torch._C._are_functorch_transforms_active, torch._C._len_torch_dispatch_stack  # noqa: SLF001
_REFUSED = (KeyError, RuntimeError, TypeError, ValueError)


def mixed_margin_loss(
    logits: Tensor, target: Tensor, *, target_b: Tensor | None = None, lam: Tensor | float | None = None,
    label_rule: str = "mixup", class_counts: Any = None, omega: float = 0.25, kappa: float = 3.0, tau: float = 0.5,
    margin: Any = None, margin_rule: str = "fixed", max_margin: float | None = None, gamma: float | None = None,
    compat: str | None = None, bias: Any = None, weight: Any = None, sample_weight: Tensor | float | None = None,
    normalization: str = "expected", scale: float = 1.0, label_smoothing: float = 0.0, focal_gamma: float = 0.0,
    reduction: str = "mean", return_gradient: bool = False, return_prediction: bool = False,
) -> Any:  # fmt: skip
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
        lam: mixing coefficient of the first image, in [0, 1].
        label_rule: how ``lam`` becomes the label weight, see above.
        class_counts: training samples per class: a ``ClassCounts``, tensor or sequence. Read by all label rules but
            ``mixup``, and by ``normalization="expected"`` with a ``weight``.
        omega: exponent of ``mam``; 0 is mixup.
        kappa: imbalance from which ``remix`` acts, >= 1.
        tau: threshold of ``remix``, share of the class sizes in ``cp_mix``; in [0, 1].
        margin: subtracted from the own logit before scaling (LDAM), or from ``max_margin`` (MM-LDAM).
        margin_rule: ``"fixed"``, or ``"maximum"``: from the row's own gap, own logit less the largest other, as a
            constant for the gradient: ``exp(-gap - gamma * m)`` for gap > 0, ``exp(gap - m)`` for gap < 0, 0 for
            gap = 0, with ``m = max_margin - margin[y]``.
        max_margin: of ``"maximum"``; a *larger* value means a smaller margin.
        gamma: of ``"maximum"``: how much smaller the margin of right rows is.
        compat: ``"batch_first_label"`` repeats the published Maximum-Margin code, for comparison only: its gap takes
            the score of the batch's first label for every row and counts a 0 among the others.
        bias: added to the scaled logits: log counts for balanced softmax, tau log prior for logit adjustment; -inf
            takes a class out.
        weight: one number per class, multiplies both the loss and, with ``"weights"`` and ``"expected"``, the divisor.
        sample_weight: one number per row.
        normalization: what ``reduction="mean"`` divides by. ``"expected"``: N times the training set's mean weight,
            ``(class_counts * weight).sum() / class_counts.sum()``, the same on every rank and under gradient
            accumulation. ``"weights"``: the batch's own sum of weights (of label, class and sample), as
            torch's weighted mean. ``"batch"``: N.
        scale: > 0, at least 1.2e-38.
        label_smoothing: share of the uniform distribution in the label. The class weight multiplies the smoothed loss
            as a whole; ``F.cross_entropy`` weights every class's term instead, and equals this without ``weight``.
        focal_gamma: multiplies each label's loss by ``(1 - p)^focal_gamma``, p its softmax probability with margin and
            bias, but without weights, as in LDAM-DRW's focal loss.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        return_gradient: also return the gradient of a reduced loss with respect to ``logits``. Neither is on the graph:
            ``logits.backward(gradient)`` does what ``loss.backward()`` would have, without autograd's cost. Not for a
            loss scaler: half gradients are rounded before any factor.
        return_prediction: also return each row's largest logit's index, without margin and bias, lowest on ties.

    Shape:
        logits (N, C) float32, float64, float16 or bfloat16, any strides, C >= 2; target and target_b (N,) int64 in
        [0, C); lam and sample_weight numbers or (N,); class_counts, margin, bias and weight (C,). Returns a scalar, or
        (N,) for ``"none"``, float64 for float64 logits and float32 for all others; after it in a tuple, where asked
        for, the gradient (N, C) in the logits' dtype, rounded to it once, and the prediction (N,) int64. N = 0 gives
        the mean 0 with an empty gradient, but NaN for ``"weights"``, as torch does.

    Under ``torch.func`` (``grad``, ``vmap``, ``jvp``, ``hessian``) and forward-mode differentiation plain torch
    computes it: the kernels have no rules for those. A returned gradient is a constant there, too.

    NaN logits make the loss NaN, and so does a row of -inf alone; nothing raises, because on a GPU that would make
    every step wait. Unlike the loss modules it does not warn of probabilities. Under ``torch.compile`` the values of
    vectors are not checked, and a number that changes from call to call, such as ``lam`` or ``tau``, compiles twice at
    most. Autocast changes nothing: half logits are taken as they are, the arithmetic is float32 inside. On the CPU the
    result does not depend on the number of threads, bit for bit. O(N * C): the logits are read once.

    Raises:
        TypeError: if an argument has a wrong type or dtype, such as float labels.
        ValueError: if a shape, device or value does not fit; a label, ``lam``, ``sample_weight`` or count out of range
            is found on the CPU, and stops the kernel on a GPU.
        NotImplementedError: if ``create_graph=True`` asks for a second derivative; ``lt_fast.ops.reference`` has one.

    Source: LDAM, arXiv:1906.07413; maximum margins, arXiv:2206.05380 and its code ihaeyong/Maximum-Margin-LDAM (here
    the own label's score by default, see ``compat``); balanced softmax, arXiv:2007.10740; mam, arXiv:2308.15457; remix,
    arXiv:2007.03943; unimix, arXiv:2111.03874; CP-Mix, arXiv:2411.07621 (its formula reconstructed from the text).

    >>> logits, first, second = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([0]), torch.tensor([2])
    >>> plain = torch.nn.functional.cross_entropy
    >>> torch.allclose(mixed_margin_loss(logits, first), plain(logits, first))
    True
    >>> mixed = {"target_b": second, "lam": 0.7, "class_counts": [500, 50, 5]}
    >>> for rule in ("mixup", "mam"):  # the label weight is lam, or follows from the class counts
    ...     print(rule, round(mixed_margin_loss(logits, first, label_rule=rule, **mixed).item(), 4))
    mixup 0.7076
    mam 0.9469
    """
    if (
        type(logits) is Tensor  # as _is_usual, whose frame would cost as much as what it asks
        and ((logits.is_cpu and libraries.BACKEND != "reference") or (logits.is_cuda and libraries.BACKEND == "cuda"))
        and not torch.compiler.is_dynamo_compiling()
        and not _transforms_active()
        and forward_ad._current_level < 0  # noqa: SLF001
        and not _modes()
    ):
        try:
            choices, vectors = CHOICES[label_rule, margin_rule, compat, normalization, reduction], []
            if class_counts is not None:
                choices |= _COUNTS
                vectors.append(class_counts)
            if margin is not None:
                choices |= _MARGIN
                vectors.append(margin)
            if bias is not None:
                choices |= _BIAS
                vectors.append(bias)
            if weight is not None:
                choices |= _WEIGHT
                vectors.append(weight)
            fixed = max_margin is gamma is None
            largest, steepness = (0.0, 1.0) if fixed else (max_margin, gamma)
            numbers = (0.0, omega, kappa, tau, largest, steepness, scale, label_smoothing, focal_gamma)
            if (margin_rule == "fixed") is fixed and (
                type(omega) is type(kappa) is type(tau) is type(largest) is type(steepness) is type(scale)
                is type(label_smoothing) is type(focal_gamma) is float or _NUMBERS.issuperset(map(type, numbers))
            ):  # fmt: skip
                return autograd.call(
                    logits, target, target_b, lam, sample_weight, vectors, numbers, choices, return_gradient,
                    return_prediction,
                )  # fmt: skip
        except _REFUSED:
            pass  # named below, or taken after a conversion
    options = MarginOptions(
        label_rule, omega, kappa, tau, margin_rule, max_margin, gamma, compat, scale, label_smoothing, focal_gamma,
        normalization, reduction,
    )  # fmt: skip
    by_name = {"class_counts": class_counts, "margin": margin, "bias": bias, "weight": weight}
    return _checked_call(
        options, by_name, logits, target, target_b, lam, sample_weight, return_gradient, return_prediction
    )


def stacked_margin_loss(
    options: MarginOptions, rows: Tensor, logits: Tensor, target: Tensor, target_b: Tensor | None = None,
    lam: Tensor | float | None = None, sample_weight: Tensor | float | None = None, *, return_gradient: bool = False,
    return_prediction: bool = False,
) -> Any:  # fmt: skip
    """Equals ``mixed_margin_loss``, for ``options`` and ``rows`` of ``MarginOptions.stack``, which are made once.

    ``rows`` have the dtype that the loss is computed in.
    """
    found = direct_margin_loss(
        options, rows, logits, target, target_b, lam, sample_weight, return_gradient=return_gradient,
        return_prediction=return_prediction,
    )  # fmt: skip
    if found is not None:
        return found
    return _checked_call(
        options, options.by_name(rows), logits, target, target_b, lam, sample_weight, return_gradient, return_prediction
    )


def direct_margin_loss(
    options: MarginOptions, rows: Tensor, logits: Tensor, target: Tensor, target_b: Tensor | None = None,
    lam: Tensor | float | None = None, sample_weight: Tensor | float | None = None, *,
    devices: tuple[bool, bool] = (True, True), return_gradient: bool = False, return_prediction: bool = False,
) -> Any:  # fmt: skip
    """Return what ``stacked_margin_loss`` does where the op takes the arguments as they are, or None.

    ``devices`` has False for the CPU or for a GPU where the caller looks at the labels first.
    """
    if _is_usual(logits, devices):
        try:
            return autograd.call(
                logits, target, target_b, lam, sample_weight, [rows] if options.vectors else [], options.numbers,
                options.choices, return_gradient, return_prediction,
            )  # fmt: skip
        except _REFUSED:
            pass  # named by the caller, or taken after a conversion
    return None


def _is_usual(logits: Tensor, devices: tuple[bool, bool]) -> bool:
    """Return whether there is a kernel for these logits, and nothing of torch between it and them."""
    return (
        type(logits) is Tensor
        and (
            (logits.is_cpu and devices[0] and libraries.BACKEND != "reference")
            or (logits.is_cuda and devices[1] and libraries.BACKEND == "cuda")
        )
        and not torch.compiler.is_dynamo_compiling()  # other tracers have tensors of other types
        and not _transforms_active()
        and forward_ad._current_level < 0  # noqa: SLF001
        and not _modes()  # a trace would record a call that is refused
    )


def _checked_call(
    options: MarginOptions, vectors: dict[str, Any], logits: Tensor, target: Any, target_b: Any, lam: Any,
    sample_weight: Any, return_gradient: bool, return_prediction: bool,
) -> Any:  # fmt: skip
    """Check and convert every argument, then call the op or the reference implementation."""
    if return_gradient:
        options.require_reduced()
    given = arguments.gather(logits, target, options, target_b, lam, sample_weight, **vectors)
    if arguments.transformed() or not libraries.has_kernel(logits.device.type):
        return reference.results_of(given, options, return_gradient, return_prediction)
    held = {name: getattr(given, name) for name in VECTORS if getattr(given, name) is not None}
    tensors, numbers = list(held.values()), options.numbers
    choices = options.choices | sum(VECTOR_BITS[name] for name in held)
    traced = torch.compiler.is_compiling()
    if traced and (changing := options.traced_numbers()) is not None:
        tensors, numbers = [*tensors, changing], ()
    try:
        return autograd.call(
            logits, given.target, given.target_b, given.lam, given.sample_weight, tensors, numbers, choices,
            return_gradient, return_prediction, converted=True,
        )  # fmt: skip
    except (RuntimeError, ValueError):
        if logits.device.type == "cpu" and not traced:
            arguments.check_values(given, options)
        raise
