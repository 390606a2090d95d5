"""``ClassCounts``: the number of training samples per class, which all packages share."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks
from lt_fast.labels import (
    as_array,
    class_names_of,
    class_numbers_of,
    is_missing,
    is_own,
    narrow_labels_of,
    numbers_every_word,
    refuse_missing,
    refuse_negative,
    type_hint,
)

EmptyPolicy: TypeAlias = Literal["error", "ignore"]

MANY_ABOVE, FEW_BELOW = 100, 20
"""Thresholds of the class groups: many has more training samples than 100, few has less than 20, medium the rest."""

_AT_ONCE = 1 << 24  # labels that are converted at once

_WRONG_COUNT = "counts must be integers >= 0 and < 2**63, got {} for class {}; pass the samples of each class"


class ClassCounts:
    """Training samples per class: validated once, then frozen.

    Args:
        counts: ``(C,)`` integers >= 0, one per class, any sequence, array or tensor. What names its entries, a
            pandas ``Series`` (``value_counts()``), a dictionary or a ``Counter``, is put in the order of the classes:
            see ``in_class_order``.
        names: ``C`` class names; ``"0"``, ``"1"``, ... when left out.

    Attributes:
        counts: ``(C,)`` int64, read-only.
        names: tuple of ``C`` strings.
        num_classes: C.
        total: sum of the counts.
        prior: ``(C,)`` float64, ``counts / total``.
        imbalance_ratio: largest count over smallest, >= 1; infinite when a class is empty.
        empty: indices of the classes without samples, int64.

    Raises:
        TypeError: if the counts are not integers.
        ValueError: if they are negative, 2**63 or more, masked, not one-dimensional, fewer than one, or all zero; if
            ``names`` has another length or repeats a name; if a ``Series`` or dictionary names other classes.

    >>> counts = ClassCounts([500, 50, 5])
    >>> counts.imbalance_ratio, counts.groups()["few"].tolist()
    (100.0, [False, False, True])
    """

    __slots__ = ("_names", "counts")

    counts: NDArray[np.int64]
    _names: tuple[str, ...] | None  # None until first access: 2**24 strings take 1.5 GB

    def __init__(self, counts: "ClassCounts | ArrayLike", *, names: Sequence[str] | None = None) -> None:
        if isinstance(counts, ClassCounts):
            names = counts._names if names is None else names  # noqa: SLF001  (same class)
            counts = counts.counts
        array = _whole_numbers(in_class_order("counts", counts, names))
        array.setflags(write=False)
        object.__setattr__(self, "counts", array)
        object.__setattr__(self, "_names", None if names is None else _checked_names(names, len(array)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"ClassCounts is frozen: cannot set {name!r}; build a new one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"ClassCounts is frozen: cannot delete {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.counts.tolist(), self._names)

    @classmethod
    def from_labels(
        cls, labels: ArrayLike, num_classes: int | None = None, *, names: Sequence[str] | None = None
    ) -> "ClassCounts":
        """Count integer labels in ``[0, num_classes)``; ``num_classes`` defaults to the largest label + 1. O(N + C).

        Raises:
            TypeError: if the labels are not integers, or ``num_classes`` is not an integer.
            ValueError: if a label is outside the range, is missing or masked (its position is named), or there is
                none; if the largest is 2**24 or more and ``num_classes`` is left out.
        """
        array = _integer_labels(labels)
        if num_classes is None:
            num_classes = len(names) if names is not None else int(array.max()) + 1
            if num_classes > _checks.MAX_CLASSES:
                raise ValueError(
                    f"labels must be < {_checks.MAX_CLASSES}, got {num_classes - 1}; map the classes to 0..C-1 first"
                )
        num_classes = _checks.integer("num_classes", num_classes, least=1)
        _checks.labels_in_range("labels", array, num_classes)
        return cls(_counted(array, num_classes), names=names)

    @classmethod
    def from_dataset(cls, dataset: Any) -> "ClassCounts":
        """Count the labels of ``dataset`` without decoding a sample.

        Accepts what the samplers accept, see ``lt_fast.sampling.labels_of``, and counts the same labels. Names are
        those of ``.classes`` or of a Hugging Face ``ClassLabel``, also of classes without samples; labels that are
        words are numbered by these names, or by ``.class_to_idx``, else in sorted order. ``class_counts`` of the data
        set must agree with its labels.

        Raises:
            TypeError: if the data set has no labels, or they are neither integers nor strings.
            ValueError: as ``labels_of``; if ``class_counts`` do not add up to the number of samples, or are
                not those of the labels; if a label is not a name of the data set's classes.
        """
        ready = _ready_counts(dataset)
        if ready is not None:
            return ready
        labels = numbered_labels(dataset)
        if len(labels.numbers) == 0:
            raise ValueError("labels must hold at least one sample, got 0")
        return cls.from_labels(labels.numbers, names=labels.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The given names, else the class numbers as strings, made on first access."""
        names = self._names
        if names is None:
            names = tuple(map(str, range(len(self))))
            object.__setattr__(self, "_names", names)
        return names

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.counts)

    @property
    def total(self) -> int:
        """Sum of the counts, exact: it may exceed 64 bits."""
        high, low = self.counts >> 32, self.counts & 0xFFFFFFFF
        return (int(high.sum()) << 32) + int(low.sum())

    @property
    def prior(self) -> NDArray[np.float64]:
        """``counts / total``, ``(C,)`` float64."""
        return np.divide(self.counts, float(self.total), dtype=np.float64)

    @property
    def imbalance_ratio(self) -> float:
        """Largest count over smallest; infinite when a class is empty."""
        smallest = int(self.counts.min())
        return float(self.counts.max()) / smallest if smallest else float("inf")

    @property
    def empty(self) -> NDArray[np.int64]:
        """Indices of the classes without samples."""
        return np.flatnonzero(self.counts == 0)

    def groups(self, *, many: int = MANY_ABOVE, few: int = FEW_BELOW) -> dict[str, NDArray[np.bool_]]:
        """Many (> ``many``), medium, few (< ``few``) as boolean masks over the classes.

        The thresholds are those of most long-tailed code (100 and 20: 35/35/30 classes on CIFAR-100-LT at imbalance
        ratio 100). OLTR itself used >= 100 and <= 20, which is ``groups(many=99, few=21)``.

        Raises:
            TypeError: if a threshold is no integer.
            ValueError: if one is negative, or ``few > many + 1``, so that a class could be in two groups.
        """
        many, few = (_checks.integer(name, value, least=0) for name, value in (("many", many), ("few", few)))
        if few > many + 1:
            raise ValueError(f"few must be <= many + 1, got few={few}, many={many}")
        is_many, is_few = self.counts > many, self.counts < few
        return {"many": is_many, "medium": ~(is_many | is_few), "few": is_few}

    def require_no_empty(self, empty: EmptyPolicy = "error") -> "ClassCounts":
        """Return self; raise when a class has no samples, unless ``empty="ignore"``.

        Raises:
            ValueError: naming the first empty class.
        """
        _checks.choice("empty", empty, get_args(EmptyPolicy))
        gaps = self.empty
        if empty == "error" and gaps.size:
            first = int(gaps[0])
            name = str(first) if self._names is None else self._names[first]
            more = f" and {gaps.size - 1} more" if gaps.size > 1 else ""
            raise ValueError(
                f"class_counts must be >= 1 in every class, got 0 for class {name!r} (index {first})"
                f"{more}; drop the class, or pass empty='ignore'",
            )
        return self

    def __len__(self) -> int:
        return self.num_classes

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ClassCounts):
            return NotImplemented
        if not np.array_equal(self.counts, other.counts):
            return False
        return self._names is other._names or self.names == other.names

    def __hash__(self) -> int:
        return hash(self.counts.tobytes())  # without the names, which may have to be made

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self.counts[:6])) + (", ..." if len(self) > 6 else "")  # noqa: PLR2004
        return f"ClassCounts([{shown}], num_classes={self.num_classes}, imbalance_ratio={self.imbalance_ratio:g})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.counts, dtype=dtype, copy=True if copy is None else copy)


