"""Published settings, one file each, and the run that follows them: data, network, training, calibration, metrics.

>>> config = resolve("mammc", "digits-lt", {"epochs": 10}, seed=1)
>>> config["loss"], config["mixer"], config["calibrator"], config["epochs"]
('cross_entropy', 'mam', 'margin', 10)
"""

import importlib
from typing import TYPE_CHECKING, Any

from lt_fast.recipes.config import PROFILES, RECIPES, recipe_of, resolve, sources_of, values_of
from lt_fast.recipes.protocols import IMBALANCE_RATIO, PROTOCOLS
from lt_fast.recipes.recipe import Recipe, Value

if TYPE_CHECKING:
    from lt_fast.recipes.evaluating import evaluate_run
    from lt_fast.recipes.running import run

__all__ = [
    "IMBALANCE_RATIO",
    "PROFILES",
    "PROTOCOLS",
    "RECIPES",
    "Recipe",
    "Value",
    "evaluate_run",
    "recipe_of",
    "resolve",
    "run",
    "sources_of",
    "values_of",
]


# Listing the methods needs no torch; running one does.
_ON_FIRST_USE = {"run": "lt_fast.recipes.running", "evaluate_run": "lt_fast.recipes.evaluating"}


def __getattr__(name: str) -> Any:
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'lt_fast.recipes' has no attribute {name!r}")
    globals()[name] = found = getattr(importlib.import_module(_ON_FIRST_USE[name]), name)
    return found
