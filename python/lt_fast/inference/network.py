"""The network of a run as one module: from images to final logits, with method, scale and calibrator applied.

The networks of a cross-validation are one module too: the mean of their probabilities.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lt_fast.errors import DataError, UsageError
from lt_fast.experiment.build import (
    Data,
    make_calibrator,
    make_method,
    make_mixer,
    make_model,
    make_transform,
    plain_of,
)
from lt_fast.experiment.calibrating import read_calibration
from lt_fast.experiment.folds import finished_folds, refuse_folds
from lt_fast.experiment.for_use import (
    DescribedImages,
    described_counts,
    described_images,
    has_second_stage,
    read_network,
)
from lt_fast.experiment.results import CALIBRATION, loaded_calibrator, ties_to
from lt_fast.experiment.start import newest_of
from lt_fast.experiment.stored import stored_config
from lt_fast.methods import Method
from lt_fast.models import Classifier, Frozen
from lt_fast.registry import CALIBRATORS, RegisteredFile
from lt_fast.training.state import restore_method


class Logits(nn.Module):
    """From images to the logits whose softmax is the answer.

    Args:
        method: of the run, with its weights.
        calibrator: fitted, or None.

    Shape:
        x (N, Ch, H, W) float; returns (N, C) float32.
    """

    def __init__(self, method: Method, calibrator: Any = None) -> None:
        super().__init__()
        self.calibrated = None if calibrator is None else calibrator.apply(method.model)
        self.method = method if calibrator is None else None

    @property
    def model(self) -> nn.Module:
        """The network, calibrated where it is."""
        model: Any = self.calibrated if self.method is None else self.method.model
        assert isinstance(model, nn.Module)
        return model

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor
        if self.calibrated is not None:
            logits = self.calibrated(x).float()
        else:
            assert self.method is not None
            logits = self.method.predict(x)
        return logits


class MeanOfFolds(nn.Module):
    """The mean of several networks' probabilities, as the logits ``log(mean(softmax(logits)))``, whose softmax it is.

    Networks that were frozen with the same layers compute their features once.

    Args:
        networks: one for each fold.

    Shape:
        x (N, Ch, H, W) float; returns (N, C) float32.
    """

    def __init__(self, networks: Sequence[Logits]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.shared = _shared_layers([network.model for network in networks])

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = x if self.shared is None else self.shared(x)
        every = torch.stack([network(x).log_softmax(dim=1) for network in self.networks])
        return every.logsumexp(dim=0) - log(len(self.networks))


def _shared_layers(models: Sequence[nn.Module]) -> nn.Module | None:
    """Return what gives the features of all ``models``, where they are frozen and alike; they then hold it once."""
    frozen = [model for model in models if isinstance(model, Frozen)]
    states = [model.network.state_dict() for model in frozen]
    alike = all(torch.equal(tensor, states[0][name]) for state in states for name, tensor in state.items())
    if len(frozen) < len(models) or not alike:
        return None
    for model in frozen:
        model.network = frozen[0].network
    return _Features(frozen[0].network)


class _Features(nn.Module):
    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.features(x)


class Restored(NamedTuple):
    """What a run directory gives without its data.

    Attributes:
        folder: of the run.
        config: its configuration.
        images: what it says of its training images.
        transform: prepares an image without augmentation.
        method: with the weights of the newest checkpoint, in evaluation mode.
        calibrator: fitted, or None.
        calibration: settings of the calibrator, ``{"name": ...}``, or None.
        epoch: of the checkpoint.
        checkpoint: SHA-256 of its weights.
    """

    folder: Path
    config: dict[str, Any]
    images: DescribedImages
    transform: Any
    method: Method
    calibrator: Any
    calibration: dict[str, Any] | None
    epoch: int
    checkpoint: str

    def network(self) -> nn.Module:
        """Return the network from prepared images to final logits."""
        return Logits(self.method, self.calibrator)


class RestoredFolds(NamedTuple):
    """What a cross-validation gives: its runs, which are used together.

    Attributes:
        folder, config: of the cross-validation.
        images: what it says of its training images; the class counts are means over the folds.
        every: the runs.
    """

    folder: Path
    config: dict[str, Any]
    images: DescribedImages
    every: tuple[Restored, ...]

    @property
    def transform(self) -> Any:
        """Prepares an image without augmentation; the same for every run."""
        return self.every[0].transform

    @property
    def calibration(self) -> dict[str, Any] | None:
        """Settings of the calibrators, or None."""
        return self.every[0].calibration

    @property
    def epoch(self) -> int:
        """Epochs that every run was trained for."""
        return self.every[0].epoch

    @property
    def checkpoint(self) -> str:
        """SHA-256 of those of the runs' weights."""
        return hashlib.sha256("".join(each.checkpoint for each in self.every).encode()).hexdigest()

    def network(self) -> nn.Module:
        """Return the network from prepared images to the logits of the mean probabilities."""
        return MeanOfFolds([Logits(each.method, each.calibrator) for each in self.every])


