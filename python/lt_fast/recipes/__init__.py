"""Published settings as data, one file per paper; ``lt_fast.experiment`` runs them.

>>> ldam = RECIPES["ldam_drw"]
>>> ldam.settings["loss"].options["scale"]
Cited(value=30.0, source='kaidic/LDAM-DRW: losses.py LDAMLoss s=30')

A recipe of your own, in any module or in a file that ``lt-fast train --recipe FILE.py`` names::

    from lt_fast.recipes import Paper, Recipe, Spec, cited, register
    register(Recipe("mine", Paper("Doe 2026, A Loss"), "eq. 3", loss=Spec("focal", gamma=cited(2.0, "Table 1"))))
"""

from lt_fast.recipes.recipe import (
    COMPONENTS,
    OF_PHOTOGRAPHS,
    VALUES,
    Cited,
    Paper,
    Protocol,
    Recipe,
    Spec,
    TrainingProtocol,
    cited,
    register,
)
from lt_fast.registry import PROTOCOLS, RECIPES, TRAINING_PROTOCOLS

__all__ = [
    "COMPONENTS",
    "OF_PHOTOGRAPHS",
    "PROTOCOLS",
    "RECIPES",
    "TRAINING_PROTOCOLS",
    "VALUES",
    "Cited",
    "Paper",
    "Protocol",
    "Recipe",
    "Spec",
    "TrainingProtocol",
    "cited",
    "register",
]
