"""The test set's logits and labels as a run saves them, so that every report redraws without the network."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from lt_fast.errors import require
from lt_fast.training.durable import replace_file

FILE = "predictions.safetensors"


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
        safetensors = require("safetensors.torch", extra="train", purpose="saving predictions")
        tensors = {name: tensor.contiguous() for name, tensor in self._asdict().items() if tensor is not None}
        replace_file(folder / FILE, safetensors.save(tensors))
