"""The op in a graph of ``torch.compile`` whose numbers change from call to call, such as a ``tau`` set every epoch.

An op's float argument is a constant of the graph, so every new value would compile it again. Here the numbers are a
tensor on the CPU, which the op reads when it runs: the same kernels, and the same bits. A graph whose numbers are
constants has the op itself.
"""

from typing import Any

import torch
from torch import Tensor

from lt_fast.ops import arguments, registration
from lt_fast.ops.arguments import Settings

# Positions in the schema of the op: its tensors come first, then the settings, then what is wanted.
_TENSORS, _SETTINGS = 9, 12
_NUMBERS, _RULES = 9, slice(10, 14)
_LOGITS, _TARGET, _TARGET_B, _BIAS, _WITH_GRAD = 0, 1, 2, 6, 14
_NUM_INPUTS = 17

_FORWARD = (
    "mixed_margin_loss_traced(Tensor logits, Tensor target, Tensor? target_b, Tensor? lam, Tensor? class_counts, "
    "Tensor? margin, Tensor? bias, Tensor? weight, Tensor? sample_weight, Tensor numbers, int label_rule, "
    "int margin_rule, int normalization, int reduction, bool with_grad, bool with_rows, bool with_prediction) "
    "-> (Tensor loss, Tensor grad, Tensor rows, Tensor prediction)"
)
_BACKWARD = (
    "mixed_margin_loss_backward_traced(Tensor grad_output, Tensor logits, Tensor target, Tensor? target_b, "
    "Tensor? bias, Tensor rows, Tensor numbers) -> Tensor"
)


def loss_of(inputs: tuple[Any, ...], numbers: Tensor) -> Any:
    """Call the op with ``numbers`` in the place of those among its own ``inputs``."""
    tensors, wanted = inputs[:_TENSORS], inputs[_TENSORS + _SETTINGS :]
    chosen = Settings(*inputs[_TENSORS : _TENSORS + _SETTINGS])
    rules = (chosen.label_rule, chosen.margin_rule, chosen.normalization, chosen.reduction)
    return torch.ops.lt_fast.mixed_margin_loss_traced(*tensors, numbers, *rules, *wanted)


def _settings_of(numbers: Tensor, rules: tuple[int, ...]) -> Settings:
    label_rule, margin_rule, normalization, reduction = rules
    nothing = Settings(label_rule, 0, 0, 0, margin_rule, 0, 0, 0, 0, 0, normalization, reduction)
    return arguments.with_numbers(nothing, numbers.tolist())


def _loss(*inputs: Any) -> Any:
    chosen = _settings_of(inputs[_NUMBERS], inputs[_RULES])
    return torch.ops.lt_fast.mixed_margin_loss(*inputs[:_TENSORS], *chosen, *inputs[_WITH_GRAD:])


def _backward(grad_output: Tensor, *inputs: Any) -> Any:
    *tensors, numbers = inputs
    scale = numbers[arguments.SETTING_NUMBERS.index("scale")].item()
    return torch.ops.lt_fast.mixed_margin_loss_backward(grad_output, *tensors, scale)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    _, grad, rows, prediction = output
    ctx.mark_non_differentiable(grad, rows, prediction)
    ctx.set_materialize_grads(False)
    ctx.ready = inputs[_WITH_GRAD]
    kept = (inputs[at] for at in (_LOGITS, _TARGET, _TARGET_B, _BIAS))
    ctx.save_for_backward(*((grad,) if ctx.ready else (*kept, rows, inputs[_NUMBERS])))


def _gradient(ctx: Any, grad_output: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    nothing = (None,) * (_NUM_INPUTS - 1)
    if grad_output is None:
        return None, *nothing
    registration.refuse_second_derivative()
    if ctx.ready:
        return registration.scaled(ctx.saved_tensors[0], grad_output), *nothing
    grad = torch.ops.lt_fast.mixed_margin_loss_backward_traced(grad_output.contiguous(), *ctx.saved_tensors)
    return grad, *nothing


def register() -> None:
    """Define the two ops, once, after the library has been loaded."""
    library = registration.LIBRARY
    tags = (torch.Tag.pt2_compliant_tag,)
    for schema, run in ((_FORWARD, _loss), (_BACKWARD, _backward)):
        library.define(schema, tags=tags)  # type: ignore[no-untyped-call]
        library.impl(schema.partition("(")[0], run, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake("lt_fast::mixed_margin_loss_traced", registration.fake_loss)
    torch.library.register_fake("lt_fast::mixed_margin_loss_backward_traced", registration.fake_backward)
    torch.library.register_autograd("lt_fast::mixed_margin_loss_traced", _gradient, setup_context=_keep)
    torch.library.register_autograd("lt_fast::mixed_margin_loss_backward_traced", registration.no_second_derivative)
