"""The op outside ``torch.compile``: the same call and gradient as the registered one, with less Python in between.

At the shapes of small images the kernel takes less time than torch's generic autograd wrapper for custom ops (about
100 us a call); a plain ``autograd.Function`` round the op takes a fifth of that.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from lt_fast.ops import registration


class FusedLoss(Function):
    """The op's loss and prediction; inputs are those of its schema, in order."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        """Call the kernel and keep what the backward needs."""
        with torch._C._AutoDispatchBelowAutograd():  # noqa: SLF001  (this function is the autograd)
            loss, grad, rows, prediction = torch.ops.lt_fast.mixed_margin_loss(*inputs)
        ctx.mark_non_differentiable(prediction)
        registration.keep(ctx, inputs, grad, rows)
        return loss, prediction

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        """Hand out the ready gradient, or compute it from the kept rows."""
        return registration.backward(ctx, grad_outputs[0])
