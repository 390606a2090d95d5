"""The published numbers, from the one file that has them: ``published.csv``.

Each line is a number as its source prints it (an accuracy or an error, in percent), the source, and how sure it is:
``read`` there, or recalled from ``memory`` and not checked, which every table shows as unverified. Numbers that are
lost have no line.
"""

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import NamedTuple

METRICS: Mapping[str, str] = {
    "overall": "top1",
    "many": "many_recall",
    "medium": "medium_recall",
    "few": "few_recall",
}
"""Name in the tables to the key in ``result.json``."""

READ, MEMORY = "read", "memory"
_FILE = "published.csv"


class Published(NamedTuple):
    """One published number.

    Attributes:
        accuracy: percent.
        printed: as the source prints it, with ``% error`` where it prints the error.
        sure: ``"read"`` in the source, or from ``"memory"``.
        source: a paper, or ``repository@commit: path``.

    >>> number = published("mammc-table-1")[Place("MAMMC", "cifar10-lt", "exp", 100.0)]["overall"]
    >>> isinstance(number, Published), number.accuracy, number.printed, number.verified
    (True, 83.3, '83.3', True)
    """

    accuracy: float
    printed: str
    sure: str
    source: str

    @property
    def verified(self) -> bool:
        """Whether the number was read in its source."""
        return self.sure == READ


class Place(NamedTuple):
    """Where in a table a number is: its row and the long-tailed data set.

    Attributes:
        row: label.
        data: name of the data set.
        profile: shape of the tail.
        imbalance_ratio: largest over smallest class; None for a data set that is long-tailed by nature.
    """

    row: str
    data: str
    profile: str
    imbalance_ratio: float | None


def published(target: str) -> Mapping[Place, Mapping[str, Published]]:
    """Return the published numbers of a target by place and metric.

    >>> numbers = published("mammc-table-1")[Place("MAMMC", "cifar10-lt", "exp", 100.0)]
    >>> numbers["overall"].accuracy, numbers["overall"].source
    (83.3, 'MAMMC paper, Table 1')
    """
    return _all().get(target, {})


def targets_with_numbers() -> frozenset[str]:
    """Return the names of the targets that the file has numbers of."""
    return frozenset(_all())


@cache
def _all() -> Mapping[str, Mapping[Place, Mapping[str, Published]]]:
    text = resources.files(__package__).joinpath(_FILE).read_text(encoding="utf-8")
    found: dict[str, dict[Place, dict[str, Published]]] = {}
    for line in csv.DictReader(text.splitlines()):
        ratio = line["imbalance_ratio"]
        place = Place(line["row"], line["data"], line["profile"], float(ratio) if ratio else None)
        found.setdefault(line["target"], {}).setdefault(place, {})[line["metric"]] = _number(line)
    return found


def _number(line: Mapping[str, str]) -> Published:
    value, is_error = float(line["value"]), line["unit"] == "error"
    accuracy = round(100 - value, 2) if is_error else value
    printed = f"{line['value']} % error" if is_error else line["value"]
    return Published(accuracy, printed, line["sure"], line["source"])
