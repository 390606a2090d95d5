"""The network of another run on the same images, as a method may learn from it."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lt_fast.errors import UsageError
from lt_fast.experiment.build import Data, make_method, make_mixer, make_model, make_transform
from lt_fast.experiment.protocol import other_images
from lt_fast.experiment.start import newest_of
from lt_fast.experiment.stored import stored_config
from lt_fast.methods import Method
from lt_fast.training.state import restore_method


class NetworkOfRun(nn.Module):
    """From prepared images (N, Ch, H, W) to the logits (N, C) of a finished run, without its second stage.

    Attributes:
        record: which weights they are: ``run``, ``recipe``, ``epoch``, ``sha256``.
    """

    def __init__(self, method: Method, record: dict[str, Any]) -> None:
        super().__init__()
        self.method, self.record = method, record
        self.requires_grad_(requires_grad=False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.method.predict(x)


def network_of_run(folder: str, *, data: Data) -> NetworkOfRun:
    """Return the network of the finished run in ``folder``.

    Raises:
        UsageError: if that run has not finished, or is one on other images: its test images may be trained on here.
        DataError: if it is no run, or a file of it is damaged.
    """
    place = Path(folder)
    config = stored_config(place)
    other = other_images(place, data)
    if other is not None:
        raise UsageError(f"method.teacher must be a run on the same images, but {other}; name another run")
    model = make_model(config, data, first_weights=False)
    checkpoint = newest_of(place, model, config=config)
    if checkpoint.epoch < config["epochs"]:
        raise UsageError(
            f"method.teacher must be a finished run, got {folder} after epoch {checkpoint.epoch} of "
            f"{config['epochs']}; `lt-fast train --resume {folder}` continues it"
        )
    mixer = make_mixer(config, data, make_transform(config, data, model))
    method = make_method(config, data, mixer, model=model)
    restore_method(method, checkpoint)
    record = {"run": place.resolve().name, "recipe": config["recipe"], "epoch": checkpoint.epoch}
    return NetworkOfRun(method, {**record, "sha256": checkpoint.sha256["model"]})