def in_class_order(name: str, values: Any, names: "ClassCounts | Sequence[str] | None" = None) -> Any:
    """Return ``values`` in the order of the classes, if they name their entries, or unchanged.

    A pandas ``Series`` and a mapping name their entries. ``value_counts()`` and ``Counter`` are in the order of the
    counts or of appearance; taken by position, the numbers would be those of other classes.

    Args:
        name: the argument, for messages.
        values: one entry per class.
        names: names of the classes in the order of their numbers, or counts that have them, where the entries may be
            named by them.

    Raises:
        ValueError: if the entries are not named by 0 to C-1, each once, or by ``names``.

    >>> in_class_order("weight", {1: 2.0, 0: 0.5}), in_class_order("weight", [0.5, 2.0])
    ([0.5, 2.0], [0.5, 2.0])
    >>> in_class_order("weight", {"dog": 2.0, "cat": 0.5}, ["cat", "dog"])
    [0.5, 2.0]
    """
    keyed = _keyed(values)
    if keyed is None:
        return values
    keys, entries = keyed
    order = _class_order(keys, names)
    if order is None:
        raise ValueError(
            f"{name} must be in the order of the classes, got entries for {_shown(keys)}, which are not the class "
            f"numbers 0 to {len(keys) - 1}, each once; {_next_step(keys, values)}"
        )
    return [entries[at] for at in order] if isinstance(entries, list) else entries[order]


