"""A checkpoint of a run, for evaluation or as the first weights of another run under a new schedule."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from lt_fast.errors import DataError, UsageError
from lt_fast.experiment.build import Data, make_model
from lt_fast.experiment.protocol import other_images
from lt_fast.experiment.stored import stored_config
from lt_fast.records import FRACTION, nullable
from lt_fast.training import Checkpoint, Checkpoints
from lt_fast.training.run_directory import identity_of
from lt_fast.training.state import most_bytes, place_of, refuse_other_run, unlike

CURVES = ("top1", "many_recall", "medium_recall", "few_recall")
"""Metrics in every epoch's row of ``metrics.csv``, as ``validation_<name>`` or, without such a set, ``test_<name>``."""

ROW_RULES = {f"{measured}_{name}": nullable(FRACTION) for measured in ("test", "validation") for name in CURVES}
"""What those columns must hold in a checkpoint."""


class Start(NamedTuple):
    """Where first weights come from, as the configuration records it, and the weights."""

    record: dict[str, Any]
    weights: dict[str, Tensor]


def read_start(folder: Path, config: Mapping[str, Any], data: Data) -> Start:
    """Return the weights of the newest checkpoint of the run in ``folder``, for a run by ``config``.

    Raises:
        UsageError: if that run has another network, or other images: the test images of the one may have trained the
            other.
        DataError: if it is no run, has no checkpoint, or a file of it is damaged.
    """
    theirs = stored_config(folder)
    other = _differences(theirs, config)
    if other:
        raise UsageError(f"--start-from needs a run of the same data and network, but {', '.join(other)}; name another")
    _refuse_other_images(folder, data)
    checkpoint = newest_of(folder, make_model(config, data, first_weights=False), config=theirs)
    record = {
        "run": os.fsencode(folder.resolve().name).decode("utf-8", "backslashreplace"),  # JSON holds Unicode alone
        "recipe": theirs["recipe"],
        "epoch": checkpoint.epoch,
        "sha256": checkpoint.sha256["model"],
    }
    return Start(record, checkpoint.tensors["model"])


def newest_of(folder: Path, model: nn.Module, *, config: Mapping[str, Any]) -> Checkpoint:
    """Return the newest good checkpoint of the run in ``folder``, one of ``model`` and of ``config``.

    Raises:
        DataError: if there is none, or a checkpoint there is of another run.
    """
    epochs = config["epochs"]

    def accept(found: Checkpoint) -> None:
        fault = unlike(found.tensors.get("model", {}), model.state_dict())
        if fault is not None:
            raise DataError(f"checkpoint {found.path} is not of the model that config.json names: {fault}")
        refuse_other_run(found, identity_of(config), ROW_RULES)
        if place_of(found).epoch > epochs:
            raise DataError(f"checkpoint {found.path} must be within {epochs} epochs, got epoch {found.epoch}")

    checkpoint = Checkpoints(folder / "checkpoints").newest(accept, most=most_bytes(model))
    if checkpoint is None:
        raise DataError(f"{folder} has no checkpoint yet; `lt-fast train --resume {folder}` continues it")
    return checkpoint


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    flat_theirs, flat_ours = ({"data": each["data"], **_network(each)} for each in (theirs, ours))
    return [
        f"{name} is {flat_theirs.get(name)!r} there and {flat_ours.get(name)!r} here"
        for name in {**flat_theirs, **flat_ours}
        if flat_theirs.get(name) != flat_ours.get(name)
    ]


def _network(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"model" if name == "name" else f"model.{name}": value for name, value in config["model"].items()}


def _refuse_other_images(folder: Path, data: Data) -> None:
    other = other_images(folder, data)
    if other is not None:
        raise UsageError(
            f"--start-from needs a run on the same images, or what is tested may have been trained on, but {other}; "
            "give the same --seed, --imbalance-ratio, --profile and subset_seed as there"
        )
