"""The command that trains the setting that a sweep has chosen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lt_fast.experiment.config import DATA_OPTIONS, record_of
from lt_fast.sweeps.grid import Plan, as_text

_OPTIONS = {
    "imbalance_ratio": "--imbalance-ratio",
    "profile": "--profile",
    "model": "--model",
    "protocol": "--protocol",
}
_OF_PHOTOGRAPHS = {"test": "--test", "root": "--root"}


def command_of(plan: Plan, settings: Mapping[str, Any], *, held_out: bool, root: Path | None) -> tuple[str, ...]:
    """Return the words of ``lt-fast train`` for the chosen ``settings``.

    Args:
        plan: of the sweep.
        settings: the chosen ones.
        held_out: hold validation images out as the sweep did; False trains on all images.
        root: folder of the data set's files.
    """
    options = plan.given.get(DATA_OPTIONS)
    place = ["--data", plan.data] if options is None else [str(options["path"])]
    words = ["lt-fast", "train", *place, "--method", plan.method, *_of_given(plan.given)]
    if options is not None:
        words += _of_photographs(options)
    elif root is not None:
        words += ["--root", str(root)]
    shared = {name: value for name, value in plan.overrides.items() if held_out or name != "validation"}
    for name, value in {**shared, **settings}.items():
        words += ["--set", f"{name}={as_text(value)}"]
    return tuple(words)


def _of_given(given: Mapping[str, Any]) -> list[str]:
    words = []
    for name, option in _OPTIONS.items():
        if given.get(name) not in (None, "exp"):  # the profile that needs no word
            words += [option, as_text(given[name])]
    if given.get("mode") is not None:
        words.append(f"--{given['mode']}")
    if given.get("recipe_file") is not None:
        words += ["--recipe", record_of(given["recipe_file"])["path"]]
    return words


def _of_photographs(options: Mapping[str, Any]) -> list[str]:
    words = []
    for name, value in options.items():
        if name in _OF_PHOTOGRAPHS and value is not None:
            words += [_OF_PHOTOGRAPHS[name], str(value)]
        elif name != "path" and value is not None:
            words += ["--set", f"data.{name}={as_text(value)}"]
    return words
