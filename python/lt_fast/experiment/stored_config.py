"""The configuration of a run as its folder holds it: believed only after the command line's own rules."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from lt_fast.errors import DataError
from lt_fast.recipes.config import resolve, values_of
from lt_fast.records import NUMBER, SHA256, TEXT, WHOLE, check, whole
from lt_fast.training import read_config

START = "start_from"

_NAMED = {
    "method": TEXT,
    "data": TEXT,
    "imbalance_ratio": NUMBER,
    "profile": TEXT,
    "seed": whole(0, 2**64 - 1),
    f"{START}?.run": TEXT,
    f"{START}?.method": TEXT,
    f"{START}?.epoch": WHOLE,
    f"{START}?.sha256": SHA256,
}


def stored_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of the run in ``folder``: what ``resolve`` gives for the same settings.

    Raises:
        DataError: if there is none, or it holds what no run is started with.
    """
    config = read_config(folder)
    file = folder / "config.json"
    _refuse_missing(file, [name for name in _NAMED if "?" not in name and name not in config][:1])
    try:
        check(config, _NAMED)
        resolved = _resolved_again(config)
    # Whatever a rule makes of a value that it was not written for, the file is what is wrong.
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError) as error:
        words = str(error) if isinstance(error, ValueError) else repr(error)
        raise DataError(f"{file} is damaged: {words}") from error
    _refuse_missing(file, resolved.keys() - config.keys())
    unknown = config.keys() - resolved.keys()
    if unknown:
        names = ", ".join(sorted(unknown))
        raise DataError(f"{file} has an unknown setting {names}; it was written by another version or by hand")
    for name, value in resolved.items():
        if json.dumps(config[name]) != json.dumps(value):
            raise DataError(f"{file} is damaged: {name} must be {value!r} for this method, got {config[name]!r}")
    return config


def _refuse_missing(file: Path, names: Collection[str]) -> None:
    if names:
        raise DataError(f"{file} has no {', '.join(sorted(names))}; it was written by another version or by hand")


def _resolved_again(config: Mapping[str, Any]) -> dict[str, Any]:
    tail = {name: config[name] for name in ("imbalance_ratio", "profile")}
    names = values_of(config["method"], config["data"], **tail)
    settings = {name: config[name] for name in names if name in config}
    resolved = resolve(config["method"], config["data"], settings, seed=config["seed"], **tail)
    return resolved | ({START: config[START]} if START in config else {})
