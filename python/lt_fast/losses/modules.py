"""What the modules of all losses share: fixed options, a loss with its gradient, and the call of the fused op."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.losses.first_logits import FirstLogits
from lt_fast.losses.options import Options, advice
from lt_fast.ops import mixed_margin_loss
from lt_fast.ops.arguments import require_tensor


class LossModule(nn.Module):
    """A loss of logits against one label a sample, or two mixed with the image factor ``lam``.

    Its options are fixed when it is made: assigning one later is an ``AttributeError`` that says what to do instead.

    The module warns where logits look like probabilities, or are no cosines for a loss with a ``scale``; it looks at
    calls 1, 2, 4, ... 1024. ``torch.compile`` and the bare ``ops.mixed_margin_loss`` do not look at the values of the
    logits, so there these warnings do not appear.
    """

    vectors: ClassVectors
    _first: FirstLogits

    def fix_options(self, **options: Any) -> None:
        """End of every constructor: check the options, store them as ``options``, and refuse changes from now on.

        Raises:
            TypeError: if an option is of a wrong type.
            ValueError: if an option is out of range or unknown.
        """
        self.options = Options(type(self).__name__, options)
        self._first = FirstLogits(type(self).__name__, self.options.get("scale", 1.0))
        self._fixed = True

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
        require_tensor(logits)
        leaf = logits.detach().requires_grad_()
        with torch.enable_grad():
            loss: Tensor = self(leaf, target_a, target_b, lam)
        if loss.dim():
            raise ValueError("reduction must be 'mean' or 'sum' for loss_and_gradient, got 'none'")
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.detach(), gradient

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the module; refuse what is fixed."""
        self._refuse_option(name, value)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        """Delete an attribute of the module; refuse what is fixed."""
        self._refuse_option(name, None)
        super().__delattr__(name)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register a buffer of the module; refuse what is fixed."""
        self._refuse_option(name, tensor)
        super().register_buffer(name, tensor, persistent=persistent)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Register a parameter of the module; refuse what is fixed."""
        self._refuse_option(name, param)
        super().register_parameter(name, param)

    def _refuse_option(self, name: str, value: Any) -> None:
        if not self.__dict__.get("_fixed"):
            return
        if name in self._modules and isinstance(value, nn.Module):
            return  # another module in the same place counts
        buffer = self._buffers.get(name)
        if (
            buffer is not None
            and isinstance(value, Tensor)
            and (value.shape, value.dtype) == (buffer.shape, buffer.dtype)
        ):
            return  # so does the value of a counter
        own = next(cls for cls in type(self).__mro__ if cls.__module__.startswith("lt_fast."))
        options = tuple(inspect.signature(own).parameters)
        if own is not type(self) and name not in options:
            return  # an attribute of the user's own subclass
        message = advice(type(self).__name__, options, name)
        if message is not None:
            raise AttributeError(message)


class OneCallLoss(LossModule):
    """``ops.mixed_margin_loss`` with ``vectors`` of length C, made once, and ``options``, both set by the subclass."""

    vectors: ClassVectors

    def forward(
        self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Tensor | float | None = None
    ) -> Tensor:
        """Return the loss of ``logits`` against one label a sample, or two mixed with the image factor ``lam``."""
        vectors = self.vectors.for_logits(logits)
        loss: Tensor = mixed_margin_loss(logits, target_a, target_b=target_b, lam=lam, **vectors, **self.options)
        self._first.look(logits, self.vectors)
        return loss

    def loss_and_gradient(
        self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Tensor | float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the reduced loss and its gradient, see ``LossModule``; here from one call of the op."""
        vectors = self.vectors.for_logits(logits)
        both: tuple[Tensor, Tensor] = mixed_margin_loss(
            logits, target_a, target_b=target_b, lam=lam, return_gradient=True, **vectors, **self.options
        )
        self._first.look(logits, self.vectors)
        return both
