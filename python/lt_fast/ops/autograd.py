"""The op inside torch: the shapes of its results, its gradient, and its call.

float32 and float64: the gradient is ready when the loss is, and the backward multiplies it by ``grad_output`` in place,
which costs nothing where that is 1 (on a GPU the kernel reads it, not the host). Only a retained graph gets a copy.
Half types and ``reduction="none"``: the forward keeps six numbers per row and the backward computes the gradient from
them, so that it is rounded to the half type once, after it was multiplied by ``grad_output`` with a scaler's factor.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from lt_fast._tensors import arithmetic_dtype
from lt_fast.ops.options import REDUCTION_BITS, WITH_GRADIENT, WITH_PREDICTION, WITH_ROWS

ROW_NUMBERS = 6
_LIBRARY = torch.library.Library("lt_fast", "FRAGMENT")  # type: ignore[no-untyped-call]  # registrations live as long
_EXACT = (torch.float32, torch.float64)  # whose gradient may be rounded before grad_output is multiplied in
_raw: Any = None  # operators without the Python frame of their overload, once they are registered
_rescale: Any = None
_graph_is_retained: Any = None


class FusedLoss(Function):
    """The op and its gradient outside ``torch.compile``; ``inputs`` are those after the logits.

    torch's generic wrapper for the gradients of custom ops takes longer than the kernel does for a small batch.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, inputs: tuple[Any, ...]) -> Any:
        """Call the kernel and keep what the backward needs."""
        loss, kept, prediction = _raw(logits, *inputs)
        if inputs[-1] & WITH_GRADIENT:
            ctx.save_for_backward(kept)
        else:
            _keep_rows(ctx, logits, inputs, kept)
        if prediction is None:
            return loss
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(prediction)
        return loss, prediction

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, _: None = None) -> tuple[Tensor | None, None]:
        """Return the kept gradient, or compute it from the kept rows."""
        if torch.is_grad_enabled():  # in a backward only where a graph of the backward is asked for
            refuse_second_derivative()
        kept = ctx.saved_tensors
        if len(kept) == 1 and grad_output is not None and not _graph_is_retained():
            try:
                _rescale(kept[0], grad_output)
            except RuntimeError:  # several at once, under is_grads_batched
                pass
            else:
                return kept[0], None
        return _gradient_of(ctx, kept, grad_output), None


# Function.apply first looks for functorch's transforms, which the callers have ruled out.
_apply = super(Function, FusedLoss).apply


def call(  # noqa: C901  (a frame more costs a small batch as much as its checks)
    logits: Tensor, target: Tensor, target_b: Tensor | None, lam: Any, sample_weight: Any, vectors: list[Any],
    numbers: tuple[Any, ...], choices: int, return_gradient: bool, return_prediction: bool, *, converted: bool = False,
) -> Any:  # fmt: skip
    """Return the loss on the graph, or the loss and its gradient; then the prediction, if wanted.

    In a graph of ``torch.compile`` the op with its registered gradient is one node. What is not ``converted`` goes to
    the op as it is, which checks it; ``TypeError`` for what it would not see.
    """
    traced = converted and torch.compiler.is_compiling()
    if not converted:
        if (lam is None) is not (target_b is None):
            raise TypeError
        if type(lam) is float:
            lam, numbers = None, (lam, *numbers[1:])
        if lam is not None and (type(lam) is not Tensor or lam.requires_grad):
            raise TypeError
        if sample_weight is not None and (type(sample_weight) is not Tensor or sample_weight.requires_grad):
            raise TypeError
        for vector in vectors:
            if type(vector) is not Tensor or vector.requires_grad:
                raise TypeError
    if return_prediction:
        choices |= WITH_PREDICTION
    differentiable = logits.requires_grad and not return_gradient and torch.is_grad_enabled()
    if return_gradient or (differentiable and choices & REDUCTION_BITS and logits.dtype in _EXACT):
        choices |= WITH_GRADIENT
    elif differentiable:
        choices |= WITH_ROWS
    inputs = (target, target_b, lam, sample_weight, vectors, numbers, choices)
    if differentiable and not traced:
        return _apply(logits, inputs)  # type: ignore[no-untyped-call]
    op = torch.ops.lt_fast.mixed_margin_loss if traced else _raw
    loss, gradient, prediction = op(logits.detach() if traced and return_gradient else logits, *inputs)
    if return_gradient:
        return (loss, gradient, prediction) if return_prediction else (loss, gradient)
    return (loss, prediction) if return_prediction else loss


# --- the gradient -----------------------------------------------------------------------------------------------------


