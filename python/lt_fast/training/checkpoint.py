"""Checkpoints: one folder each, safetensors and JSON, complete or absent; a damaged one is never used.

``epoch-0012`` was written after 12 whole epochs, ``epoch-0012-step-000034`` after 34 steps more::

    epoch-0012/
      model.safetensors      the model's state dict, readable by anything that reads safetensors
      training.safetensors   momentum buffers and the like
      state.json             numbers, and size and SHA-256 of everything above and of itself
"""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lt_fast._extras import require
from lt_fast._files import (
    FOR_RUN,
    MOST_BYTES,
    MOST_JSON_BYTES,
    erase,
    parse_json,
    read_bytes,
    remove_folder,
    replace_folder,
    unwritable,
)
from lt_fast.errors import DataError
from lt_fast.records import (
    OBJECT,
    SHA256,
    WHOLE,
    Rule,
    check,
    parse_tensors,
)

# At most 18 digits: a longer number is none that was counted, and could not be handed to the samplers.
_NAME = re.compile(r"epoch-([0-9]{1,18})(?:-step-([0-9]{1,18}))?")
_FILE = re.compile(r"[A-Za-z0-9_-]{1,64}\.safetensors")
_STATE = "state.json"
_FILES = Rule(
    "an object of names like model.safetensors, without a path",
    lambda value: isinstance(value, dict) and all(_FILE.fullmatch(name) for name in value),
)
_STATE_RULES = {"values": OBJECT, "files": _FILES, "files.*.bytes": WHOLE, "files.*.sha256": SHA256, "sha256": SHA256}
_LISTINGS = 10


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back.

    Attributes:
        path: its folder.
        epoch: whole epochs done.
        step: steps done in the epoch after them.
        tensors: group to name to tensor; group ``"model"`` is the model's state dict.
        values: whatever plain values were saved.
        sha256: group to digest of its file.

    >>> import torch
    >>> checkpoints = Checkpoints("run")
    >>> _ = checkpoints.save(3, 0, {"model": {"weight": torch.ones(2)}}, {"note": "mine"})
    >>> found = checkpoints.newest()
    >>> isinstance(found, Checkpoint), found.epoch, found.tensors["model"]["weight"], found.values["note"]
    (True, 3, tensor([1., 1.]), 'mine')
    """

    path: Path
    epoch: int
    step: int
    tensors: dict[str, dict[str, Tensor]]
    values: dict[str, Any]
    sha256: dict[str, str]


class OtherRunError(DataError):
    """A good checkpoint lies in the folder of a run that did not write it."""


class Checkpoints:
    """The checkpoints of one run: save, find the newest good one, drop the old.

    Args:
        folder: where they are; made on the first save.
        keep: how many to keep, >= 1; with two, one good one is left when the newest is damaged.
        identity: what a checkpoint of this run has as its value ``config_sha256``; one that has another never pushes
            a checkpoint of this run out. None: any.

    Raises:
        ValueError: if ``keep`` is below 1.

    >>> import torch
    >>> checkpoints = Checkpoints("run", keep=2)
    >>> for epoch in (1, 2, 3):
    ...     _ = checkpoints.save(epoch, 0, {"model": {"weight": torch.full((2,), float(epoch))}}, {})
    >>> len(checkpoints.paths()), checkpoints.newest().tensors["model"]["weight"]
    (2, tensor([3., 3.]))
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, identity: str | None = None) -> None:
        if keep < 1:
            raise ValueError(f"keep must be >= 1, got {keep}")
        self.folder = Path(folder)
        self.keep = keep
        self.identity = identity
        self._good: set[str] = set()  # names of those written or read well by this object

    def paths(self) -> list[Path]:
        """Return the folders of all checkpoints, oldest first, unread.

        Raises:
            DataError: if the folder is none, or may not be read.
        """
        try:
            return sorted((path for path in self.folder.iterdir() if _is_name(path.name)), key=_position)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataError(f"{self.folder} cannot be read ({error.strerror})") from error

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
            ValueError: if the name of a group cannot be that of a file.
            DataError: if the disk is full or the folder cannot be written. Nothing half-written is left.
            MissingExtraError: if safetensors is not installed.
        """
        files = _encoded(tensors, values)
        path = self.folder / _name(epoch, step)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._erase_leftovers()
            # One of that name may be there: of an attempt that was resumed from before it, or damaged.
            replace_folder(path, files)
        except OSError as error:
            size = sum(map(len, files.values()))
            raise unwritable(self.folder, error, what="a checkpoint", needed=size, next_step=FOR_RUN) from error
        self._good.add(path.name)
        self._drop_old()
        return path

    def newest(
        self, accept: Callable[[Checkpoint], object] | None = None, *, most: int = MOST_BYTES
    ) -> Checkpoint | None:
        """Read the newest good checkpoint; None when there is none at all.

        A damaged one is passed over with a warning that names it and says what is wrong.

        Args:
            accept: called with a checkpoint that was read; raises ``DataError`` if it does not fit.
            most: size in bytes of the largest file of tensors that can be one of this model.

        Raises:
            OtherRunError: if ``accept`` raises it: a checkpoint of another run is not passed over.
            DataError: if there are checkpoints and every one is damaged.
        """
        for _ in range(_LISTINGS):  # a training that runs meanwhile may remove what was listed before it is read
            paths = self.paths()
            found = self._newest_of(paths, accept, most)
            if found is not None or self.paths() == paths:
                return found
        return None

    def _newest_of(
        self, paths: list[Path], accept: Callable[[Checkpoint], object] | None, most: int
    ) -> Checkpoint | None:
        damaged, unfit = [], []
        for path in reversed(paths):
            try:
                checkpoint = read(path, most=most)
            except DataError as error:
                if os.path.lexists(path):
                    damaged.append(str(error))
                    if path != paths[0]:
                        warnings.warn(f"{error}; using the one before it", stacklevel=4)
                continue
            try:
                if accept is not None:
                    accept(checkpoint)
            except OtherRunError:
                raise
            except DataError as error:
                unfit.append(str(error))
                continue
            for words in unfit:  # only now: where every one is refused, the error says it all
                warnings.warn(f"{words}; using the one before it", stacklevel=4)
            self._good.add(path.name)
            return checkpoint
        if damaged or unfit:
            reasons = "; ".join(damaged + unfit)
            raise DataError(f"{self.folder} holds no readable checkpoint ({reasons}); start another run")
        return None

    def drop_newer(self, checkpoint: Checkpoint) -> None:
        """Remove what is newer than ``checkpoint``: a run that resumes from it must not count them among the kept."""
        for path in self.paths():
            if _position(path) > (checkpoint.epoch, checkpoint.step):
                remove_folder(path)

    def tidy(self) -> None:
        """Remove what a killed process left: half-written and half-removed checkpoints, and those beyond ``keep``.

        Damaged checkpoints do not count: they never push a good one out.
        """
        self._erase_leftovers()
        self._drop_old()

    def _erase_leftovers(self) -> None:
        for path in self.folder.glob(".epoch-*"):
            erase(path)

    def _drop_old(self) -> None:
        good = 0
        for path in reversed(self.paths()):
            if good >= self.keep:
                remove_folder(path)
                self._good.discard(path.name)
            else:
                good += self._is_good(path)

    def _is_good(self, path: Path) -> bool:
        if path.name not in self._good:
            with suppress(DataError):
                values = read(path).values
                if self.identity in (None, values.get("config_sha256")):
                    self._good.add(path.name)
        return path.name in self._good


def read(path: Path, *, most: int = MOST_BYTES) -> Checkpoint:
    """Read one checkpoint and compare every byte with its recorded digest.

    Args:
        path: its folder.
        most: size in bytes of the largest file that is read.

    Raises:
        DataError: naming the file that is missing, of the wrong size, changed, or no file of a checkpoint.
    """
    epoch, step = _position(path)
    try:
        _refuse_link(path)
        record = _read_state(path / _STATE)
        tensors = {
            name.removesuffix(".safetensors"): _read_group(path / name, recorded, most)
            for name, recorded in record["files"].items()
        }
    except (DataError, OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        words = str(error).removeprefix(f"{path}/")
        raise DataError(f"checkpoint {path} is damaged: {words}") from error
    digests = {name.removesuffix(".safetensors"): recorded["sha256"] for name, recorded in record["files"].items()}
    return Checkpoint(path, epoch, step, tensors, record["values"], digests)


def _encoded(tensors: Mapping[str, Mapping[str, Tensor]], values: Mapping[str, Any]) -> dict[str, bytes]:
    save = require("safetensors.torch", extra="train", purpose="saving a checkpoint").save
    files: dict[str, bytes] = {f"{group}.safetensors": save(dict(named)) for group, named in tensors.items()}
    if not _FILES.holds(files):
        raise ValueError(f"tensors must have groups of letters, digits, - and _, got {', '.join(tensors)}")
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


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise DataError(f"it must be a folder, got a link to {path.resolve()}")


def _read_state(file: Path) -> dict[str, Any]:
    data = read_bytes(file, most=MOST_JSON_BYTES)
    try:
        record: dict[str, Any] = parse_json(data)
        check(record, _STATE_RULES)
    except ValueError as error:
        raise DataError(f"{_STATE} is not what was written: {error}") from error
    _require_digest(record["sha256"], _own_digest(record), _STATE)
    return record


def _require_digest(recorded: str, found: str, name: str) -> None:
    if recorded != found:
        raise DataError(f"{name} does not match its SHA-256")


def _read_group(file: Path, recorded: Mapping[str, Any], most: int) -> dict[str, Tensor]:
    data = read_bytes(file, most=most, exactly=recorded["bytes"])
    _require_digest(recorded["sha256"], hashlib.sha256(data).hexdigest(), file.name)
    return parse_tensors(data, file)


def _name(epoch: int, step: int) -> str:
    return f"epoch-{epoch:04d}" + (f"-step-{step:06d}" if step else "")


def _is_name(name: str) -> bool:
    """Return whether ``name`` is spelled as ``save`` spells it: one position has one name."""
    match = _NAME.fullmatch(name)
    return match is not None and name == _name(int(match[1]), int(match[2] or 0))


def _position(path: Path) -> tuple[int, int]:
    match = _NAME.fullmatch(path.name)
    if match is None or not _is_name(path.name):
        raise DataError(f"a checkpoint folder must be named like epoch-0012 or epoch-0012-step-000034, got {path}")
    return int(match[1]), int(match[2] or 0)
