"""The labels of a data set, without decoding a sample."""

import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast import _checks
from lt_fast._loaded import is_of, is_tensor

_ATTRIBUTES = ("targets", "labels")
_MISSING_AS_WORDS = ("nan", "NaN", "<NA>", "NaT")
_ORDERS = ("indices", "indexes", "index", "idx", "idxs", "perm", "permutation", "order")
_WIDE = 8  # bytes of an integer that is not narrow
_PASS_THEM = "pass the label of each sample yourself"  # noqa: S105  (no password)


def labels_of(dataset: Any) -> NDArray[Any]:
    """Return the labels of ``dataset`` in its order, never calling its ``__getitem__``.

    If it is not certain that labels belong to these samples, they are refused, or a warning names what was used.

    A ``target_transform`` of the data set is applied, as its ``__getitem__`` does: once per distinct label, and again
    to see that it depends on the label alone.

    Args:
        dataset: labels themselves (list, tuple, range, array, tensor, pandas ``Series`` or another column that has
            ``to_numpy``; integers or strings), or a data set: one with ``.targets`` or ``.labels`` (torchvision's,
            ``ImageFolder``, ours), a ``Subset`` or ``ConcatDataset`` of such, nested at will, or a ``TensorDataset``
            (its last tensor that can hold labels); or a column of a Hugging Face data set, ``dataset["label"]``, read
            at once and past any transform.

    Shape:
        returns (N,), int64 for integers, else NumPy's string type.

    Raises:
        TypeError: if no labels are found, they are neither integers nor strings or a mix of both, or a
            torch ``Sampler`` is passed.
        ValueError: if they are not one-dimensional, one is missing or masked, they are not as many as the data set has
            samples, they contradict its structure, or a ``Subset`` names a sample that is not there.

    >>> import torch
    >>> from torch.utils.data import Subset, TensorDataset
    >>> images, labels = torch.zeros(4, 3, 8, 8), torch.tensor([0, 2, 1, 2])
    >>> labels_of(Subset(TensorDataset(images, labels), [3, 0])).tolist(), labels_of(["cat", "dog"]).tolist()
    ([2, 0], ['cat', 'dog'])
    """
    labels = narrow_labels_of(dataset)
    return labels.astype(np.int64, copy=False) if labels.dtype.kind in "iu" else labels


def narrow_labels_of(dataset: Any) -> NDArray[Any]:
    """Return what ``labels_of`` does, but integers of 32 bits or less in an array as they are.

    A billion labels of 8 bits take 1 GB so, and 8 GB more as int64.

    >>> labels = np.array([0, 2, 1], dtype=np.uint8)
    >>> narrow_labels_of(labels).dtype, labels_of(labels).dtype
    (dtype('uint8'), dtype('int64'))
    """
    refuse_sampler(dataset)
    if _is_hugging_face_column(dataset):
        dataset = _entries(dataset)
    if isinstance(dataset, list | tuple | range | np.ndarray) or is_tensor(dataset) or _is_column(dataset):
        return _checked_narrow(dataset)
    structural = _structural(dataset)
    own = _own_labels(dataset, trusted=structural is None)
    if own is not None:
        return own if structural is None else _agreeing(dataset, own, structural)
    if structural is not None:
        return _as_it_gives_them(dataset, structural())
    if getattr(dataset, "__array__", None) is not None:
        return _checked(dataset)
    raise TypeError(
        f"labels must be a sequence, array or tensor, or a data set with .targets or .labels, got "
        f"{type(dataset).__name__}; pass its labels themselves (of Hugging Face datasets: dataset['label'])",
    )


