"""The configuration of a teacher that a method asks for by a recipe, and not by the folder of a finished run."""

from collections.abc import Mapping
from typing import Any

from lt_fast.experiment.config import RECIPE_FILE, flattened, given_of, resolve, split_assignment
from lt_fast.registry import RECIPES

_NOT_SHARED = ("method", "calibrator")


def teacher_config(described: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the configuration of the teacher ``RECIPE:NAME=VALUE,...``; None if ``described`` names no recipe.

    The teacher is trained on the same images, by the settings of its recipe, with those that were changed for the run
    that it teaches, but of its method and its second stage, and those that are named over them.

    Args:
        described: for example ``"ride:model.experts=6"``.
        config: of the run that is taught.

    Raises:
        UsageError: if a setting is none of the recipe's, or has a wrong value.

    >>> student = resolve("ride", "digits-lt", {"epochs": 3, "model.experts": 4})
    >>> teacher = teacher_config("ride:model.experts=6", student)
    >>> teacher["model"]["experts"], teacher["epochs"]
    (6, 3)
    >>> teacher_config("runs/ride-digits-lt-50-0", student) is None
    True
    """
    recipe, colon, text = described.partition(":")
    if not colon or recipe not in RECIPES:
        return None
    given = {**given_of(config), "recipe_file": config.get(RECIPE_FILE)}
    usual = flattened(resolve(config["recipe"], config["data"], **given))
    changed = {name: value for name, value in flattened(config).items() if name not in usual or usual[name] != value}
    kept = {name: value for name, value in changed.items() if name.partition(".")[0] not in _NOT_SHARED}
    named = dict(map(split_assignment, filter(None, text.split(","))))
    return resolve(recipe, config["data"], {**kept, **named}, **given)
