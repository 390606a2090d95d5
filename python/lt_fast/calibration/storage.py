"""A calibrator on disk: settings as JSON, numbers as safetensors, in one folder. No code runs on reading."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lt_fast.errors import DataError, require

_SETTINGS, _TENSORS = "calibrator.json", "calibrator.safetensors"


def write(folder: str | os.PathLike[str], settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write both files into ``folder``, which is made if need be; each is written aside, then renamed.

    The tensors come first: a folder with a JSON file is complete.

    Raises:
        MissingExtraError: if safetensors is not installed.
        OSError: if the folder cannot be written.
    """
    save = require("safetensors.torch", extra="train", purpose="saving a calibrator").save
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    _replace(place / _TENSORS, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))
    _replace(place / _SETTINGS, (json.dumps(settings, indent=2, allow_nan=False) + "\n").encode())


def read(
    folder: str | os.PathLike[str], *, method: str, names: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the settings and the tensors called ``names`` of a calibrator called ``method``.

    Raises:
        DataError: if a file is missing or damaged, belongs to another method, or lacks a tensor; names the file.
        MissingExtraError: if safetensors is not installed.
    """
    place = Path(folder)
    settings = _settings(place / _SETTINGS)
    if settings.get("method") != method:
        raise DataError(f"{place / _SETTINGS} must hold a {method!r} calibrator, got {settings.get('method')!r}")
    tensors = _tensors(place / _TENSORS)
    lacking = [name for name in names if name not in tensors]
    if lacking:
        raise DataError(f"{place / _TENSORS} must hold {', '.join(names)}, got no {lacking[0]!r}")
    return settings, tensors


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(_bytes(path))
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} must be a JSON file, got damaged content: {error}") from None
    if not isinstance(settings, dict):
        raise DataError(f"{path} must hold a JSON object, got {type(settings).__name__}")
    return settings


def _tensors(path: Path) -> dict[str, Tensor]:
    library = require("safetensors.torch", extra="train", purpose="loading a calibrator")
    damaged = require("safetensors", extra="train", purpose="loading a calibrator").SafetensorError
    try:
        tensors: dict[str, Tensor] = library.load(_bytes(path))
    except damaged as error:
        raise DataError(f"{path} must be a safetensors file, got damaged content: {error}") from None
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise DataError(f"{path} must hold finite numbers, got NaN or infinity in {broken[0]!r}")
    return tensors


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} must exist; save a calibrator into {path.parent} first") from None


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