def class_names_of(dataset: Any) -> list[str] | None:
    """Return the class names of ``dataset`` in the order of the class numbers, None where it has none.

    ``.class_to_idx`` or ``.classes`` of a data set, of what a ``Subset`` was taken from, or of all parts of a
    ``ConcatDataset``; the names of a ``ClassLabel`` column of a Hugging Face data set. Names that repeat tell no
    classes apart, and numbers that are not 0 to C-1, each once, no order: None.

    >>> class WithNames:
    ...     class_to_idx = {"dog": 1, "cat": 0}
    >>> class_names_of(WithNames()), class_names_of([0, 1, 1])
    (['cat', 'dog'], None)
    """
    numbers = class_numbers_of(dataset)
    if numbers is None:
        return None
    listed = getattr(dataset, "classes", None)
    shown = None if isinstance(listed, Mapping | set | frozenset) else _numbers_of_names(listed)
    if shown is not None and set(shown) != set(numbers):  # next to names of folders, or several words for one class
        return list(shown)
    if sorted(numbers.values()) != list(range(len(numbers))):
        return None
    return sorted(numbers, key=numbers.__getitem__)


def numbers_every_word(dataset: Any) -> bool:
    """Whether a dictionary has the number of each possible string label."""
    while _is_torch(dataset, "Subset"):
        dataset = dataset.dataset
    return any(isinstance(getattr(dataset, name, None), Mapping) for name in ("class_to_idx", "classes"))


def class_numbers_of(dataset: Any) -> dict[str, int] | None:
    """Return the number of each class name of ``dataset``, None where it has no names.

    From ``.class_to_idx``, or from ``.classes``: a list in the order of the numbers, or a dictionary.

    Raises:
        ValueError: if a class of a dictionary has no number >= 0.
    """
    if _is_hugging_face_column(dataset):
        feature = getattr(getattr(dataset, "source", None), "features", {}).get(dataset.column_name)
        return _numbers_of_names(getattr(feature, "names", None))
    if isinstance(dataset, list | tuple | range | np.ndarray) or hasattr(type(dataset), "to_numpy"):
        return None
    if is_own(dataset, "target_transform") and dataset.target_transform is not None:
        return None  # its classes are others
    for name in ("class_to_idx", "classes"):
        given = getattr(dataset, name, None)
        if isinstance(given, Mapping) and given:
            return _numbers_of_mapping(f"{type(dataset).__name__}.{name}", given)
    if isinstance(given, set | frozenset):
        warn(
            f"{type(dataset).__name__}.classes is a set, which has no order, and is not looked at; make it a list in "
            "the order of the class numbers"
        )
        return None
    return _numbers_of_parts(dataset) if given is None else _numbers_of_names(given)


def _numbers_of_names(names: Any) -> dict[str, int] | None:
    words = [str(name) for name in names] if isinstance(names, Iterable) and not isinstance(names, str) else []
    return {word: at for at, word in enumerate(words)} if words and len(set(words)) == len(words) else None


def _numbers_of_mapping(place: str, given: Mapping[Any, Any]) -> dict[str, int] | None:
    """Return word to number of a dictionary of words to numbers, or of numbers to words."""
    pairs = [(_plain(key), _plain(value)) for key, value in given.items()]
    if all(_is_whole(key) for key, _ in pairs) and not all(_is_whole(value) for _, value in pairs):
        pairs = [(value, key) for key, value in pairs]
    for word, number in pairs:
        if not _is_whole(number) or number < 0:
            raise ValueError(f"{place} must give each class an integer >= 0, got {number!r} for {word!r}")
    numbers = {str(word): int(number) for word, number in pairs}
    return numbers if len(numbers) == len(pairs) else None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def refuse_sampler(labels: Any) -> None:
    """Raise ``TypeError`` for a torch ``Sampler`` in the place of labels, naming the framework's switch."""
    # Lightning rebuilds a batch sampler as `type(sampler)(DistributedSampler(...), batch_size=..., drop_last=...)`.
    if _is_torch(labels, "Sampler"):
        raise TypeError(
            f"labels must be class labels or a data set, got a torch {type(labels).__name__}; if a framework put it "
            "there, pass Trainer(use_distributed_sampler=False): this sampler shards by itself with .shard() or "
            ".distributed()",
        )


def integers(name: str, values: Any) -> NDArray[np.int64]:
    """Return a copy of ``values``, any sequence, array or tensor of integers, as ``(N,)`` int64.

    Raises:
        TypeError: if the entries are not integers.
        ValueError: if it is not one-dimensional, or an entry is missing or masked.
    """
    _checks.refuse_masked(name, values)
    array = as_array(values)
    if array.ndim == 1:
        refuse_missing(name, array)
    return _checks.index_array(name, array).copy()


