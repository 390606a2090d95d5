"""``ClassCounts``: how many training samples each class has, the one value that all rooms share."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

EmptyPolicy: TypeAlias = Literal["error", "ignore"]

_MOST_CLASSES = 1 << 24
_WRONG_COUNT = "counts must be whole numbers >= 0 and < 2**63, got {} for class {}; pass the samples of each class"


class ClassCounts:
    """Training samples per class: validated once, then frozen.

    Args:
        counts: ``(C,)`` whole numbers >= 0, one a class, any sequence, array or tensor.
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
        TypeError: if the counts are not whole numbers.
        ValueError: if they are negative, 2**63 or more, masked, not one-dimensional, fewer than one, or all zero; if
            ``names`` has another length or repeats a name.

    >>> counts = ClassCounts([500, 50, 5])
    >>> counts.imbalance_ratio, counts.groups()["few"].tolist()
    (100.0, [False, False, True])
    """

    __slots__ = ("_names", "counts")

    counts: NDArray[np.int64]
    _names: tuple[str, ...] | None  # none until somebody asks: 2**24 words take 1.5 GB

    def __init__(self, counts: "ClassCounts | ArrayLike", *, names: Sequence[str] | None = None) -> None:
        if isinstance(counts, ClassCounts):
            names = counts._names if names is None else names  # noqa: SLF001  (its own kind)
            counts = counts.counts
        array = _whole_numbers(counts)
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
            TypeError: if the labels are not integers, or ``num_classes`` is not a whole number.
            ValueError: if a label lies outside the range or is masked (its position is named), or there is none; if the
                largest is 2**24 or more and ``num_classes`` is left out.
        """
        refuse_masked("labels", labels)
        array = np.asarray(labels)
        if array.ndim != 1 or array.size == 0:
            raise ValueError(f"labels must be a one-dimensional, non-empty sequence, got shape {array.shape}")
        if not np.issubdtype(array.dtype, np.integer):
            raise TypeError(f"labels must be integers, got dtype {array.dtype}; map the classes to 0..C-1 first")
        if num_classes is None:
            num_classes = len(names) if names is not None else int(array.max()) + 1
            if num_classes > _MOST_CLASSES:  # counts that fill the memory
                raise ValueError(
                    f"labels must be < {_MOST_CLASSES}, got {num_classes - 1}; map the classes to 0..C-1 first"
                )
        if not hasattr(num_classes, "__index__"):
            raise TypeError(f"num_classes must be a whole number, got {num_classes!r}")
        if num_classes < 1:
            raise ValueError(f"num_classes must be >= 1, got {num_classes}")
        outside = np.flatnonzero((array < 0) | (array >= num_classes))
        if outside.size:
            at = int(outside[0])
            raise ValueError(f"labels must lie in [0, {num_classes}), got {int(array[at])} at position {at}")
        return cls(np.bincount(array, minlength=num_classes), names=names)

    @classmethod
    def from_dataset(cls, dataset: Any) -> "ClassCounts":
        """Count the labels of ``dataset`` without decoding a sample.

        Reads ``class_counts`` where there is one, else ``targets`` or ``labels``, with ``classes`` as names.

        Raises:
            TypeError: if the data set has none of them.
        """
        ready = getattr(dataset, "class_counts", None)
        if ready is not None:
            return ready if isinstance(ready, cls) else cls(ready)
        labels = getattr(dataset, "targets", None)
        labels = getattr(dataset, "labels", None) if labels is None else labels
        if labels is None:
            raise TypeError(
                f"dataset must have .class_counts, .targets or .labels, got {type(dataset).__name__}; "
                "pass its labels to ClassCounts.from_labels",
            )
        names = getattr(dataset, "classes", None)
        return cls.from_labels(labels, names=[str(name) for name in names] if names is not None else None)

    @property
    def names(self) -> tuple[str, ...]:
        """As given, else the class numbers as words, made when first asked for."""
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
        """Sum of the counts."""
        return int(self.counts.sum())

    @property
    def prior(self) -> NDArray[np.float64]:
        """``counts / total``, ``(C,)`` float64."""
        return np.divide(self.counts, self.total, dtype=np.float64)

    @property
    def imbalance_ratio(self) -> float:
        """Largest count over smallest; infinite when a class is empty."""
        smallest = int(self.counts.min())
        return float(self.counts.max()) / smallest if smallest else float("inf")

    @property
    def empty(self) -> NDArray[np.int64]:
        """Indices of the classes without samples."""
        return np.flatnonzero(self.counts == 0)

    def groups(self, *, many: int = 100, few: int = 20) -> dict[str, NDArray[np.bool_]]:
        """Many (> ``many``), medium, few (< ``few``) as boolean masks over the classes.

        The thresholds are those of most long-tailed code (100 and 20: 35/35/30 classes on CIFAR-100-LT at imbalance
        ratio 100). OLTR itself used >= 100 and <= 20, which is ``groups(many=99, few=21)``.

        Raises:
            ValueError: if ``few > many + 1``, so that a class could be in two groups.
        """
        if few > many + 1:
            raise ValueError(f"few must be <= many + 1, got few={few}, many={many}")
        is_many, is_few = self.counts > many, self.counts < few
        return {"many": is_many, "medium": ~(is_many | is_few), "few": is_few}

    def require_no_empty(self, empty: EmptyPolicy = "error") -> "ClassCounts":
        """Return self; raise when a class has no samples, unless ``empty="ignore"``.

        Raises:
            ValueError: naming the first empty class.
        """
        if not isinstance(empty, str) or empty not in ("error", "ignore"):
            raise ValueError(f"empty must be 'error' or 'ignore', got {empty!r}")
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


def refuse_masked(name: str, values: object) -> None:
    """Raise ``ValueError`` for a masked entry of a NumPy masked array, of which ``np.asarray`` forgets the mask."""
    if isinstance(values, np.ma.MaskedArray):
        masked = np.argwhere(np.ma.getmaskarray(values))
        if len(masked):
            at = ", ".join(map(str, masked[0]))
            raise ValueError(
                f"{name} must have no masked entry, got {len(masked)}, the first at position {at}; leave it out, or "
                "fill in its value"
            )


def _rebuild(counts: list[int], names: tuple[str, ...] | None) -> ClassCounts:
    return ClassCounts(counts, names=names)


def _whole_numbers(counts: ArrayLike) -> NDArray[np.int64]:
    refuse_masked("counts", counts)
    array = np.asarray(counts)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"counts must be one-dimensional with at least one class, got shape {array.shape}")
    if array.dtype.kind in "Ou":
        _refuse_beyond_int64(array)
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)):
        raise TypeError(f"counts must be whole numbers, got dtype {array.dtype}")
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
        raise ValueError(f"names must have one entry a class ({num_classes}), got {len(listed)}")
    if len(set(listed)) != len(listed):
        repeated = next(name for name in listed if listed.count(name) > 1)
        raise ValueError(f"names must be distinct, got {repeated!r} twice")
    return listed


CountsLike: TypeAlias = ClassCounts | ArrayLike
