"""The test set's logits and labels as a run saves them, so that every report redraws without the network."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from lt_fast.errors import DataError, require
from lt_fast.records import read_bytes
from lt_fast.training.durable import replace_file
from lt_fast.training.run_files import PREDICTIONS


class Predictions(NamedTuple):
    """Logits ``(N, C)`` float32 before and, where there is a calibrator, after calibration; labels ``(N,)`` int64."""

    logits: Tensor
    labels: Tensor
    calibrated_logits: Tensor | None

    def save(self, folder: Path) -> None:
        """Write them into ``folder``, aside and renamed.

        Raises:
            DataError: if the folder cannot be written.
        """
        replace_file(folder / PREDICTIONS, self._encoded())

    def save_if_other(self, folder: Path) -> str | None:
        """Write them into ``folder`` unless they are there; return why they could not be written, or None."""
        data = self._encoded()
        try:
            if read_bytes(folder / PREDICTIONS) == data:
                return None
        except DataError:
            pass  # missing or damaged: all the more to be written
        try:
            replace_file(folder / PREDICTIONS, data)
        except DataError as error:
            cause = error.__cause__  # without the advice to those who train
            return f"{folder} cannot be written ({cause.strerror if isinstance(cause, OSError) else error})"
        return None

    def _encoded(self) -> bytes:
        safetensors = require("safetensors.torch", extra="train", purpose="saving predictions")
        tensors = {name: tensor.contiguous() for name, tensor in self._asdict().items() if tensor is not None}
        data: bytes = safetensors.save(tensors)
        return data