def refuse_missing(name: str, array: NDArray[Any]) -> None:
    """Raise ``ValueError`` for None, NaN, ``pandas.NA``, NaT or an empty string in ``(N,)``, naming its position."""
    if array.dtype.kind in "iub" or not array.size:
        return
    missing = np.flatnonzero(_missing(array))
    if missing.size:
        count = "one" if missing.size == 1 else f"{missing.size}, the first"
        value = _plain(array[missing[0]])
        raise ValueError(
            f"{name} must have no missing entry, got {count} at position {missing[0]} ({value!r}); leave "
            "these samples out, or fill in their values"
        )


def refuse_negative(labels: NDArray[Any]) -> None:
    """Raise ``ValueError`` for a label below 0, naming its position."""
    if labels.size == 0 or labels.dtype.kind == "u" or labels.min() >= 0:  # without a mask as long as the labels
        return
    negative = np.flatnonzero(labels < 0)
    if negative.size:
        at = int(negative[0])
        raise ValueError(
            f"labels must be >= 0, got {int(labels[at])} at position {at}; where that marks a sample without a label, "
            "leave the sample out"
        )


def _missing(array: NDArray[Any]) -> NDArray[np.bool_]:
    if array.dtype.kind in "fc":
        return np.asarray(np.isnan(array))
    if array.dtype.kind in "mM":
        return np.asarray(np.isnat(array))
    if array.dtype.kind == "U":
        return np.asarray(np.char.strip(array) == "")
    return np.fromiter((is_missing(entry) for entry in array), dtype=bool, count=len(array))


def is_missing(entry: Any) -> bool:
    """Whether ``entry`` is None, NaN, ``pandas.NA``, NaT or an empty string."""
    if entry is None or type(entry).__name__ in ("NAType", "NaTType"):  # of pandas, which is not imported here
        return True
    if isinstance(entry, str):
        return not entry.strip()
    return isinstance(entry, float | np.floating) and bool(entry != entry)  # noqa: PLR0124  (NaN)


def _is_torch(value: Any, name: str) -> bool:
    return is_of(value, "torch.utils.data", name)


def _is_column(labels: Any) -> bool:
    # Its entries are attributes, too: `series.targets` is the entry of that name in the index of a pandas Series.
    return hasattr(type(labels), "to_numpy") and getattr(labels, "ndim", 1) == 1


def _is_hugging_face_column(dataset: Any) -> bool:
    return (type(dataset).__module__.partition(".")[0], type(dataset).__name__) == ("datasets", "Column")


def is_own(dataset: Any, name: str) -> bool:
    """Whether the attribute belongs to the object or its class, not to a wrapped object via ``__getattr__``."""
    missing = object()
    return inspect.getattr_static(dataset, name, missing) is not missing


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except (TypeError, NotImplementedError, AttributeError):
        return None


# --- .targets and .labels ---------------------------------------------------------------------------------------------


def _own_labels(dataset: Any, *, trusted: bool) -> NDArray[Any] | None:
    """Return ``.targets``, else ``.labels``, as the loader gives them; None if there is neither."""
    found = {name: _attribute(dataset, name, trusted=trusted) for name in _ATTRIBUTES}
    given = {name: values for name, values in found.items() if values is not None}
    if not given:
        return None
    name, values = next(iter(given.items()))
    labels = _checked(values, f"{type(dataset).__name__}.{name}")
    _refuse_other_length(dataset, name, labels)
    _refuse_other_order(dataset, name, labels)
    _warn_of_second(dataset, given, labels)
    return _transformed(dataset, labels)


def _attribute(dataset: Any, name: str, *, trusted: bool) -> Any:
    # Of a Subset or a ConcatDataset, what `__getattr__` forwards is of the data set inside it.
    if not trusted and not is_own(dataset, name):
        return None
    values = getattr(dataset, name, None)
    return None if callable(values) else values