def _keep_rows(ctx: Any, logits: Tensor, inputs: tuple[Any, ...], rows: Tensor) -> None:
    """Keep what a backward needs that computes the gradient."""
    target, target_b, _, _, vectors, ctx.numbers, ctx.choices = inputs
    ctx.save_for_backward(logits, target, target_b, rows, *vectors)


def _gradient_of(ctx: Any, kept: tuple[Tensor, ...], grad_output: Tensor | None) -> Tensor | None:
    """Return the gradient from what was kept, which may be unpacked only once."""
    if grad_output is None:
        return None
    if len(kept) == 1:
        return kept[0] * grad_output
    if not ctx.choices & WITH_ROWS:
        raise RuntimeError("choices must ask for the gradient or the rows for a backward, got neither")
    logits, target, target_b, rows, *vectors = kept
    gradient: Tensor = torch.ops.lt_fast.mixed_margin_loss_backward(
        grad_output.contiguous(), logits, target, target_b, vectors, ctx.numbers, rows, ctx.choices
    )
    return gradient


def refuse_second_derivative(*_: Any) -> None:
    """Raise ``NotImplementedError``."""
    raise NotImplementedError(
        "mixed_margin_loss has no second derivative, and create_graph=True (or torch.func) asks for one; "
        "use lt_fast.ops.reference.mixed_margin_loss, which has"
    )


# --- registration -----------------------------------------------------------------------------------------------------


def _fake_loss(logits: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    *tensors, vectors, numbers, choices = rest
    n, dtype = logits.shape[0], arithmetic_dtype(logits)
    # Called for meta tensors, too, for which the short path does not look: the slow path then names the argument.
    on_device = (*tensors, *(vectors if numbers else vectors[:-1]))
    if any(value is not None and value.device != logits.device for value in on_device):
        raise RuntimeError("all tensors of a call must be on the logits' device")
    loss = logits.new_empty(() if choices & REDUCTION_BITS else (n,), dtype=dtype)
    kept = logits.new_empty((n, ROW_NUMBERS) if choices & WITH_ROWS else (0,), dtype=dtype)
    kept = torch.empty_like(logits, memory_format=torch.contiguous_format) if choices & WITH_GRADIENT else kept
    return loss, kept, logits.new_empty((n if choices & WITH_PREDICTION else 0,), dtype=torch.int64)


def _fake_raw_loss(logits: Tensor, *rest: Any) -> tuple[Tensor | None, ...]:
    loss, kept, prediction = _fake_loss(logits, *rest)
    wants_kept, wants_prediction = rest[-1] & (WITH_GRADIENT | WITH_ROWS), rest[-1] & WITH_PREDICTION
    return loss, kept if wants_kept else None, prediction if wants_prediction else None


def _fake_backward(grad_output: Tensor, logits: Tensor, *_: Any) -> Tensor:  # noqa: ARG001
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[1:])
    ctx.lists = [None] * len(inputs[5]), None if inputs[6] else []  # torch asks for an empty list's gradient as one
    if inputs[-1] & WITH_GRADIENT:
        ctx.save_for_backward(output[1])
    else:
        _keep_rows(ctx, inputs[0], inputs[1:], output[1])


def _backward(ctx: Any, grad_output: Tensor | None, *_: Any) -> tuple[Any, ...]:
    if torch.is_grad_enabled():
        refuse_second_derivative()
    return _gradient_of(ctx, ctx.saved_tensors, grad_output), None, None, None, None, *ctx.lists, None


def register() -> None:
    """Register shapes and gradients, once, after the library has been loaded."""
    global _raw, _rescale, _graph_is_retained  # noqa: PLW0603
    torch.library.register_fake("lt_fast::mixed_margin_loss", _fake_loss)
    torch.library.register_fake("lt_fast::mixed_margin_loss.raw", _fake_raw_loss)
    torch.library.register_fake("lt_fast::mixed_margin_loss_backward", _fake_backward)
    torch.library.register_fake("lt_fast::mixed_margin_loss_rescale_", lambda *_: None)
    torch.library.register_autograd("lt_fast::mixed_margin_loss", _backward, setup_context=_setup)
    torch.library.register_autograd("lt_fast::mixed_margin_loss_backward", refuse_second_derivative)
    _LIBRARY.impl("mixed_margin_loss.raw", torch.library.fallthrough_kernel, "Autograd")  # type: ignore[no-untyped-call]
    _raw = torch.ops.lt_fast.mixed_margin_loss.raw._op  # noqa: SLF001
    _rescale = torch.ops.lt_fast.mixed_margin_loss_rescale_.default._op  # noqa: SLF001
    # No public function says it, and a torch that is too old for the library may not have this one.
    _graph_is_retained = torch._C._autograd._get_current_graph_task_keep_graph  # noqa: SLF001
