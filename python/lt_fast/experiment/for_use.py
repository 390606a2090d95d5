"""What a run stores so that its classifier can be used without the images that it was trained on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lt_fast._extras import require
from lt_fast._files import FOR_RUN, replace_file
from lt_fast.counts import ClassCounts
from lt_fast.datasets import ImageSet, channel_stats
from lt_fast.errors import DataError
from lt_fast.experiment.build import Data
from lt_fast.experiment.protocol import PROTOCOL
from lt_fast.methods import Method
from lt_fast.records import LIST, NUMBER, TEXT, WHOLE, nullable, read_json, read_tensors, whole

INPUT, NETWORK, VALIDATION = "input.json", "network.safetensors", "validation.safetensors"
"""The images that the network takes; its weights after a second stage of the method; the validation predictions."""

_SIZE = nullable(whole(1, 65_536))
_INPUT = {
    "channels": whole(1, 4096),
    "height": _SIZE,
    "width": _SIZE,
    **{f"{name}?": LIST for name in ("mean", "std")},
    **{f"{name}?.*": NUMBER for name in ("mean", "std")},
}
_NAMES = {"data.class_names": LIST, "data.class_names.*": TEXT, "data.class_counts": LIST, "data.class_counts.*": WHOLE}


@dataclass(frozen=True)
class DescribedImages:
    """A training set as a run directory describes it, without its images.

    Attributes:
        class_counts: images per class, with the names of the classes.
        shape: (height, width, channels) of images in memory; None where they were files of any size.
        mean, std: per channel, of images in memory, in units of ``pixel / 255``.
    """

    class_counts: ClassCounts
    shape: tuple[int, int, int] | None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.class_counts.names


def write_input(folder: Path, data: Data) -> None:
    """Write which images the network takes, unless the run in ``folder`` says so already.

    Raises:
        DataError: if the folder cannot be written.
    """
    if (folder / INPUT).exists():
        return
    record: dict[str, Any] = {"channels": 3, "height": None, "width": None}
    if isinstance(data.train, ImageSet):
        height, width, channels = map(int, data.train.images.shape[1:])
        mean, std = channel_stats(data.train.images)
        record = {"channels": channels, "height": height, "width": width, "mean": list(mean), "std": list(std)}
    replace_file(folder / INPUT, (json.dumps(record, indent=2) + "\n").encode(), next_step=FOR_RUN)


def described_images(folder: Path) -> DescribedImages:
    """Return what the run in ``folder`` says of its training images.

    Raises:
        DataError: if a file is missing or damaged.
    """
    counts = described_counts(folder)
    if not (folder / INPUT).exists():
        raise DataError(
            f"{folder / INPUT} is missing: the run does not say which images its network takes; "
            f"`lt-fast eval {folder}` writes it from the data set"
        )
    record = read_json(folder / INPUT, _INPUT)
    shape = None if record["height"] is None else (record["height"], record["width"], record["channels"])
    mean, std = (None if record.get(name) is None else tuple(record[name]) for name in ("mean", "std"))
    return DescribedImages(counts, shape, mean, std)


def described_counts(folder: Path) -> ClassCounts:
    """Return the training images per class of the run in ``folder``, with the names of the classes.

    Raises:
        DataError: if the protocol is missing or damaged.
    """
    named = read_json(folder / PROTOCOL, _NAMES)["data"]
    try:
        return ClassCounts(named["class_counts"], names=named["class_names"])
    except (TypeError, ValueError) as error:
        raise DataError(f"{folder / PROTOCOL} is damaged: {error}") from error


def has_second_stage(method: Method) -> bool:
    """Return whether the method changes its network after the last epoch, which no checkpoint holds."""
    trained = getattr(method, "trained", method)  # under weight averaging
    return type(trained).finish is not Method.finish


def write_network(folder: Path, method: Method) -> None:
    """Write the weights after the method's second stage, where it has one and they are not there.

    Raises:
        DataError: if the folder cannot be written.
    """
    if has_second_stage(method):
        safetensors = require("safetensors.torch", extra="train", purpose="saving the network")
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in method.model.state_dict().items()}
        replace_file(folder / NETWORK, safetensors.save(state), next_step=FOR_RUN)


def read_network(folder: Path, model: nn.Module) -> None:
    """Load the weights that ``write_network`` wrote into ``model``.

    Raises:
        DataError: if they are missing, damaged or those of another network.
    """
    if not (folder / NETWORK).exists():
        raise DataError(
            f"{folder / NETWORK} is missing, the weights after the method's second stage; `lt-fast eval {folder}` "
            "writes them from the data set"
        )
    tensors = read_tensors(folder / NETWORK)
    try:
        model.load_state_dict(tensors)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{folder / NETWORK} is not of this run's network: {reason}") from error