def _refuse_other_length(dataset: Any, name: str, labels: NDArray[Any]) -> None:
    samples = _length(dataset)
    if samples is None or samples == len(labels):
        return
    names = getattr(dataset, "classes", None)
    words = labels.dtype.kind == "U" and len(set(labels.tolist())) == len(labels)
    if words or (isinstance(names, list | tuple) and len(names) == len(labels)):
        guess = "they look like one per class"
    elif not is_own(dataset, name):
        guess = "they are those of the data set that it wraps"
    else:
        guess = "they are of other samples, as after filtering or repeating"
    raise ValueError(
        f"labels must be one per sample ({samples}), got {len(labels)} in {type(dataset).__name__}.{name}: {guess}; "
        f"{_PASS_THEM}, or wrap with torch.utils.data.Subset, whose labels are known"
    )


def _refuse_other_order(dataset: Any, name: str, labels: NDArray[Any]) -> None:
    """Raise or warn if ``.samples`` or ``.indices``, which the samples are read from, may give other labels."""
    if is_own(dataset, "samples"):
        _refuse_others(dataset, name, labels, _second_of_pairs(dataset.samples), ".samples")
    orders = {place: order for place in _ORDERS if (order := _own_order(dataset, place, labels)) is not None}
    if not is_own(dataset, name):
        for place, order in orders.items():
            _refuse_others(dataset, name, labels, labels[order % len(labels)], f".{place}")
        if not orders and labels.size and not hasattr(type(dataset), "to_numpy"):  # not a column of a DataFrame
            warn(
                f"labels are taken from the data set that {type(dataset).__name__} wraps, in its order "
                f"(.{name} is not its own); if {type(dataset).__name__} gives other samples, another order or other "
                f"labels, {_PASS_THEM}"
            )
    elif not _is_checked(dataset) and not _is_torch(dataset, "Subset"):  # which is compared with its parts
        _warn_of_order(dataset, name, labels, orders)


def _own_order(dataset: Any, place: str, labels: NDArray[Any]) -> NDArray[Any] | None:
    """Return which sample is at each position, by the data set's own index; None if it has none."""
    for spelling in (place, f"_{place}"):
        values = getattr(dataset, spelling) if is_own(dataset, spelling) else None
        if isinstance(values, list | tuple | range | np.ndarray) or is_tensor(values):
            try:
                order = _array(values)
            except ValueError:
                continue
            if order.dtype.kind in "iu" and order.shape == labels.shape and order.size:
                return order
    return None


def _warn_of_order(dataset: Any, name: str, labels: NDArray[Any], orders: Mapping[str, NDArray[Any]]) -> None:
    for place, order in orders.items():
        # Positions beyond are of a larger data set: these labels have been chosen by them.
        if np.abs(order).max() > len(labels) or order.max() == len(labels):
            continue
        if not np.array_equal(labels[order % len(labels)], labels):
            warn(
                f"labels are taken from {type(dataset).__name__}.{name} as they are; if its samples come in the order "
                f"of its .{place}, they are others: pass {name}[{place}] then, or dataset.{name} if they are right"
            )


def _is_checked(dataset: Any) -> bool:
    return type(dataset).__module__.partition(".")[0] in ("lt_fast", "torchvision")


def _refuse_others(dataset: Any, name: str, labels: NDArray[Any], other: NDArray[Any] | None, place: str) -> None:
    if other is None or other.shape != labels.shape or np.array_equal(other, labels):
        return
    at = int(np.flatnonzero(other != labels)[0])
    raise ValueError(
        f"labels must be those of the samples, got {labels[at]!s} at position {at} of {type(dataset).__name__}.{name}, "
        f"but {other[at]!s} by its {place}; {_PASS_THEM}"
    )


def _second_of_pairs(samples: Any) -> NDArray[Any] | None:
    """Return the labels of ``(path, label)`` pairs of any kind; None for anything else."""
    if not isinstance(samples, list | tuple | np.ndarray):
        return None
    if not all(isinstance(pair, tuple | list | np.ndarray) and len(pair) == 2 for pair in samples):  # noqa: PLR2004
        return None
    seconds = [_plain(pair[1]) for pair in samples]
    return np.array(seconds) if all(isinstance(label, int | float) for label in seconds) else None


