"""Vectors of length C that a loss carries: they follow the module to a device and never lose precision on the way."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lt_fast.counts import ClassCounts


class ClassVectors(nn.Module):
    """Named ``(C,)`` vectors as buffers: ``.to(device)`` moves them, ``.half()`` and ``.bfloat16()`` do not round them.

    In bfloat16 the LDAM margins 0.4995 and 0.5 are one number, so a converted module would silently train another loss.
    Float vectors are float32 on the device, which is what every loss but that of float64 logits is computed in; the
    exact float64 values stay on the CPU. The vectors follow from the counts alone: they are not part of the state dict,
    so a checkpoint stays valid when a criterion is exchanged.

    Args:
        counts: training samples per class, kept as ``class_counts``.
        vectors: name to ``(C,)`` float64 array, or None for a vector that the loss goes without.
    """

    def __init__(self, counts: ClassCounts, **vectors: NDArray[np.float64] | None) -> None:
        super().__init__()
        vectors = {"class_counts": _positive(counts), **vectors}
        given = {name: np.ascontiguousarray(array) for name, array in vectors.items() if array is not None}
        with torch.inference_mode(False):  # a module made for validation may train later
            self._exact = {name: torch.tensor(array, device="cpu") for name, array in given.items()}
            for name, exact in self._exact.items():
                self.register_buffer(name, exact.to(torch.get_default_device(), torch.float32), persistent=False)

    def for_logits(self, logits: Tensor) -> dict[str, Any]:
        """Return the vectors for the dtype that the loss is computed in: float64 for float64 logits, else float32."""
        if logits.dtype == torch.float64:
            return {name: exact.to(logits.device) for name, exact in self._exact.items()}
        return dict(self._buffers)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ClassVectors":
        """Take the device from ``fn`` and nothing else: the values come from the exact vectors again."""
        with torch.inference_mode(False):
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
            for name, exact in self._exact.items():
                setattr(self, name, exact.to(self.get_buffer(name).device, torch.float32))
        return self


def _positive(counts: ClassCounts) -> NDArray[np.float64]:
    """Counts for the op, which takes no empty class where labels are mixed by size, and looks only at quotients.

    So a class without samples (``empty="ignore"``) is entered with a millionth of one: the others keep their quotients,
    and the mean weight of a training sample its digits in float32.
    """
    exact = counts.counts.astype(np.float64)
    return np.where(exact > 0, exact * 2.0**20, 1.0) if counts.empty.size else exact
