"""From a recipe to a finished run: configuration, components, training, calibration, metrics.

>>> config = resolve("mammc", "digits-lt", {"epochs": 10}, seed=1)
>>> config["loss"]["name"], config["mixer"]["name"], config["calibrator"]["name"], config["epochs"]
('cross_entropy', 'mam', 'margin', 10)
"""

import importlib
from typing import TYPE_CHECKING, Any

from lt_fast.experiment.config import PROFILES, protocol_of, recipe_of, resolve, run_name, sources_of, values_of
from lt_fast.experiment.laid_over import training_protocol_of

if TYPE_CHECKING:
    from lt_fast.experiment.evaluate import evaluate_run
    from lt_fast.experiment.folds import run_folds
    from lt_fast.experiment.running import run

__all__ = [
    "PROFILES",
    "evaluate_run",
    "protocol_of",
    "recipe_of",
    "resolve",
    "run",
    "run_folds",
    "run_name",
    "sources_of",
    "training_protocol_of",
    "values_of",
]


# Listing the methods needs no torch; running one does.
_ON_FIRST_USE = {
    "run": "lt_fast.experiment.running",
    "run_folds": "lt_fast.experiment.folds",
    "evaluate_run": "lt_fast.experiment.evaluate",
}


def __getattr__(name: str) -> Any:
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'lt_fast.experiment' has no attribute {name!r}")
    globals()[name] = found = getattr(importlib.import_module(_ON_FIRST_USE[name]), name)
    return found