def _warn_of_second(dataset: Any, given: Mapping[str, Any], labels: NDArray[Any]) -> None:
    """Warn if ``.targets`` and ``.labels`` both have one entry per sample and define different classes."""
    if len(given) == 1 or given["labels"] is given["targets"]:
        return
    try:
        second = _checked(given["labels"])
    except (TypeError, ValueError):
        return  # something else of that name
    if len(second) != len(labels) or not len(labels):
        return
    pairs = len(set(zip(labels.tolist(), second.tolist(), strict=True)))
    if pairs == len(set(labels.tolist())) == len(set(second.tolist())):
        return
    warn(
        f"labels are taken from {type(dataset).__name__}.targets; its .labels are others; pass dataset.targets or "
        "dataset.labels themselves"
    )


# --- target_transform -------------------------------------------------------------------------------------------------


def _transformed(dataset: Any, labels: NDArray[Any]) -> NDArray[Any]:
    """Return the labels after ``target_transform``, as ``__getitem__`` returns them."""
    transform = getattr(dataset, "target_transform", None)
    if transform is None or not labels.size:
        return labels
    if not callable(transform):
        raise TypeError(
            f"{type(dataset).__name__}.target_transform must be a function, got {transform!r}; {_PASS_THEM}"
        )
    distinct, inverse = np.unique(labels, return_inverse=True)
    changed = _checked_changes([_change(dataset, transform, label) for label in distinct.tolist()])
    if not _is_torchvision(dataset) and not np.array_equal(changed, distinct):
        warn(
            f"labels are taken as {type(dataset).__name__}.target_transform gives them; if __getitem__ does not apply "
            f"it, {_PASS_THEM}"
        )
    transformed: NDArray[Any] = changed[inverse]
    return transformed


def _change(dataset: Any, transform: Callable[[Any], Any], label: int | str) -> Any:
    name = f"{type(dataset).__name__}.target_transform"
    try:
        once, again = _plain(transform(label)), _plain(transform(label))
    except Exception as error:
        raise ValueError(
            f"{name} must take a label, but for {label!r} it raised {type(error).__name__}: {error}; {_PASS_THEM}"
        ) from error
    if isinstance(once, bool) or not isinstance(once, int | str):
        raise TypeError(f"{name} must return an integer or a string, got {once!r} for {label!r}; {_PASS_THEM}")
    if once != again:
        raise ValueError(
            f"{name} must depend on the label alone, got {once!r} and then {again!r} for {label!r}; {_PASS_THEM}"
        )
    return once


def _plain(value: Any) -> Any:
    """Return a 0-dimensional array or tensor, or a NumPy number, as a Python number."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


def _checked_changes(values: list[Any]) -> NDArray[Any]:
    if len({isinstance(value, str) for value in values}) > 1:
        raise TypeError(f"target_transform must return all integers or all strings, got both: {values[:4]!r}")
    return _checked(values, "target_transform")


def _is_torchvision(dataset: Any) -> bool:
    return str(getattr(type(dataset).__getitem__, "__module__", "")).partition(".")[0] == "torchvision"


# --- Subset, ConcatDataset, TensorDataset -----------------------------------------------------------------------------


def _structural(dataset: Any) -> Callable[[], NDArray[Any]] | None:
    """Return a function that takes the labels from the parts of a data set of torch's; None for any other."""
    if _is_torch(dataset, "Subset"):
        return lambda: _of_subset(labels_of(dataset.dataset), integers("Subset.indices", dataset.indices))
    if _is_torch(dataset, "ConcatDataset"):
        return lambda: _of_concatenation(dataset)
    if _is_torch(dataset, "TensorDataset"):
        return lambda: _of_tensors(dataset.tensors)
    return None