class NumberedLabels(NamedTuple):
    """The class of each sample, ``(N,)`` integers of any width; the class names, if any; whether labels were words.

    >>> NumberedLabels(np.array([1, 0]), ["cat", "dog"], words=True).names
    ['cat', 'dog']
    """

    numbers: NDArray[Any]
    names: list[str] | None
    words: bool


def numbered_labels(dataset: Any) -> NumberedLabels:
    """Return the class number of each sample, and the class names if the data set has any.

    Labels that are words are numbered by the data set's class names, else in sorted order, and are the names then.

    Args:
        dataset: as ``labels_of`` takes.

    >>> labels = numbered_labels(["dog", "cat", "dog"])
    >>> labels.numbers.tolist(), labels.names
    ([1, 0, 1], ['cat', 'dog'])
    """
    labels = narrow_labels_of(dataset)
    if labels.dtype.kind != "U":
        return NumberedLabels(labels, class_names_of(dataset), words=False)
    places = class_numbers_of(dataset) or {}
    distinct, numbers = np.unique(labels, return_inverse=True)
    words = [str(word) for word in distinct]
    if not set(words) & set(places) and not (places and numbers_every_word(dataset)):  # no names, or long forms of them
        return NumberedLabels(numbers.astype(np.int64), words, words=True)
    _refuse_stray(labels, words, places)
    names = class_names_of(dataset)
    return NumberedLabels(np.array([places[word] for word in words], dtype=np.int64)[numbers], names, words=True)


def _refuse_stray(labels: NDArray[Any], words: list[str], places: Mapping[str, int]) -> None:
    for word in words:
        if word not in places:
            at = int(np.flatnonzero(labels == word)[0])
            raise ValueError(
                f"labels must be names of the data set's classes ({_shown(list(places))}), got {word!r} at position "
                f"{at}; correct the label, or add the class"
            )


def _integer_labels(labels: Any) -> NDArray[Any]:
    _checks.refuse_masked("labels", labels)
    array = as_array(labels)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"labels must be a one-dimensional, non-empty sequence, got shape {array.shape}")
    refuse_missing("labels", array)
    if not np.issubdtype(array.dtype, np.integer):
        words = array.dtype.kind in "UTO" and all(isinstance(label, str) for label in array)
        then = "ClassCounts.from_dataset(labels) numbers words" if words else "map the classes to 0..C-1 first"
        then = type_hint(labels, array) if array.dtype.kind == "b" else then
        raise TypeError(f"labels must be integers, got dtype {array.dtype}; {then}")
    refuse_negative(array)
    return array


def _counted(labels: NDArray[Any], num_classes: int) -> NDArray[np.int64]:
    """Return ``bincount(labels, minlength=num_classes)``, which converts labels that are not int64 a part at a time."""
    if labels.dtype == np.int64:
        return np.bincount(labels, minlength=num_classes)
    counts = np.zeros(max(num_classes, int(labels.max(initial=0)) + 1), np.int64)
    for start in range(0, len(labels), _AT_ONCE):
        counts += np.bincount(labels[start : start + _AT_ONCE].astype(np.int64), minlength=len(counts))
    return counts


def _ready_counts(dataset: Any) -> ClassCounts | None:
    """Return the counts that a data set has, None if it has none."""
    name = f"{type(dataset).__name__}.class_counts"
    if hasattr(type(dataset), "to_numpy"):  # the entry of that name of a pandas Series
        return None
    ready = getattr(dataset, "class_counts", None)
    if ready is None or callable(ready):
        return None
    counts = (
        ready if isinstance(ready, ClassCounts) else ClassCounts(in_class_order(name, ready, class_names_of(dataset)))
    )
    try:
        samples = len(dataset)
    except (TypeError, NotImplementedError):
        return counts
    if counts.total != samples:
        if not is_own(dataset, "class_counts"):
            return None  # those of the data set that it wraps
        raise ValueError(
            f"dataset.class_counts must add up to the number of samples ({samples}), got {counts.total}, those of "
            "other samples; pass the labels to ClassCounts.from_labels"
        )
    return counts if _agrees(dataset, counts) else None


def _agrees(dataset: Any, counts: ClassCounts) -> bool:
    """Whether the labels, if any, have these counts; raise if the data set itself has other counts."""
    try:
        labels = numbered_labels(dataset).numbers
    except TypeError:
        return True  # it has none
    refuse_negative(labels)
    counted = _counted(labels, len(counts)) if labels.size else counts.counts
    if np.array_equal(counted, counts.counts):
        return True
    if not is_own(dataset, "class_counts"):
        return False
    at = int(np.flatnonzero(counted[: len(counts)] != counts.counts)[0])
    raise ValueError(
        f"dataset.class_counts must be those of its labels, got {counts.counts[at]} for class {at}, of which "
        f"{counted[at]} are counted; pass the labels to ClassCounts.from_labels, or correct class_counts"
    )


