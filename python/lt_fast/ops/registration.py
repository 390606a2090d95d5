"""What torch must know of the op besides its kernels: shapes without data, and the gradient.

float32 and float64: the gradient is ready when the loss is, and the backward multiplies it by grad_output, which costs
nothing where that is 1 (on a GPU, too: the kernel looks, not the host). Half types
and ``reduction="none"``: the forward keeps six numbers a row and the backward computes the gradient from them, so that
it is rounded to the half type once, after grad_output (with a loss scaler's factor in it) has been multiplied in.
"""

from typing import Any

import torch
from torch import Tensor

ROW_NUMBERS = 6
# Positions in the schema.
_LOGITS, _TARGET, _TARGET_B, _BIAS, _SCALE, _WITH_GRAD = 0, 1, 2, 6, 16, 21
_NUM_INPUTS = 24

# What it registers lives as long as it does.
LIBRARY = torch.library.Library("lt_fast", "FRAGMENT")  # type: ignore[no-untyped-call]


def fake_loss(logits: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give the shapes of the forward's results."""
    reduction, with_grad, with_rows, with_prediction = rest[-4:]
    rows, classes = logits.shape
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return (
        logits.new_empty((rows,) if reduction == 0 else (), dtype=dtype),
        logits.new_empty((rows, classes) if with_grad else (0,)),
        logits.new_empty((rows, ROW_NUMBERS) if with_rows else (0,), dtype=dtype),
        logits.new_empty((rows if with_prediction else 0,), dtype=torch.int64),
    )


def _fake_prepared(logits: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    # Called for meta tensors, too, which a lean call does not look for: the careful way then names the argument.
    if any(isinstance(value, Tensor) and value.device != logits.device for value in rest):
        raise RuntimeError("all tensors of a call must be on the logits' device")
    return logits.new_empty(()), torch.empty_like(logits, memory_format=torch.contiguous_format)


def _fake_rescale(grad: Tensor, grad_output: Tensor) -> None:
    pass


def fake_backward(grad_output: Tensor, logits: Tensor, *rest: Any) -> Tensor:  # noqa: ARG001
    """Give the shape of the gradient."""
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def keep(ctx: Any, inputs: tuple[Any, ...], grad: Tensor, rows: Tensor) -> None:
    """Keep what ``backward`` needs: the ready gradient, or the logits and their row numbers."""
    ctx.set_materialize_grads(False)
    ctx.ready = inputs[_WITH_GRAD]
    if ctx.ready:
        ctx.save_for_backward(grad)
    else:
        ctx.scale = inputs[_SCALE]
        ctx.save_for_backward(inputs[_LOGITS], inputs[_TARGET], inputs[_TARGET_B], inputs[_BIAS], rows)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    _, grad, rows, prediction = output
    ctx.mark_non_differentiable(grad, rows, prediction)
    keep(ctx, inputs, grad, rows)


def refuse_second_derivative() -> None:
    """Raise where a graph of the backward is asked for: grad mode is on in a backward for that reason only."""
    if torch.is_grad_enabled():
        raise NotImplementedError(
            "mixed_margin_loss has no second derivative, and create_graph=True (or torch.func) asks for one; "
            "use lt_fast.ops.reference.mixed_margin_loss, which has"
        )


def scaled(grad: Tensor, grad_output: Tensor) -> Tensor:
    """Return ``grad * grad_output``: in place and, where the factor is 1, for nothing, unless the graph is kept."""
    traced = torch.compiler.is_compiling() or type(grad) is not Tensor
    if traced or grad.dtype != grad_output.dtype or graph_is_kept():
        return grad * grad_output
    try:
        torch.ops.lt_fast.mixed_margin_loss_rescale_(grad, grad_output.contiguous())
    except RuntimeError:  # several at once, under is_grads_batched
        return grad * grad_output
    return grad


def graph_is_kept() -> bool:
    """Whether ``retain_graph=True`` may ask for this gradient again."""
    return torch._C._autograd._get_current_graph_task_keep_graph()  # noqa: SLF001


def backward(ctx: Any, grad_output: Tensor | None) -> tuple[Tensor | None, ...]:
    """Gradient of the loss, in the place of the logits among the op's inputs."""
    nothing = (None,) * (_NUM_INPUTS - 1)
    if grad_output is None:
        return None, *nothing
    refuse_second_derivative()
    if ctx.ready:
        return scaled(ctx.saved_tensors[0], grad_output), *nothing
    logits, target, target_b, bias, rows = ctx.saved_tensors
    if rows.numel() == 0 and logits.numel() != 0:
        raise RuntimeError("with_grad or with_rows must be True for a backward, got False for both")
    grad = torch.ops.lt_fast.mixed_margin_loss_backward(
        grad_output.contiguous(), logits, target, target_b, bias, rows, ctx.scale
    )
    return grad, *nothing


def _backward(ctx: Any, grad_output: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    return backward(ctx, grad_output)


def no_second_derivative(ctx: Any, *grads: Any) -> None:  # noqa: ARG001
    """Refuse a derivative of the backward, whatever the grad mode."""
    with torch.enable_grad():
        refuse_second_derivative()


def register() -> None:
    """Register the shapes and the gradient, once, after the library has been loaded."""
    torch.library.register_fake("lt_fast::mixed_margin_loss", fake_loss)
    torch.library.register_fake("lt_fast::mixed_margin_loss_backward", fake_backward)
    torch.library.register_fake("lt_fast::mixed_margin_loss_rescale_", _fake_rescale)
    torch.library.register_fake("lt_fast::mixed_margin_loss_prepared", _fake_prepared)
    # The prepared op's results are never on a graph: its callers hang the gradient there, or hand it out.
    LIBRARY.impl("mixed_margin_loss_prepared", torch.library.fallthrough_kernel, "Autograd")  # type: ignore[no-untyped-call]
    torch.library.register_autograd("lt_fast::mixed_margin_loss", _backward, setup_context=_setup)
    torch.library.register_autograd("lt_fast::mixed_margin_loss_backward", no_second_derivative)