def restored_folds(root: Path, *, recipe_file: RegisteredFile | None = None) -> RestoredFolds:
    """Read the runs of a finished cross-validation; arguments and errors as ``restored``."""
    config = stored_config(root, recipe_file)
    every = tuple(restored(place, recipe_file=recipe_file) for place in finished_folds(root, config))
    return RestoredFolds(root, config, replace(every[0].images, class_counts=described_counts(root)), every)


def restored(
    run: str | Path, *, calibration: str | Path | None = None, recipe_file: RegisteredFile | None = None
) -> Restored:
    """Read a run directory: network, calibrator, classes and preprocessing; no image is needed.

    Args:
        run: directory of a run with at least one checkpoint.
        calibration: folder that ``lt-fast calibrate`` wrote, in place of the run's own calibrator.
        recipe_file: the file that registers the run's recipe, where it is not where the run records it.

    Raises:
        UsageError: if the run needs a recipe file that is missing or has changed.
        DataError: if the folder is no run, has no checkpoint, or a file is missing or damaged.
    """
    folder = Path(run)
    config = stored_config(folder, recipe_file)
    refuse_folds(folder, config)
    images = described_images(folder)
    data = Data(images, None)
    try:
        model = make_model(config, data, first_weights=False)
        augmented = make_transform(config, data, model)
        transform = plain_of(config, augmented)
        method = make_method(config, data, make_mixer(config, data, augmented), model=model)
    except UsageError as error:  # no run is started with options that a component refuses
        raise DataError(f"{folder / 'config.json'} is damaged: {error}") from error
    checkpoint = newest_of(folder, method.model, config=config)
    restore_method(method, checkpoint)
    done = checkpoint.epoch == config["epochs"]
    if done and has_second_stage(method):
        read_network(folder, method.model)
    calibrator, record = None, None
    if calibration is not None:
        calibrator, record = _separate_calibrator(config, method, Path(calibration))
    elif done and config["calibrator"] is not None:
        wanted, record = make_calibrator(config, images.class_counts), config["calibrator"]
        calibrator = loaded_calibrator(wanted, folder / CALIBRATION, ties_to(config, method.model))
    return Restored(
        folder, config, images, transform, method.eval(), calibrator, record, checkpoint.epoch,
        checkpoint.sha256["model"],
    )  # fmt: skip


def _separate_calibrator(config: dict[str, Any], method: Method, folder: Path) -> tuple[Any, dict[str, Any]]:
    record = read_calibration(folder)
    if record["ties"] != ties_to(config, method.model):
        raise DataError(
            f"{folder} is not of this run: it was fitted to another network; `lt-fast calibrate` fits one to this run"
        )
    return CALIBRATORS[record["calibrator"]["name"]].load(folder), record["calibrator"]


def scored(network: nn.Module, x: Tensor, *, device: torch.device, amp: bool) -> Tensor:
    """Return the logits (N, C) float32 on the CPU, in the precision that the run was measured in."""
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp):
        logits: Tensor = network(x.to(device, memory_format=torch.channels_last))
    return logits.float().cpu()