def _keyed(values: Any) -> tuple[list[Any], Any] | None:
    if isinstance(values, Mapping):
        return list(values), list(values.values())
    if hasattr(type(values), "to_numpy") and hasattr(type(values), "reindex") and np.ndim(values) == 1:
        return list(values.index), values.to_numpy()  # a pandas Series, which is not imported here
    return None


def _class_order(keys: list[Any], names: ClassCounts | Sequence[str] | None) -> NDArray[np.int64] | None:
    """Return the position of each class among ``keys``, None if they are not the classes."""
    if all(isinstance(key, int | float | np.number) and not isinstance(key, bool) for key in keys):
        wanted: list[Any] = list(range(len(keys)))
    else:
        wanted = list((names.names if isinstance(names, ClassCounts) else names) or ())
    places = {key: at for at, key in enumerate(keys)}
    if len(places) != len(keys) or len(wanted) != len(keys) or set(places) != set(wanted):
        return None
    return np.array([places[key] for key in wanted], dtype=np.int64)


def _shown(keys: list[Any]) -> str:
    return ", ".join(repr(getattr(key, "item", lambda key=key: key)()) for key in keys[:5]) + (
        ", ..." if keys[5:] else ""
    )


def _next_step(keys: list[Any], values: Any) -> str:
    return _other_keys(keys) or _order_of_keys(keys, values)


def _other_keys(keys: list[Any]) -> str:
    """Return what to count instead of keys that are not classes; empty for any other."""
    if any(map(is_missing, keys)):
        return "one is of samples without a label: leave them out (of a Series, labels.dropna().value_counts())"
    if keys and all(isinstance(key, tuple) and len(key) == 1 for key in keys):
        return "count the one column: frame['label'].value_counts(), with its name"
    if all(isinstance(key, bool | np.bool_) for key in keys):
        return "count integers in their place: labels.astype(int) of a Series, [int(label) for label in labels]"
    return ""


def _order_of_keys(keys: list[Any], values: Any) -> str:
    whole = all(isinstance(key, int | float | np.number) for key in keys)
    from_one = "; the labels start at 1: subtract 1 from the labels before counting" if _is_from_one(keys) else ""
    if isinstance(values, Mapping):
        return f"pass [counts[key] for key in classes], with classes in the order of the class numbers{from_one}"
    if from_one:
        return from_one.removeprefix("; ") + ", as (labels - 1).value_counts()"
    if whole:
        return "pass .reindex(range(C), fill_value=0), or .sort_index().to_numpy() where these are all classes"
    return (
        "pass .reindex(classes).to_numpy(), with the class names in the order of the class numbers, or "
        ".sort_index().to_numpy() where that is sorted order"
    )


def _is_from_one(keys: list[Any]) -> bool:
    """Whether the numbers start at 1, also with gaps."""
    numbers = [key for key in keys if isinstance(key, int | float | np.number)]
    return len(numbers) == len(keys) > 0 and min(numbers) == 1


def _rebuild(counts: list[int], names: tuple[str, ...] | None) -> ClassCounts:
    return ClassCounts(counts, names=names)


def _whole_numbers(counts: ArrayLike) -> NDArray[np.int64]:
    _checks.refuse_masked("counts", counts)
    array = as_array(counts)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"counts must be one-dimensional with at least one class, got shape {array.shape}")
    if array.dtype.kind in "Ou":
        _refuse_beyond_int64(array)
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise TypeError(f"counts must be integers, got dtype {array.dtype}")
    with np.errstate(invalid="ignore"):  # NaN and infinity become some integer, and are refused as unequal below
        whole = array.astype(np.int64)
    wrong = np.flatnonzero((whole != array) | (array < 0))
    if wrong.size:
        at = int(wrong[0])
        raise ValueError(_WRONG_COUNT.format(array[at], at))
    if not whole.any():
        raise ValueError(f"counts must have at least one sample, got {len(whole)} classes without any")
    return whole


def _refuse_beyond_int64(counts: NDArray[Any]) -> None:
    # NumPy makes objects, or unsigned numbers, of Python integers that do not fit.
    for at, count in enumerate(counts.tolist()):
        if isinstance(count, int) and not 0 <= count < 1 << 63:
            raise ValueError(_WRONG_COUNT.format(count, at))


def _checked_names(names: Iterable[str], num_classes: int) -> tuple[str, ...]:
    listed = tuple(names)
    if len(listed) != num_classes:
        raise ValueError(f"names must have one entry per class ({num_classes}), got {len(listed)}")
    if len(set(listed)) != len(listed):
        repeated = next(name for name in listed if listed.count(name) > 1)
        raise ValueError(f"names must be distinct, got {repeated!r} twice")
    return listed


CountsLike: TypeAlias = ClassCounts | ArrayLike
