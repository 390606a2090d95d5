"""The op inside torch: the shapes of its results, its gradient, and its call.

float32 and float64: the gradient is ready when the loss is, and the backward multiplies it by ``grad_output``, which
costs nothing where that is 1 (on a GPU the kernel reads it, not the host). Half types and ``reduction="none"``: the
forward keeps six numbers per row and the backward computes the gradient from them, so that it is rounded to the half
type once, after it was multiplied by ``grad_output`` with a loss scaler's factor in it.
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
_raw: Any = None  # the operator without the Python frame of its overload, once it is registered
_graph_is_retained = torch._C._autograd._get_current_graph_task_keep_graph  # noqa: SLF001  (no public function says it)


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
        """Return the kept gradient, or compute it from the kept rows; no frame more than the usual case needs."""
        if torch.is_grad_enabled():  # in a backward only where a graph of the backward is asked for
            refuse_second_derivative()
        kept = ctx.saved_tensors
        if len(kept) > 1 or grad_output is None:
            return _gradient_of(ctx, grad_output), None
        grad: Tensor = kept[0]
        try:
            if grad.is_cpu and grad_output.item() == 1:
                # The receiver may write into it: a hook, or an optimizer into the leaf's .grad, which takes the tensor
                # over. Only a retained graph returns it again.
                return (grad.clone() if _graph_is_retained() else grad), None
        except RuntimeError:  # several at once, under is_grads_batched
            pass
        return _scaled(grad, grad_output), None


# Function.apply first looks for functorch's transforms, which the callers have ruled out.
_apply = super(Function, FusedLoss).apply


def call(
    logits: Tensor, inputs: tuple[Any, ...], choices: int, return_gradient: bool, return_prediction: bool,
    *, traced: bool = False,
) -> Any:  # fmt: skip
    """Return the loss on the graph, or the loss and its gradient; then the prediction, if wanted.

    ``inputs`` are those between ``logits`` and ``choices``. In a ``traced`` graph of ``torch.compile`` the op with its
    registered gradient is one node.
    """
    if return_prediction:
        choices |= WITH_PREDICTION
    if return_gradient:
        choices |= WITH_GRADIENT
    elif logits.requires_grad and torch.is_grad_enabled():
        choices |= WITH_GRADIENT if choices & REDUCTION_BITS and logits.dtype in _EXACT else WITH_ROWS
        if not traced:
            return _apply(logits, (*inputs, choices))  # type: ignore[no-untyped-call]
    op = torch.ops.lt_fast.mixed_margin_loss if traced else _raw
    loss, gradient, prediction = op(logits.detach() if traced and return_gradient else logits, *inputs, choices)
    if return_gradient:
        return (loss, gradient, prediction) if return_prediction else (loss, gradient)
    return (loss, prediction) if return_prediction else loss


# --- the gradient -----------------------------------------------------------------------------------------------------


def _keep_rows(ctx: Any, logits: Tensor, inputs: tuple[Any, ...], rows: Tensor) -> None:
    """Keep what a backward needs that computes the gradient."""
    target, target_b, _, _, vectors, ctx.numbers, ctx.choices = inputs
    ctx.save_for_backward(logits, target, target_b, rows, *vectors)


def _gradient_of(ctx: Any, grad_output: Tensor | None) -> Tensor | None:
    kept = ctx.saved_tensors
    if grad_output is None:
        return None
    if len(kept) == 1:
        return _scaled(kept[0], grad_output)
    if not ctx.choices & WITH_ROWS:
        raise RuntimeError("choices must ask for the gradient or the rows for a backward, got neither")
    logits, target, target_b, rows, *vectors = kept
    gradient: Tensor = torch.ops.lt_fast.mixed_margin_loss_backward(
        grad_output.contiguous(), logits, target, target_b, vectors, ctx.numbers, rows, ctx.choices
    )
    return gradient


def _scaled(grad: Tensor, grad_output: Tensor) -> Tensor:
    """Return ``grad * grad_output``; on a GPU in place, without a wait for the factor."""
    ours = type(grad) is Tensor and grad.is_cuda and not torch.compiler.is_compiling()
    if ours and grad.dtype == grad_output.dtype and not _graph_is_retained():
        try:
            torch.ops.lt_fast.mixed_margin_loss_rescale_(grad, grad_output.contiguous())
        except RuntimeError:  # several at once, under is_grads_batched
            pass
        else:
            return grad
    return grad * grad_output


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
    return _gradient_of(ctx, grad_output), None, None, None, None, *ctx.lists, None


def register() -> None:
    """Register shapes and gradients, once, after the library has been loaded."""
    global _raw  # noqa: PLW0603
    torch.library.register_fake("lt_fast::mixed_margin_loss", _fake_loss)
    torch.library.register_fake("lt_fast::mixed_margin_loss.raw", _fake_raw_loss)
    torch.library.register_fake("lt_fast::mixed_margin_loss_backward", _fake_backward)
    torch.library.register_fake("lt_fast::mixed_margin_loss_rescale_", lambda *_: None)
    torch.library.register_autograd("lt_fast::mixed_margin_loss", _backward, setup_context=_setup)
    torch.library.register_autograd("lt_fast::mixed_margin_loss_backward", refuse_second_derivative)
    _LIBRARY.impl("mixed_margin_loss.raw", torch.library.fallthrough_kernel, "Autograd")  # type: ignore[no-untyped-call]
    _raw = torch.ops.lt_fast.mixed_margin_loss.raw._op  # noqa: SLF001
