"""Vectors of length C that a loss carries: they follow the module to a device and never lose precision on the way."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lt_fast.counts import ClassCounts
from lt_fast.ops.arguments import require_tensor


class ClassVectors(nn.Module):
    """Named ``(C,)`` vectors as buffers: ``.to(device)`` moves them, ``.half()`` and ``.bfloat16()`` do not round them.

    In bfloat16 the LDAM margins 0.4995 and 0.5 are one number, so a converted module would silently train another loss.
    Float vectors are float32 on the device, which is what every loss but that of float64 logits is computed in; the
    exact float64 values stay on the CPU. The vectors follow from the counts alone: they are not part of the state dict,
    so a checkpoint stays valid when a criterion is exchanged.

    The values are fixed: a buffer that is replaced or changed in place would count for some dtypes and not for others,
    so it is refused. Equal values, such as those of a broadcast between ranks, are accepted. A change that torch does
    not count (through ``.data`` or memory shared with NumPy) is refused at the loss's calls 1, 2, 4, ... 1024, when the
    values are compared; between and after these calls, and under ``torch.compile``, it goes unnoticed.

    Args:
        counts: training samples per class, kept as ``class_counts``.
        vectors: name to ``(C,)`` float64 array, or None for a vector that the loss goes without.
    """

    def __init__(self, counts: ClassCounts, **vectors: NDArray[np.float64] | None) -> None:
        super().__init__()
        vectors = {"class_counts": _positive(counts), **vectors}
        given = {name: np.ascontiguousarray(array) for name, array in vectors.items() if array is not None}
        self._seen: list[tuple[str, Tensor, int]] = []
        with torch.inference_mode(False):  # a module made for validation may train later
            self._exact = {name: torch.tensor(array, device="cpu") for name, array in given.items()}
            for name, exact in self._exact.items():
                values = exact.to(torch.get_default_device(), torch.float32)
                super().register_buffer(name, values, persistent=False)
        self._remember()

    def for_logits(self, logits: Tensor) -> dict[str, Any]:
        """Return the vectors for the dtype that the loss is computed in: float64 for float64 logits, else float32.

        Raises:
            TypeError: if ``logits`` is no tensor.
            RuntimeError: if a vector was changed after the loss was made.
        """
        require_tensor(logits)
        if not torch.compiler.is_compiling():
            self._require_unchanged()
        if logits.dtype == torch.float64:
            return {name: exact.to(logits.device) for name, exact in self._exact.items()}
        return dict(self._buffers)

    def _require_unchanged(self) -> None:
        """Compare values only where torch counted a change, so that a step costs a few integers."""
        buffers = self._buffers
        for name, tensor, version in self._seen:
            if buffers.get(name) is not tensor or tensor._version != version:  # noqa: SLF001
                break
        else:
            return
        self._look_again()

    def require_exact(self) -> None:
        """Compare the values themselves with the exact ones, whatever torch counted.

        Raises:
            RuntimeError: if a vector was changed after the loss was made.
        """
        self._look_again()

    def _look_again(self) -> None:
        for name in self._exact:
            buffer = self._buffers.get(name)
            if buffer is None or not self._equals(name, buffer):
                raise RuntimeError(f"vectors.{name} was changed, and {_FIXED}")
            if buffer.is_inference():  # has no version to compare
                with torch.inference_mode(False):
                    self._buffers[name] = buffer.clone()
        self._remember()

    def _remember(self) -> None:
        held = ((name, self.get_buffer(name)) for name in self._exact)
        self._seen = [(name, tensor, tensor._version) for name, tensor in held]  # noqa: SLF001

    def _equals(self, name: str, values: Tensor) -> bool:
        if values.is_meta:
            return True
        return torch.equal(values.detach().to("cpu", torch.float32), self._exact[name].float())

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the module; refuse another vector."""
        if not name.startswith("_") and name != "training":
            self._require_equal(name, value)
        super().__setattr__(name, value)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register a buffer, which torch does where one is set; refuse another vector."""
        self._require_equal(name, tensor)
        super().register_buffer(name, tensor, persistent)

    def _require_equal(self, name: str, value: Any) -> None:
        if not (isinstance(value, Tensor) and name in self._exact and self._equals(name, value)):
            raise AttributeError(f"vectors.{name} cannot be set: {_FIXED}")

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Refuse: the vectors are those of the constructor."""
        del param
        raise AttributeError(f"vectors.{name} cannot be set: {_FIXED}")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ClassVectors":
        """Take the device from ``fn`` and nothing else: the values come from the exact vectors again."""
        self._require_unchanged()
        with torch.inference_mode(False):
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
            for name, exact in self._exact.items():
                self._buffers[name] = exact.to(self.get_buffer(name).device, torch.float32)
        self._remember()
        return self


_FIXED = (
    "the vectors of a loss are fixed when it is made; make a new loss, with weight=... for other class weights, or "
    "switch between two losses at an epoch by lt_fast.training.DeferredReweighting(plain, reweighted)"
)


def _positive(counts: ClassCounts) -> NDArray[np.float64]:
    """Counts for the op, which takes no empty class where labels are mixed by size, and looks only at quotients.

    So a class without samples (``empty="ignore"``) is entered with a millionth of one: the others keep their quotients,
    and the mean weight of a training sample its digits in float32.
    """
    exact = counts.counts.astype(np.float64)
    return np.where(exact > 0, exact * 2.0**20, 1.0) if counts.empty.size else exact
