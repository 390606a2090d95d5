"""Checkpoints: one folder each, safetensors and JSON, written aside and renamed; a damaged one is never used.

``epoch-0012`` was written after 12 whole epochs, ``epoch-0012-step-000034`` after 34 steps more::

    epoch-0012/
      model.safetensors      the model's state dict, readable by anything that reads safetensors
      training.safetensors   momentum buffers and the like
      state.json             numbers, and size and SHA-256 of everything above and of itself
"""

import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lt_fast.errors import DataError, require
from lt_fast.training.durable import sync_folder, unwritable, write_synced

_NAME = re.compile(r"epoch-(\d+)(?:-step-(\d+))?")
_STATE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back.

    Attributes:
        path: its folder.
        epoch: whole epochs done.
        step: steps done in the epoch after them.
        tensors: group to name to tensor; group ``"model"`` is the model's state dict.
        values: whatever plain values were saved.
    """

    path: Path
    epoch: int
    step: int
    tensors: dict[str, dict[str, Tensor]]
    values: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run: save, find the newest good one, drop the old.

    Args:
        folder: where they lie; made on the first save.
        keep: how many to keep, >= 1; with two, one good one is left when the newest is damaged.

    Raises:
        ValueError: if ``keep`` is below 1.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep must be >= 1, got {keep}")
        self.folder = Path(folder)
        self.keep = keep

    def paths(self) -> list[Path]:
        """Return the folders of all checkpoints, oldest first, unread."""
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)), key=_position)

    def save(
        self,
        epoch: int,
        step: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        values: Mapping[str, Any],
    ) -> Path:
        """Write a checkpoint and drop those beyond ``keep``; returns its folder.

        It appears under its name only once every byte is on the disk. Until then the previous one is the newest.

        Args:
            epoch: whole epochs done.
            step: steps done in the epoch after them.
            tensors: group (a file name) to name to tensor.
            values: anything that JSON holds.

        Raises:
            TypeError: if the values are not JSON's.
            DataError: if the disk is full or the folder cannot be written. Nothing half-written is left.
            MissingExtraError: if safetensors is not installed.
        """
        files = _encoded(tensors, values)
        path = self.folder / _name(epoch, step)
        aside = self.folder / f".{path.name}.partial"
        try:
            self._remove_leftovers()
            _write_folder(aside, files)
            if path.exists():  # written by an attempt that was resumed from before it, or damaged
                _remove(path)
            aside.rename(path)
            sync_folder(self.folder)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise unwritable(self.folder, error, what="a checkpoint", needed=sum(map(len, files.values()))) from error
        for old in self.paths()[: -self.keep]:
            _remove(old)
        return path

    def newest(self) -> Checkpoint | None:
        """Read the newest good checkpoint; None when there is none at all.

        A damaged one is passed over with a warning that names it and says what is wrong.

        Raises:
            DataError: if there are checkpoints and every one is damaged.
        """
        damaged = []
        for path in reversed(self.paths()):
            try:
                return read(path)
            except DataError as error:
                damaged.append(str(error))
                warnings.warn(f"{error}; using the one before it", stacklevel=2)
        if damaged:
            raise DataError(f"{self.folder} holds no readable checkpoint ({'; '.join(damaged)}); start another run")
        return None

    def drop_newer(self, checkpoint: Checkpoint) -> None:
        """Remove what is newer than ``checkpoint``: a run that resumes from it must not count them among the kept."""
        for path in self.paths():
            if _position(path) > (checkpoint.epoch, checkpoint.step):
                _remove(path)

    def _remove_leftovers(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(".epoch-*"):
            shutil.rmtree(path, ignore_errors=True)


def read(path: Path) -> Checkpoint:
    """Read one checkpoint and compare every byte with its recorded digest.

    Raises:
        DataError: naming the file that is missing, of the wrong size, or changed.
    """
    record = _read_state(path)
    load = require("safetensors.torch", extra="train", purpose="reading a checkpoint").load
    tensors = {}
    for name, recorded in record["files"].items():
        tensors[name.removesuffix(".safetensors")] = load(_checked_bytes(path / name, recorded))
    epoch, step = _position(path)
    return Checkpoint(path, epoch, step, tensors, record["values"])


def _encoded(tensors: Mapping[str, Mapping[str, Tensor]], values: Mapping[str, Any]) -> dict[str, bytes]:
    save = require("safetensors.torch", extra="train", purpose="saving a checkpoint").save
    files: dict[str, bytes] = {f"{group}.safetensors": save(dict(named)) for group, named in tensors.items()}
    record: dict[str, Any] = {"values": _plain(values), "files": {name: _digest(data) for name, data in files.items()}}
    record["sha256"] = _own_digest(record)
    return files | {_STATE: json.dumps(record, indent=1).encode()}


def _plain(values: Mapping[str, Any]) -> Any:
    try:
        return json.loads(json.dumps(values))
    except (TypeError, ValueError) as error:
        raise TypeError(f"values of a checkpoint must be plain JSON values: {error}") from error


def _digest(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _own_digest(record: Mapping[str, Any]) -> str:
    covered = {key: record[key] for key in ("values", "files")}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


def _read_state(path: Path) -> dict[str, Any]:
    file = path / _STATE
    try:
        record: dict[str, Any] = json.loads(file.read_bytes())
        intact = record["sha256"] == _own_digest(record)
    except OSError as error:
        raise DataError(f"checkpoint {path} is damaged: {_STATE} cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"checkpoint {path} is damaged: {_STATE} is not what was written") from error
    if not intact:
        raise DataError(f"checkpoint {path} is damaged: {_STATE} does not match its SHA-256")
    return record


def _checked_bytes(file: Path, recorded: Mapping[str, Any]) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(
            f"checkpoint {file.parent} is damaged: {file.name} cannot be read ({error.strerror})"
        ) from error
    if len(data) != recorded["bytes"]:
        wanted = recorded["bytes"]
        raise DataError(f"checkpoint {file.parent} is damaged: {file.name} has {len(data)} of {wanted} bytes")
    if hashlib.sha256(data).hexdigest() != recorded["sha256"]:
        raise DataError(f"checkpoint {file.parent} is damaged: {file.name} does not match its SHA-256")
    return data


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, data in files.items():
        write_synced(folder / name, data)
    sync_folder(folder)


def _name(epoch: int, step: int) -> str:
    return f"epoch-{epoch:04d}" + (f"-step-{step:06d}" if step else "")


def _position(path: Path) -> tuple[int, int]:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise DataError(f"a checkpoint folder must be named like epoch-0012 or epoch-0012-step-000034, got {path}")
    return int(match[1]), int(match[2] or 0)


def _remove(path: Path) -> None:
    """Take the name away first: a folder that is half removed must not look like a checkpoint."""
    going = path.with_name(f".{path.name}.removed")
    with suppress(OSError):
        shutil.rmtree(going, ignore_errors=True)
        path.rename(going)
        shutil.rmtree(going, ignore_errors=True)
