"""Class vectors of a loss: they follow the module to a device and are never rounded to its dtype."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_FIXED = (
    "the vectors of a loss are fixed when it is made; make a new loss, with weight=... for other class weights, or "
    "switch between two losses at an epoch by lt_fast.methods.DeferredReweighting(plain, reweighted)"
)


class ClassVectors(nn.Module):
    """Named vectors as buffers: ``.to(device)`` moves them, ``.half()`` and ``.bfloat16()`` do not round them.

    In bfloat16 the LDAM margins 0.4995 and 0.5 are one number, so a converted module would silently train another loss.
    The buffers are float32, the dtype of the arithmetic for all but float64 logits; exact float64 values stay on the
    CPU. They follow from the counts, so they are not in the state dict: a checkpoint fits another criterion.

    The values are fixed: a change would apply to some dtypes only, so it is refused. Equal values, as a broadcast
    between ranks writes them, are accepted. A change that torch does not count (through ``.data`` or memory shared with
    NumPy) is found at calls 1, 2, 4, ... 1024 of the loss, which compare the values, but not under ``torch.compile``.

    Args:
        vectors: name to float64 values: ``rows``, stacked for the operator, and what the loss itself reads.
    """

    def __init__(self, **vectors: Any) -> None:
        super().__init__()
        with torch.inference_mode(False):  # a module made for validation may train later
            self._exact = {name: torch.tensor(np.asarray(value), device="cpu") for name, value in vectors.items()}
            for name, exact in self._exact.items():
                values = exact.to(torch.get_default_device(), torch.float32)
                super().register_buffer(name, values, persistent=False)
        self._remember()

    def for_logits(self, logits: Tensor) -> dict[str, Any]:
        """Return the vectors in the dtype of the arithmetic: float64 for float64 logits, else float32.

        Raises ``RuntimeError`` if a vector was changed after the loss was made.
        """
        if not torch.compiler.is_compiling():
            self._require_unchanged()
        if isinstance(logits, Tensor) and logits.dtype is torch.float64:  # the operator refuses what is no tensor
            return {name: exact.to(logits.device) for name, exact in self._exact.items()}
        return dict(self._buffers)

    def require_exact(self) -> None:
        """Compare the values with the exact ones, whatever torch counted; raise as ``for_logits``."""
        for name in self._exact:
            buffer = self._buffers.get(name)
            if buffer is None or not self._equals(name, buffer):
                raise RuntimeError(f"vectors.{name} was changed, and {_FIXED}")
            if buffer.is_inference():  # has no version to compare
                with torch.inference_mode(False):
                    self._buffers[name] = buffer.clone()
        self._remember()

    def _require_unchanged(self) -> None:
        """Compare values only where torch counted a change: otherwise a step costs a few integer comparisons."""
        buffers = self._buffers
        for name, tensor, version in self._seen:
            if buffers.get(name) is not tensor or tensor._version != version:  # noqa: SLF001
                self.require_exact()
                return

    def _remember(self) -> None:
        self._seen = [(name, it, it._version) for name, it in self.named_buffers()]  # noqa: SLF001

    def _equals(self, name: str, values: Tensor) -> bool:
        return values.is_meta or torch.equal(values.detach().to("cpu", torch.float32), self._exact[name].float())

    def _require_equal(self, name: str, value: Any) -> None:
        if not (isinstance(value, Tensor) and name in self._exact and self._equals(name, value)):
            raise AttributeError(f"vectors.{name} cannot be set: {_FIXED}")

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name != "training":
            self._require_equal(name, None if isinstance(value, nn.Parameter) else value)
        super().__setattr__(name, value)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register a buffer, as torch does when one is set; refuse other values."""
        self._require_equal(name, tensor)
        super().register_buffer(name, tensor, persistent)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ClassVectors":
        """Take the device from ``fn`` and nothing else: the values are converted from the exact vectors again."""
        self._require_unchanged()
        with torch.inference_mode(False):
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
            for name, exact in self._exact.items():
                self._buffers[name] = exact.to(self.get_buffer(name).device, torch.float32)
        self._remember()
        return self
