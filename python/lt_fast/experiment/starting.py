"""A new run from the weights of another one: trained on under a new schedule."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from lt_fast.errors import DataError, UsageError
from lt_fast.recipes import assembly
from lt_fast.recipes.assembly import Data
from lt_fast.recipes.stored_config import stored_config
from lt_fast.records import FRACTION, OBJECT, TEXT, nullable, read_json
from lt_fast.training import Checkpoint, Checkpoints
from lt_fast.training.run_directory import identity_of
from lt_fast.training.state import most_bytes, place_of, refuse_other_run, unlike

PROTOCOL = "protocol.json"

CURVES = ("top1", "many_recall", "medium_recall", "few_recall")
"""Metrics of the test set that every epoch's row of ``metrics.csv`` holds, as ``test_<name>``."""

ROW_RULES = {f"test_{name}": nullable(FRACTION) for name in CURVES}
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
    other = [
        f"{name} is {theirs[name]!r} there and {config[name]!r} here"
        for name in ("data", "model", "head")
        if theirs[name] != config[name]
    ]
    if other:
        raise UsageError(f"--start-from needs a run of the same data and network, but {', '.join(other)}; name another")
    _refuse_other_images(folder, data)
    checkpoint = newest_of(folder, assembly.make_model(config, data), config=theirs)
    record = {
        "run": os.fsencode(folder.resolve().name).decode("utf-8", "backslashreplace"),  # JSON holds Unicode alone
        "method": theirs["method"],
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


def other_images(folder: Path, data: Data) -> str | None:
    """Say which images of ``data`` are not those that the protocol of the run in ``folder`` records, or None.

    Raises:
        DataError: if ``protocol.json`` is missing or damaged.
    """
    rules = {"data": OBJECT, "data.train_fingerprint": TEXT, "data.test_fingerprint": TEXT}
    recorded = read_json(folder / PROTOCOL, rules)["data"]
    for name, images in (("train", data.train), ("test", data.test)):
        theirs = recorded[f"{name}_fingerprint"]
        if theirs != images.fingerprint:
            return f"the {name} images there have the fingerprint {theirs!r}, these have {images.fingerprint!r}"
    return None


def _refuse_other_images(folder: Path, data: Data) -> None:
    other = other_images(folder, data)
    if other is not None:
        raise UsageError(
            f"--start-from needs a run on the same images, or what is tested may have been trained on, but {other}; "
            "give the same --seed, --imbalance-ratio, --profile and subset_seed as there"
        )
