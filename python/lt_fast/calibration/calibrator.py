"""What all calibrators have in common, whatever they learn: a call, and their tensors as a state dict."""

import os
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from lt_fast._text import shown
from lt_fast.calibration.checks import as_tensor
from lt_fast.errors import DataError

_HALVES = (torch.float16, torch.bfloat16)


class Calibrator:
    """Base of calibrators: a call is ``transform``, and what has been learned is a dictionary of tensors."""

    def transform(self, given: Any) -> Tensor:
        """Return calibrated logits ``(N, C)``."""
        raise NotImplementedError

    def __call__(self, given: Any) -> Tensor:
        """Return ``transform(given)``."""
        return self.transform(given)

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of the tensors that have been learned, by name: what ``save`` writes, without the settings.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
        """
        return {name: tensor.detach().clone() for name, tensor in self._fitted("state_dict").items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Take over the tensors of ``state_dict()`` of a calibrator with the same settings, and return self.

        Half-precision tensors become float32.

        Raises:
            TypeError: if ``state`` is no mapping, or a tensor is not of floats.
            DataError: if a tensor is missing, has another shape or is not finite; nothing has changed then.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be what state_dict() returned, got {shown(state)}")
        lacking = [name for name in self._names() if name not in state]
        if lacking:
            raise DataError(f"state must hold {', '.join(self._names())}, got no {lacking[0]!r}")
        tensors = {name: as_tensor(values, name=name).detach().clone() for name, values in state.items()}
        for name in self._names():
            tensors[name] = _floats(tensors[name], name)
        broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
        if broken:
            raise DataError(f"state must hold finite numbers, got NaN or infinity in {broken[0]!r}")
        self._restore(tensors, "state")
        return self

    def _names(self) -> tuple[str, ...]:
        """Return the names of the tensors that a fitted calibrator always has."""
        raise NotImplementedError

    def _fitted(self, what: str) -> dict[str, Tensor]:
        """Return what has been learned, or raise ``RuntimeError`` where nothing has."""
        raise NotImplementedError

    def _restore(self, tensors: dict[str, Tensor], folder: str | os.PathLike[str]) -> None:
        """Take over tensors that were read; raise ``DataError`` if one has another shape."""
        raise NotImplementedError


def _floats(tensor: Tensor, name: str) -> Tensor:
    """Return what a calibrator can compute with: float32 and float64 as they are."""
    if tensor.is_meta or not tensor.is_floating_point():
        kind = "a tensor without values" if tensor.is_meta else f"dtype {tensor.dtype}"
        raise TypeError(f"state must hold floats in {name!r}, got {kind}; pass what state_dict() returned")
    return tensor.float() if tensor.dtype in _HALVES else tensor
