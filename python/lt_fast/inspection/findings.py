"""What an inspection found, from the listing and the facts about each file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast.counts import FEW_BELOW, MANY_ABOVE
from lt_fast.inspection.advice import Advice, advise
from lt_fast.inspection.duplicates import near, same
from lt_fast.inspection.facts import Facts
from lt_fast.inspection.groups import BURST_SECONDS, Groups, grouped
from lt_fast.inspection.listing import Listing


@dataclass(frozen=True)
class Findings:
    """What an inspection found. Numbers in lists are positions in ``listing.paths``.

    Args:
        listing: the photographs.
        facts: what each of them is.
        burst_seconds: see ``groups_of``.

    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from lt_fast.inspection import listed, scan
    >>> for at, name in enumerate(["photos/oak/1.png", "photos/beech/1.png", "photos/oak/2.png"]):
    ...     Path(name).parent.mkdir(parents=True, exist_ok=True)
    ...     Image.linear_gradient("L").rotate(90 * (at // 2)).save(name)
    >>> listing = listed("photos")
    >>> findings = Findings(listing, scan(listing.files()))
    >>> findings.counts, [[listing.paths[at] for at in group] for group in findings.two_labels]
    (array([1, 2]), [['beech/1.png', 'oak/1.png']])
    """

    listing: Listing
    facts: Sequence[Facts]
    burst_seconds: float = BURST_SECONDS

    @cached_property
    def damaged(self) -> list[int]:
        """Files that cannot be read."""
        return [at for at, each in enumerate(self.facts) if each.problem is not None]

    @cached_property
    def flat(self) -> list[int]:
        """Images of one colour: a lens cap, a blank page."""
        return [at for at, each in enumerate(self.facts) if each.problem is None and each.looks is None]

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Readable photographs of each class, (C,)."""
        labels = [label for label, each in zip(self.listing.labels, self.facts, strict=True) if each.problem is None]
        return np.bincount(np.array(labels, dtype=np.int64), minlength=len(self.listing.classes))

    @cached_property
    def copies(self) -> list[list[int]]:
        """Groups of images with equal pixels, which those with equal bytes are part of."""
        return same([each.pixels or None for each in self.facts])

    @cached_property
    def equal_bytes(self) -> list[list[int]]:
        """Groups of readable files with equal bytes."""
        return same([None if each.problem else each.content or None for each in self.facts])

    @cached_property
    def _near(self) -> list[list[int]]:
        return near([each.looks for each in self.facts], [each.small for each in self.facts])

    @cached_property
    def near_duplicates(self) -> list[list[int]]:
        """Groups of near duplicates that hold two different images at least."""
        return [group for group in self._near if len({self.facts[at].pixels for at in group}) > 1]

    @cached_property
    def two_labels(self) -> list[list[int]]:
        """Groups of copies that are in more than one class."""
        return [group for group in self.copies if self._classes_in(group) > 1]

    @cached_property
    def near_two_labels(self) -> list[list[int]]:
        """Groups of near duplicates that are in more than one class, for a person to look at."""
        return [group for group in self.near_duplicates if self._classes_in(group) > 1]

    @cached_property
    def surplus(self) -> list[int]:
        """Copies that may go: all but the first of those of one class; none where the class is in doubt."""
        doubtful = {at for group in self.two_labels for at in group}
        return sorted(at for group in self.copies for at in group[1:] if at not in doubtful)

    @cached_property
    def groups(self) -> Groups:
        """What must not be split; see ``groups_of``."""
        return grouped(self.listing.paths, self.facts, burst_seconds=self.burst_seconds, near_duplicates=self._near)

    @cached_property
    def group_sizes(self) -> Counter[str]:
        """Name of each group to its number of photographs."""
        return Counter(self.groups.names)

    @cached_property
    def advice(self) -> Advice:
        """Classes that are too small to measure, and the next command's mode."""
        sides = [min(each.width, each.height) for each in self.facts if each.problem is None]
        return advise(self.counts, sides, self._testable())

    def _testable(self) -> int:
        """Return how many groups a test set may take: those of classes that have another one to train on."""
        groups: dict[int, set[str]] = {}
        for label, each, name in zip(self.listing.labels, self.facts, self.groups.names, strict=True):
            if each.problem is None:
                groups.setdefault(label, set()).add(name)
        return len(set[str]().union(*(names for names in groups.values() if len(names) > 1)))

    def _classes_in(self, group: Sequence[int]) -> int:
        return len({self.listing.labels[at] for at in group})

    def class_of(self, at: int) -> str:
        """Return the name of a photograph's class."""
        return self.listing.classes[self.listing.labels[at]]

    def summary(self) -> dict[str, Any]:
        """Return everything as plain JSON values; photographs are named by their paths."""
        paths = self.listing.paths
        counts = self.counts
        present = counts[counts > 0]
        readable = [each for each in self.facts if each.problem is None]
        several = {name: size for name, size in self.group_sizes.items() if size > 1}
        return {
            "root": str(self.listing.root),
            "photographs": len(paths),
            "readable": len(readable),
            "classes": dict(zip(self.listing.classes, counts.tolist(), strict=True)),
            "empty_classes": [name for name, n in zip(self.listing.classes, counts, strict=True) if n == 0],
            "imbalance_ratio": float(present.max() / present.min()) if present.size else None,
            "many": int((counts > MANY_ABOVE).sum()),
            "medium": int(((counts >= FEW_BELOW) & (counts <= MANY_ABOVE)).sum()),
            "few": int(((counts < FEW_BELOW) & (counts > 0)).sum()),
            "sizes": sizes(readable),
            "modes": dict(Counter(each.mode for each in readable).most_common()),
            "formats": dict(Counter(each.format for each in readable).most_common()),
            "damaged": {paths[at]: self.facts[at].problem for at in self.damaged},
            "warnings": {paths[at]: each.warning for at, each in enumerate(self.facts) if each.warning},
            "one_colour": [paths[at] for at in self.flat],
            "passed_over": dict(self.listing.passed_over),
            "structure": None if self.listing.structure is None else self.listing.structure.words,
            "equal_bytes": self._named(self.equal_bytes),
            "copies": self._named(self.copies),
            "near_duplicates": self._named(self.near_duplicates),
            "two_labels": self._named(self.two_labels),
            "near_two_labels": self._named(self.near_two_labels),
            "groups": {"groups": len(several), "photographs": sum(several.values()), "by": self.groups.by,
                       "largest": max(several.values(), default=1)},
            "too_small": {self.listing.classes[at]: width for at, width in self.advice.too_small.items()},
            "mode": self.advice.mode,
            "why": self.advice.why,
            "folds": self.advice.folds,
            "testable": self.advice.testable,
        }  # fmt: skip

    def _named(self, groups: Sequence[Sequence[int]]) -> list[list[str]]:
        return [[self.listing.paths[at] for at in group] for group in groups]


def sizes(readable: Sequence[Facts]) -> dict[str, Any] | None:
    """Return the smallest, median and largest image by area as (width, height), and how many sizes there are."""
    if not readable:
        return None
    found = sorted(((each.width, each.height) for each in readable), key=lambda size: (size[0] * size[1], size))
    return {
        "smallest": list(found[0]),
        "median": list(found[len(found) // 2]),
        "largest": list(found[-1]),
        "distinct": len(set(found)),
    }
