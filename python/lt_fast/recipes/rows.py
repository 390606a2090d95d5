"""``Row`` and ``Table``: the rows of a published table as data, each a recipe with some settings changed."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One row of a published table, or one published set of values.

    Attributes:
        label: what the table calls it.
        recipe: name in ``lt_fast.recipes.RECIPES``.
        overrides: settings by dotted name, as ``lt_fast.experiment.resolve`` takes them.
        source: where the row is published, or ``ours: reason``.

    Example::

        row = TABLE_3.rows[1]
        config = lt_fast.experiment.resolve(row.recipe, "digits-lt", row.overrides, seed=1)
    """

    label: str
    recipe: str
    overrides: Mapping[str, Any] = {}
    source: str = ""


class Table(NamedTuple):
    """A published table: its rows, and the long-tailed data set that they are trained on.

    Attributes:
        name: of the table.
        data: name in ``lt_fast.registry.DATASETS``.
        imbalance_ratio: largest over smallest class.
        profile: shape of the tail.
        rows: of the table, in its order.
        source: where data set and rows come from.
    """

    name: str
    data: str
    imbalance_ratio: float
    profile: str
    rows: tuple[Row, ...]
    source: str
