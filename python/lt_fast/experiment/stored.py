"""The configuration of a run as its folder holds it: believed only after the rules of the command line."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from lt_fast.errors import DataError, UsageError
from lt_fast.experiment.config import (
    DATA_OPTIONS,
    MODE,
    RECIPE_FILE,
    flattened,
    given_of,
    load_recorded,
    record_of,
    resolve,
)
from lt_fast.experiment.laid_over import TRAINING_PROTOCOL
from lt_fast.experiment.lengths import LENGTH
from lt_fast.records import NUMBER, OBJECT, SHA256, TEXT, WHOLE, check, whole
from lt_fast.registry import RegisteredFile
from lt_fast.training import read_config

START = "start_from"

_NAMED = {
    "recipe": TEXT,
    "data": TEXT,
    "imbalance_ratio": NUMBER,
    "profile": TEXT,
    "seed": whole(0, 2**64 - 1),
    f"{TRAINING_PROTOCOL}?": TEXT,
    f"{LENGTH}?": OBJECT,
    f"{MODE}?": TEXT,
    f"{DATA_OPTIONS}?": OBJECT,
    f"{RECIPE_FILE}?.path": TEXT,
    f"{RECIPE_FILE}?.sha256": SHA256,
    f"{START}?.run": TEXT,
    f"{START}?.recipe": TEXT,
    f"{START}?.epoch": WHOLE,
    f"{START}?.sha256": SHA256,
}


def stored_config(folder: Path, recipe_file: RegisteredFile | Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the configuration of the run in ``folder``: what ``resolve`` gives for the same settings.

    Args:
        folder: of the run.
        recipe_file: the file that registers the run's recipe, or its record, where it has been run already.

    Raises:
        UsageError: if the run needs a recipe file that is missing, has changed, or is another one.
        DataError: if there is no configuration, or it holds what no run is started with.
    """
    config = read_config(folder)
    file = folder / "config.json"
    _refuse_missing(file, [name for name in _NAMED if "?" not in name and name not in config][:1])
    try:
        check(config, _NAMED)
    except ValueError as error:
        raise DataError(f"{file} is damaged: {error}") from error
    _register(config, folder, recipe_file)
    try:
        resolved = _resolved_again(config)
    # Whatever a rule makes of a value that it was not written for, the file is what is wrong.
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError) as error:
        words = str(error) if isinstance(error, ValueError) else repr(error)
        raise DataError(f"{file} is damaged: {words}") from error
    _compare(file, config, resolved)
    return config


def _register(config: Mapping[str, Any], folder: Path, given: Any) -> None:
    recorded = config.get(RECIPE_FILE)
    if given is None:
        if recorded is not None:
            load_recorded(recorded, folder)
        return
    now = record_of(given)
    if recorded is None:
        raise UsageError(f"the run in {folder} has no recipe file, got --recipe {now['path']}; leave it out")
    if now["sha256"] != recorded["sha256"]:
        raise UsageError(f"--recipe must be the file that the run in {folder} began with, got another: {now['path']}")


def _compare(file: Path, config: Mapping[str, Any], resolved: Mapping[str, Any]) -> None:
    _refuse_missing(file, resolved.keys() - config.keys())
    unknown = config.keys() - resolved.keys()
    if unknown:
        names = ", ".join(sorted(unknown))
        raise DataError(f"{file} has an unknown setting {names}; it was written by another version or by hand")
    for name, value in resolved.items():
        if json.dumps(config[name], sort_keys=True) != json.dumps(value, sort_keys=True):
            raise DataError(f"{file} is damaged: {name} must be {value!r} for this method, got {config[name]!r}")


def _refuse_missing(file: Path, names: Collection[str]) -> None:
    if names:
        raise DataError(f"{file} has no {', '.join(sorted(names))}; it was written by another version or by hand")


def _resolved_again(config: Mapping[str, Any]) -> dict[str, Any]:
    file = config.get(RECIPE_FILE)
    resolved = resolve(config["recipe"], config["data"], flattened(config), **given_of(config), recipe_file=file)
    return resolved | ({START: config[START]} if START in config else {})