def _agreeing(dataset: Any, own: NDArray[Any], structural: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Return the own labels of a Subset or ConcatDataset, unless its parts give other labels."""
    if _gives_something_else(dataset) or any(_equals(tensor, own) for tensor in getattr(dataset, "tensors", ())):
        return own
    try:
        parts = structural()
    except TypeError:
        return own  # the parts have no labels
    if own.shape == parts.shape and np.array_equal(own, parts):
        return own
    at = int(np.flatnonzero(own != parts)[0]) if own.shape == parts.shape and own.dtype.kind == parts.dtype.kind else 0
    raise ValueError(
        f"labels must be those of the samples, got {own[at]!s} at position {at} of the labels of this "
        f"{type(dataset).__name__}, but {parts[at]!s} by its parts, whose samples it gives; {_PASS_THEM}"
    )


def _as_it_gives_them(dataset: Any, labels: NDArray[Any]) -> NDArray[Any]:
    """Return the labels of the parts; warn if the ``__getitem__`` of a subclass may change them."""
    if not labels.size or not _gives_something_else(dataset):
        return labels
    if is_own(dataset, "target_transform") and dataset.target_transform is not None:
        return _transformed(dataset, labels)
    warn(
        f"labels are those of the parts of this {type(dataset).__name__}, whose own __getitem__ may give others; if it "
        f"does, give it .targets, or {_PASS_THEM}"
    )
    return labels


def _gives_something_else(dataset: Any) -> bool:
    """Whether a subclass overrides ``__getitem__``, which may return other labels."""
    methods = (getattr(type(dataset), name, None) for name in ("__getitem__", "__getitems__"))
    return any(not str(getattr(it, "__module__", "")).startswith("torch.") for it in methods if it is not None)


def _equals(tensor: Any, labels: NDArray[Any]) -> bool:
    return np.array_equal(_array(tensor), labels)


def _of_subset(labels: NDArray[Any], indices: NDArray[np.int64]) -> NDArray[Any]:
    outside = np.flatnonzero((indices < -len(labels)) | (indices >= len(labels)))
    if outside.size:
        at = int(outside[0])
        raise ValueError(f"Subset.indices must be < {len(labels)}, the samples there are, got {indices[at]} at {at}")
    return labels[indices]


def _of_concatenation(dataset: Any) -> NDArray[Any]:
    labels = _joined([labels_of(part) for part in dataset.datasets])
    _warn_of_other_classes(dataset, labels)
    return labels


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    parts = [part for part in parts if part.size] or parts[:1]  # an empty list has no type of its own
    if len({part.dtype.kind for part in parts}) > 1:
        raise TypeError("labels must be integers or strings in every part of a ConcatDataset, got both")
    return np.concatenate(parts)


def _of_tensors(tensors: tuple[Any, ...]) -> NDArray[Any]:
    """Return the last tensor, if it can be labels; warn or refuse if another one may be meant."""
    last = len(tensors) - 1
    if last == 0:
        raise TypeError(f"TensorDataset must have a tensor of labels after its data, got one tensor; {_PASS_THEM}")
    labels = _checked(tensors[last], f"TensorDataset.tensors[{last}]", hint=_hint_of_tensors(tensors))
    others = [at for at in range(1, last) if _may_be_labels(tensors[at])]
    if not others:
        return labels
    if _is_distinct(labels):
        raise ValueError(
            f"labels must not be one class per sample, got {len(labels)} different numbers in "
            f"TensorDataset.tensors[{last}], as an index has; {_hint_of_tensors(tensors)}"
        )
    warn(
        f"labels are taken from TensorDataset.tensors[{last}], the last one; {_listed(others)} may hold labels, too; "
        f"pass dataset.tensors[{last}] itself, or another one"
    )
    return labels


def _hint_of_tensors(tensors: tuple[Any, ...]) -> str | None:
    others = [at for at in range(1, len(tensors) - 1) if _may_be_labels(tensors[at])]
    return f"pass dataset.tensors[{others[-1]}], if these are the labels" if others else None


def _listed(places: list[int]) -> str:
    return " and ".join(f"tensors[{at}]" for at in places)


def _may_be_labels(tensor: Any) -> bool:
    if tensor.ndim != 1 or tensor.is_floating_point() or tensor.is_complex() or str(tensor.dtype) == "torch.bool":
        return False
    array = tensor.detach().cpu().numpy()
    return not _is_distinct(array) and bool((array >= 0).all())


def _is_distinct(labels: NDArray[Any]) -> bool:
    return len(labels) > 1 and len(np.unique(labels)) == len(labels)


def _numbers_of_parts(dataset: Any) -> dict[str, int] | None:
    if _is_torch(dataset, "Subset"):
        return class_numbers_of(dataset.dataset)
    if _is_torch(dataset, "ConcatDataset"):
        parts = [numbers for part in dataset.datasets if (numbers := class_numbers_of(part)) is not None]
        if len(parts) == len(dataset.datasets) and not _other_numbers(parts):
            return max(parts, key=len)
    return None


def _other_numbers(parts: list[dict[str, int]]) -> tuple[dict[str, int], dict[str, int]] | None:
    """Return two parts that number classes differently; None if there are none."""
    largest = max(parts, key=len, default={})
    for part in parts:
        if not part.items() <= largest.items():
            return largest, part
    return None


def _warn_of_other_classes(dataset: Any, labels: NDArray[Any]) -> None:
    """Warn if a number means different classes in the parts of a ``ConcatDataset``."""
    if labels.dtype.kind == "U" or not labels.size:
        return
    parts = [numbers for part in dataset.datasets if (numbers := class_numbers_of(part)) is not None]
    others = _other_numbers(parts)
    if others is not None:
        one, two = ([*sorted(numbers, key=numbers.__getitem__)] for numbers in others)
        warn(
            f"labels of a ConcatDataset should number the same classes in every part, got {_few(one)} in one and "
            f"{_few(two)} in another: equal numbers are different classes; renumber one with target_transform"
        )


def _few(names: list[str]) -> str:
    return "[" + ", ".join(map(repr, names[:5])) + (", ...]" if names[5:] else "]")


# --- what labels may be -----------------------------------------------------------------------------------------------


def _entries(column: Any) -> list[Any]:
    """Return all entries of a column of Hugging Face ``datasets``, which is not imported here."""
    # A transform of the data set would ask for the whole row, its image decoded, for each label.
    source = column.source
    whole = source.with_format(None)[column.column_name] if hasattr(source, "with_format") else column
    return list(whole[:])


def _checked(labels: Any, source: str | None = None, *, hint: str | None = None) -> NDArray[Any]:
    """Return ``(N,)`` int64 or strings; the arguments are those of ``_checked_narrow``."""
    array = _checked_narrow(labels, source, hint=hint)
    return array.astype(np.int64, copy=False) if array.size and array.dtype.kind in "iu" else array


def _checked_narrow(labels: Any, source: str | None = None, *, hint: str | None = None) -> NDArray[Any]:
    """Return ``(N,)`` integers, of 32 bits or less as they are, others as int64; or strings.

    Args:
        labels: anything one-dimensional.
        source: where they come from, for messages.
        hint: the next step; by default one for the kind of mistake.
    """
    where = "" if source is None else f" in {source}"
    _checks.refuse_masked("labels", labels)
    array = _array(labels)
    if array.ndim != 1:
        raise ValueError(
            f"labels must be one-dimensional, got shape {array.shape}{where}; one class a sample is needed"
            f"{_shape_hint(labels, array) if hint is None else '; ' + hint}"
        )
    refuse_missing("labels", _objects(labels, array))
    if array.dtype.kind == "U" and isinstance(labels, list | tuple) and not all(isinstance(it, str) for it in labels):
        other = next(label for label in labels if not isinstance(label, str))
        raise TypeError(f"labels must be all integers or all strings, got {other!r} among strings{where}")
    if array.dtype.kind in "OT":
        array = _of_objects(array, where)
    if array.size == 0 or array.dtype.kind == "U":
        _warn_of_missing_words(array)
        return array
    if array.dtype.kind not in "iu":
        then = type_hint(labels, array) if hint is None else hint
        raise TypeError(f"labels must be integers or strings, got dtype {array.dtype}{where}; {then}")
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"labels must be < 2**63, got {array.max()}; number the classes 0..C-1 first")
    return array.astype(np.int64, copy=False) if array.dtype.itemsize == _WIDE else array


def as_array(values: Any) -> NDArray[Any]:
    """Return ``values`` as an array, also a tensor on any device, of any dtype, with or without gradient."""
    if isinstance(values, list | tuple) and len(values) and is_tensor(values[0]):
        values = [as_array(value) for value in values]
    if is_tensor(values):
        values = values.detach().cpu()
        # NumPy has no bfloat16 and no smaller type.
        values = values.float() if values.is_floating_point() and values.element_size() < 4 else values  # noqa: PLR2004
    return np.asarray(values)


def _array(labels: Any) -> NDArray[Any]:
    try:
        return as_array(labels)
    except ValueError as error:
        raise ValueError(f"labels must be one-dimensional, got entries of different lengths ({error})") from None


def _objects(labels: Any, array: NDArray[Any]) -> NDArray[Any]:
    """Return the original entries: NumPy converts a NaN among strings to the string "nan"."""
    if array.dtype.kind == "U" and isinstance(labels, list | tuple):
        entries = np.empty(len(labels), dtype=object)
        entries[:] = labels
        return entries
    return array


def _of_objects(array: NDArray[Any], where: str) -> NDArray[Any]:
    if all(isinstance(label, str) for label in array):
        return np.array(array.tolist(), dtype=str)
    for at, label in enumerate(array):
        if isinstance(label, bool | np.bool_) or not isinstance(label, int | np.integer):
            kinds = "all integers or all strings" if isinstance(label, str) else "integers or strings"
            raise TypeError(f"labels must be {kinds}, got dtype object with {label!r} at position {at}{where}")
        if not -(1 << 63) <= int(label) < 1 << 63:
            raise ValueError(f"labels must be < 2**63, got {label} at position {at}; number the classes 0..C-1 first")
    return array.astype(np.int64)


def _shape_hint(labels: Any, array: NDArray[Any]) -> str:
    if hasattr(labels, "columns"):
        wanted = ("label", "target", "class")
        columns = [name for name in labels.columns if any(word in str(name).lower() for word in wanted)]
        return f": pass the column of the labels, as frame[{next(iter(columns), 'label')!r}]"
    has_methods = isinstance(labels, np.ndarray) or is_tensor(labels)
    if array.ndim == 2 and array.shape[1] == 1:  # noqa: PLR2004
        return ": pass labels[:, 0]" if has_methods else ": pass [label[0] for label in labels]"
    if array.ndim == 2 and array.dtype.kind in "biuf" and array.size:  # noqa: PLR2004
        if ((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all():
            return f": of one-hot rows pass {'labels.argmax(1)' if has_methods else 'np.argmax(labels, 1)'}"
        if ((array == 0) | (array == 1)).all():
            rows = "labels.cpu().numpy()" if is_tensor(labels) else "np.asarray(labels)"
            return (
                ": for several labels per sample there is MultilabelBalancedSampler(indptr, indices), with "
                f"rows = {rows} != 0, indptr = np.append(0, rows.sum(1).cumsum()), indices = rows.nonzero()[1]"
            )
    return ""


def type_hint(labels: Any, array: NDArray[Any]) -> str:
    """Return how to make integers of labels of another type."""
    if array.dtype.kind != "b":
        return "convert them first"
    if is_tensor(labels):
        return "convert them first: pass labels.long()"
    is_plain = isinstance(labels, list | tuple)
    return f"convert them first: pass {'[int(label) for label in labels]' if is_plain else 'labels.astype(int)'}"


def _warn_of_missing_words(words: NDArray[Any]) -> None:
    if words.dtype.kind != "U":
        return
    wrong = np.flatnonzero(np.isin(words, _MISSING_AS_WORDS))
    if wrong.size:
        at = int(wrong[0])
        warn(
            f"labels hold the word {str(words[at])!r}, {wrong.size} times, the first at position {at}: what missing "
            "values are as text; leave these samples out, unless a class has that name"
        )


def warn(message: str) -> None:
    """Warn at the line that called this package."""
    depth = 2
    frame = sys._getframe(1)  # noqa: SLF001  (the one way to the caller's line)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "lt_fast":
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, UserWarning, stacklevel=depth)
