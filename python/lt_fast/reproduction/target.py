"""``Target``: a published table or figure as rows that can be run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lt_fast._text import nearest
from lt_fast.errors import UsageError
from lt_fast.recipes.rows import Table
from lt_fast.reproduction.numbers import Place, Published, published

OWN = "own"
"""Name for no training protocol: every recipe as its own authors ran it."""

_NAMES_OF_DATA = {
    "cifar10-lt": "CIFAR-10-LT",
    "cifar100-lt": "CIFAR-100-LT",
    "digits-lt": "Digits-LT",
    "imagenet-lt": "ImageNet-LT",
    "places-lt": "Places-LT",
    "inaturalist-2018": "iNaturalist 2018",
    "soil": "soil photographs",
}


class Tail(NamedTuple):
    """A long-tailed data set of a table.

    Attributes:
        data: name of the data set.
        imbalance_ratio: largest over smallest class; None for a data set that is long-tailed by nature.
        profile: shape of the tail.

    >>> Tail("cifar10-lt", 100.0).in_words(), Tail("imagenet-lt").in_words()
    ('CIFAR-10-LT 100', 'ImageNet-LT')
    """

    data: str
    imbalance_ratio: float | None = None
    profile: str = "exp"

    def in_words(self) -> str:
        """Return the data set as tables name it."""
        name = _NAMES_OF_DATA.get(self.data, self.data)
        step = "" if self.profile == "exp" else f" {self.profile}"
        return name if self.imbalance_ratio is None else f"{name}{step} {self.imbalance_ratio:g}"


class Row(NamedTuple):
    """One row of a table on one data set.

    Attributes:
        label: what the table calls it.
        tail: the data set.
        recipe: name of the recipe; None where the package has none, and ``reason`` says why.
        settings: over the recipe, as ``experiment.resolve`` takes them; ``model`` names a network that keeps the
            recipe's head.
        reason: why the row cannot be run, or None.
        note: what differs from the published row, or "".
        at: position on the x axis of a figure, or None.
        refit: rows that differ in settings of the calibrator alone share one training, to which each fits its own.

    >>> row = Row("LDAM-DRW, scale 20", Tail("cifar10-lt", 100.0), "ldam_drw", {"loss.scale": 20})
    >>> row.place
    Place(row='LDAM-DRW, scale 20', data='cifar10-lt', profile='exp', imbalance_ratio=100.0)
    """

    label: str
    tail: Tail
    recipe: str | None
    settings: Mapping[str, Any] = {}
    reason: str | None = None
    note: str = ""
    at: float | None = None
    refit: bool = False

    @property
    def place(self) -> Place:
        """Where in the table the row's numbers are."""
        return Place(self.label, self.tail.data, self.tail.profile, self.tail.imbalance_ratio)


@dataclass(frozen=True)
class Target:
    """A published table or figure.

    Attributes:
        name: what ``lt-fast reproduce`` calls it.
        title: in words.
        paper: authors, year and title.
        rows: all rows on all data sets.
        metrics: the columns of the table, of ``numbers.METRICS``.
        protocol: training protocol of the table, or ``OWN``.
        protocols: training protocols that its numbers may come from, each in words.
        lost: what of its numbers is not known, or "".
        notes: what a reader of the comparison must know, in sentences.
        axis: what ``Row.at`` is, for a figure; "" for a table.
        draw: for a figure of its own kind, from (label to the directories of finished runs, folder) to the files.

    >>> tail = Tail("digits-lt", 50.0)
    >>> target = Target("mine", "My table", "Doe 2026, A Loss", rows_on([tail], ("CE", "ce"), ("LDAM", "ldam")))
    >>> [row.label for row in target.rows], target.tails()[0].data, target.published(target.rows[0])
    (['CE', 'LDAM'], 'digits-lt', {})
    """

    name: str
    title: str
    paper: str
    rows: tuple[Row, ...]
    metrics: tuple[str, ...] = ("overall",)
    protocol: str = OWN
    protocols: Mapping[str, str] = field(default_factory=dict)
    lost: str = ""
    notes: tuple[str, ...] = ()
    axis: str = ""
    draw: Callable[[Mapping[str, Sequence[Path]], Path], list[Path]] | None = None

    def published(self, row: Row) -> Mapping[str, Published]:
        """Return the published numbers of a row by metric."""
        return published(self.name).get(row.place, {})

    def tails(self) -> tuple[Tail, ...]:
        """Return the data sets, in the order of the rows."""
        return tuple(dict.fromkeys(row.tail for row in self.rows))


def rows_on(tails: Iterable[Tail], *rows: tuple[Any, ...]) -> tuple[Row, ...]:
    """Return the rows ``(label, recipe, settings)`` on each of several data sets, the data sets outermost.

    >>> tails = [Tail("cifar10-lt", 50.0), Tail("cifar10-lt", 100.0)]
    >>> rows = rows_on(tails, ("CE", "ce"), ("LDAM", "ldam", {"loss.scale": 20}))
    >>> [(row.label, row.tail.imbalance_ratio) for row in rows]
    [('CE', 50.0), ('LDAM', 50.0), ('CE', 100.0), ('LDAM', 100.0)]
    """
    return tuple(Row(label, tail, recipe, *rest) for tail in tails for label, recipe, *rest in rows)


def rows_of(*tables: Table) -> tuple[Row, ...]:
    """Return the rows of tables that are written down with the recipes.

    >>> from lt_fast.recipes import rows
    >>> table = rows.Table("Table 1", "cifar10-lt", 100.0, "exp", (rows.Row("CE", "ce"),), "Doe 2026, A Loss")
    >>> [(row.label, row.recipe, row.tail) for row in rows_of(table)]
    [('CE', 'ce', Tail(data='cifar10-lt', imbalance_ratio=100.0, profile='exp'))]
    """
    return tuple(
        Row(row.label, Tail(table.data, table.imbalance_ratio, table.profile), row.recipe, row.overrides)
        for table in tables
        for row in table.rows
    )


TARGETS: dict[str, Target] = {}
"""Every target by its name; ``register_target`` adds to it."""


def register_target(target: Target) -> Target:
    """Make a target known to ``lt-fast reproduce`` by its name, and return it.

    Raises:
        UsageError: if the name is taken, or two rows have the same label and data set.

    >>> rows = rows_on([Tail("digits-lt", 50.0)], ("CE", "ce"), ("LDAM", "ldam"))
    >>> target = register_target(Target("doe-table-1", "Table 1", "Doe 2026, A Loss", rows))
    >>> target_of("doe-table-1").title
    'Table 1'
    >>> del TARGETS["doe-table-1"]  # forgets it again
    """
    if target.name in TARGETS:
        raise UsageError(f"target {target.name!r} is registered twice; rename one")
    places = [row.place for row in target.rows]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise UsageError(f"rows of target {target.name!r} must differ in label or data, got {twice} twice")
    TARGETS[target.name] = target
    return target


def target_of(name: str) -> Target:
    """Return the target called ``name``.

    Raises:
        UsageError: if there is none; names the nearest.

    >>> target = target_of("mammc-table-1")
    >>> target.title, len(target.rows), target.published(target.rows[0])["overall"].accuracy
    ('Table 1: each part of MAMMC', 15, 75.1)
    """
    if name not in TARGETS:
        raise UsageError(
            f"target must be one of {', '.join(TARGETS)}, got {name!r}{nearest(name, list(TARGETS))}; "
            "`lt-fast reproduce` lists them"
        )
    return TARGETS[name]
