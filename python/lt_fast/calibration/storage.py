"""Save and load calibrators: settings as JSON, tensors as safetensors, in one folder. Loading runs no code."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lt_fast._extras import require
from lt_fast._files import make_folder, read_json, replace_file
from lt_fast._text import shown
from lt_fast.errors import DataError
from lt_fast.records import (
    LIST,
    NUMBER,
    TEXT,
    WHOLE,
    Rule,
    check,
    read_tensors,
)

_SETTINGS, _TENSORS = "calibrator.json", "calibrator.safetensors"
FILES = (_SETTINGS, _TENSORS)
_TIES = "fitted_for"
_HUGE = 1e300
_RULES = {
    "*": Rule(
        "no NaN and no number beyond 1e300", lambda value: not isinstance(value, int | float) or abs(value) < _HUGE
    ),
    "counts?": LIST,
    "counts?.*": WHOLE,
    "names?": LIST,
    "names?.*": TEXT,
    "losses?": LIST,
    "losses?.*": NUMBER,
}


def write(folder: str | os.PathLike[str], settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write both files into ``folder``, which is made if necessary. Each file is complete or absent.

    The tensors come first: a folder with a JSON file is complete.

    Raises:
        MissingExtraError: if safetensors is not installed.
        DataError: if the folder cannot be written.
    """
    save = require("safetensors.torch", extra="train", purpose="saving a calibrator").save
    place = _place(folder)
    make_folder(place)
    replace_file(place / _TENSORS, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))
    replace_file(place / _SETTINGS, (json.dumps(settings, indent=2, allow_nan=False) + "\n").encode())


def read(
    folder: str | os.PathLike[str], *, method: str, names: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the settings and the tensors called ``names`` of a calibrator called ``method``.

    Raises:
        DataError: if a file is missing or damaged, belongs to another method, or lacks a tensor; names the file.
        MissingExtraError: if safetensors is not installed.
    """
    place = _place(folder)
    for file in FILES:
        if not os.path.lexists(place / file):
            raise DataError(f"{place / file} must exist; save a calibrator into {place} first")
    settings = _settings(place / _SETTINGS)
    settings.pop(_TIES, None)
    if settings.get("method") != method:
        raise DataError(f"{place / _SETTINGS} must hold a {method!r} calibrator, got {settings.get('method')!r}")
    _check_settings(place / _SETTINGS, settings)
    tensors = read_tensors(place / _TENSORS)
    lacking = [name for name in names if name not in tensors]
    if lacking:
        raise DataError(f"{place / _TENSORS} must hold {', '.join(names)}, got no {lacking[0]!r}")
    for name, tensor in tensors.items():
        _refuse_odd(place / _TENSORS, name, tensor)
    return settings, tensors


def method_of(folder: str | os.PathLike[str]) -> Any:
    """Return the name of the method that a saved calibrator records, unchecked; None where it records none.

    Raises:
        DataError: if the file is missing or is no JSON object; names it.
    """
    path = _place(folder) / _SETTINGS
    if not os.path.lexists(path):
        raise DataError(f"{path} must exist; save a calibrator into {path.parent} first")
    return _settings(path).get("method")


def tie(folder: str | os.PathLike[str], ties: Mapping[str, str]) -> None:
    """Record in a saved calibrator what it was fitted for: names to digests.

    Raises:
        DataError: if the calibrator cannot be read.
        DataError: if the folder cannot be written.
    """
    path = _place(folder) / _SETTINGS
    settings = {**_settings(path), _TIES: dict(ties)}
    replace_file(path, (json.dumps(settings, indent=2, allow_nan=False) + "\n").encode())


def ties_of(folder: str | os.PathLike[str]) -> Any:
    """Return what ``tie`` recorded, unchecked; None where it recorded nothing.

    Raises:
        DataError: if the calibrator cannot be read.
    """
    return _settings(_place(folder) / _SETTINGS).get(_TIES)


def _place(folder: Any) -> Path:
    try:
        return Path(folder)
    except TypeError:
        raise TypeError(f"folder must be a path, got {shown(folder)}") from None


def _settings(path: Path) -> dict[str, Any]:
    settings = read_json(path)
    if not isinstance(settings, dict):
        raise DataError(f"{path} must hold a JSON object, got {type(settings).__name__}")
    return settings


def _check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    try:
        check(settings, _RULES)
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from None


def _refuse_odd(path: Path, name: str, tensor: Tensor) -> None:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in ("float32", "float64"):
        raise DataError(f"{path} must hold float32 or float64, got {dtype} in {name!r}")
    if not bool(tensor.isfinite().all()):
        raise DataError(f"{path} must hold finite numbers, got NaN or infinity in {name!r}")
