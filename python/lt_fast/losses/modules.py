"""What the modules of all losses share: loss and gradient in the caller's hand, and the call of the fused op."""

from typing import Any

import torch
from torch import Tensor, nn

from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.ops import mixed_margin_loss


class LossModule(nn.Module):
    """A loss of logits against one label a sample, or two mixed with the image factor ``lam``."""

    def loss_and_gradient(
        self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Tensor | float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the reduced loss and its gradient with respect to ``logits``, both without a graph.

        ``logits.backward(gradient)`` then does what ``loss.backward()`` does after ``forward``. For a loss that is one
        call of the fused op this saves what autograd costs a loss, at small shapes more than the loss itself. Not for a
        loss scaler: half gradients are rounded here before any factor.

        Raises:
            ValueError: for ``reduction="none"``, and whatever ``forward`` raises.
            RuntimeError: in ``torch.inference_mode``, unless the loss is one call of the fused op.
        """
        if torch.is_inference_mode_enabled():
            raise RuntimeError(
                f"loss_and_gradient of {type(self).__name__} must be called outside torch.inference_mode, where no "
                "gradient can be computed; use torch.no_grad"
            )
        leaf = logits.detach().requires_grad_()
        with torch.enable_grad():
            loss: Tensor = self(leaf, target_a, target_b, lam)
        if loss.dim():
            raise ValueError("reduction must be 'mean' or 'sum' for loss_and_gradient, got 'none'")
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient


class OneCallLoss(LossModule):
    """``ops.mixed_margin_loss`` with ``vectors`` of length C, made once, and ``options``, both set by the subclass."""

    vectors: ClassVectors
    options: dict[str, Any]

    def forward(
        self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Tensor | float | None = None
    ) -> Tensor:
        """Return the loss of ``logits`` against one label a sample, or two mixed with the image factor ``lam``."""
        vectors = self.vectors.for_logits(logits)
        loss: Tensor = mixed_margin_loss(logits, target_a, target_b=target_b, lam=lam, **vectors, **self.options)
        return loss

    def loss_and_gradient(
        self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Tensor | float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the reduced loss and its gradient, see ``LossModule``; here from one call of the op."""
        vectors = self.vectors.for_logits(logits)
        both: tuple[Tensor, Tensor] = mixed_margin_loss(
            logits, target_a, target_b=target_b, lam=lam, return_gradient=True, **vectors, **self.options
        )
        return both
