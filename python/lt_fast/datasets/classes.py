"""The classes of a data set: given names, numbers by default, and a warning about names that are probably one class."""

import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from lt_fast import _checks
from lt_fast._text import nearest
from lt_fast.counts import EmptyPolicy
from lt_fast.errors import DataError

_SHOWN = 6


class HasClasses(Protocol):
    """A data set with ``classes``: those of this package and torchvision's."""

    @property
    def classes(self) -> Sequence[str]:
        """The names in the order of their numbers."""


ClassesLike: TypeAlias = Sequence[str] | HasClasses
"""The names in the order of their numbers, or the data set that has them."""


class GivenClasses(NamedTuple):
    """Names of the classes, and the argument that gave them."""

    names: tuple[str, ...]
    argument: str

    def lookup(self) -> Callable[[str], int | None]:
        """Return a function from a name to its number or None; Unicode forms and blanks at the ends do not matter."""
        exact = {name: number for number, name in enumerate(self.names)}
        forms = Counter(map(_trimmed, self.names))
        alike = {_trimmed(name): number for name, number in exact.items() if forms[_trimmed(name)] == 1}
        return lambda name: exact.get(name, alike.get(_trimmed(name)))

    def positions(self) -> bool:
        """Whether the names are the numbers themselves: "0", "1", ..., C - 1 in order."""
        return all(name == str(number) for number, name in enumerate(self.names))

    def describe_unknown(self, name: str) -> str:
        """Return the message that ``name`` is not one of the classes."""
        shown = ", ".join(self.names[:_SHOWN]) + (", ..." if len(self.names) > _SHOWN else "")
        return (
            f"must be one of {self.argument}, got {name!r}{nearest(name, [*self.names])} ({len(self.names)}: {shown})"
        )


def given_classes(classes: ClassesLike | None, names: Sequence[str] | None = None) -> GivenClasses | None:
    """Return the names given by one of the two arguments, checked, or None.

    Raises:
        TypeError: if they are no sequence of strings.
        ValueError: if both arguments are given, or a name is repeated.
    """
    if classes is not None and names is not None:
        raise ValueError(
            "classes and names exclude each other; pass names for the set that decides the numbers, classes for others"
        )
    if names is not None:
        return GivenClasses(checked_names(names, "names"), "names")
    if classes is None:
        return None
    return GivenClasses(checked_names(getattr(classes, "classes", classes), "classes"), "classes")


def checked_names(names: Any, argument: str) -> tuple[str, ...]:
    """Return ``names`` as a tuple of distinct strings.

    Raises:
        TypeError: if they are one string, have no order, or one is not a string.
        ValueError: if there is none, or one is repeated.
    """
    if isinstance(names, str | bytes | Mapping | AbstractSet) or not isinstance(names, Iterable):
        hint = "; pass sorted(classes, key=classes.get)" if isinstance(names, Mapping) else ""
        raise TypeError(
            f"{argument} must be a sequence of names in the order of their numbers"
            f"{' or a data set that has it' if argument == 'classes' else ''}, got {_shown(names)}{hint}"
        )
    listed = tuple(names)
    wrong = next((name for name in listed if not isinstance(name, str)), None)
    if wrong is not None:
        raise TypeError(f"{argument} must be strings, got {wrong!r}; pass [str(name) for name in {argument}]")
    if not listed:
        raise ValueError(f"{argument} must hold at least one name, got none")
    if len(set(listed)) != len(listed):
        repeated = next(name for name in listed if listed.count(name) > 1)
        raise ValueError(f"{argument} must be distinct, got {repeated!r} twice")
    return tuple(map(str, listed))


def empty_policy(empty: EmptyPolicy | None, classes: ClassesLike | None) -> EmptyPolicy:
    """Return ``empty``, or its default: "ignore" if another data set defines the class numbers."""
    if empty is None:
        return "error" if classes is None else "ignore"
    _checks.choice("empty", empty, get_args(EmptyPolicy))
    return empty


def class_names(labels: NDArray[np.int64], given: GivenClasses | None, source: str) -> tuple[str, ...]:
    """Return the names given, or the class numbers up to the largest label.

    Raises:
        DataError: if the labels leave more classes out than there are images: no counts are made for those.
    """
    if given is not None:
        return given.names
    top = int(labels.max())
    if top >= 2 * len(labels) + 1024:
        raise DataError(
            f"{source}: labels must number the classes 0..C-1, got a largest label of {top} for {len(labels)} images"
        )
    return tuple(map(str, range(top + 1)))


def refuse_outside(
    labels: NDArray[np.int64],
    names: Sequence[str],
    given: GivenClasses | None,
    source: str,
    where: Callable[[int], str],
) -> None:
    """Raise ``DataError`` for the first label that is not an index of ``names``, with its position in the source."""
    outside = np.flatnonzero(labels >= len(names))
    if outside.size and given is not None:
        at = int(outside[0])
        hint = "; where the labels start at 1, subtract 1" if labels.min() > 0 and labels.max() == len(names) else ""
        raise DataError(
            f"{source}: {where(at)}: labels must lie in [0, {len(names)}) of {given.argument}, got {labels[at]}{hint}"
        )


def warn_of_lookalikes(names: Sequence[str], source: str) -> None:
    """Warn of names that differ only in case, blanks or the form of their Unicode characters."""
    first: dict[str, str] = {}
    pairs = []
    for name in names:
        known = first.setdefault(_folded(name), name)
        if known != name:
            pairs.append((known, name))
    if pairs:
        more = f", and {len(pairs) - 1} more such pairs" if len(pairs) > 1 else ""
        warnings.warn(
            f"{source}: the classes {_ascii(*pairs[0])} differ only in case, blanks or Unicode form{more}; they are "
            "read as different classes: rename one where they are the same",
            stacklevel=4,
        )


def composed(name: str) -> str:
    """Return ``name`` in the composed form (NFC) of Unicode."""
    return unicodedata.normalize("NFC", name)


def _trimmed(name: str) -> str:
    return composed(name).strip()


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _ascii(one: str, other: str) -> str:
    # Two forms of one accent look alike when printed.
    same = composed(one) == composed(other)
    return f"{one!a} and {other!a}" if same else f"{one!r} and {other!r}"


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str | bytes) else f"a {type(value).__name__}"
