"""The class number of each sample of a stream."""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Literal, TypeAlias

from lt_fast import _checks
from lt_fast._text import nearest, shown

UnknownPolicy: TypeAlias = Literal["error", "skip"]
LabelOf: TypeAlias = Callable[[Any], Any] | int | str


class StreamLabels:
    """Reads the label of a sample and returns its class number, None for one that is left out.

    A label is an integer in [0, C), a tensor or an array with one, the name of a class, or the text of either as bytes,
    as an undecoded sample of WebDataset has it.

    Args:
        label: a function of the sample, or the key or position of the label in it.
        num_classes: C.
        names: class names and their numbers.
        unknown: what to do about a label that is none of the classes.
    """

    def __init__(self, label: Any, num_classes: int, names: Mapping[str, int], unknown: UnknownPolicy) -> None:
        if not (callable(label) or isinstance(label, str | int)) or isinstance(label, bool):
            raise TypeError(f"label must be a function, a key or a position, got {shown(label)}")
        self._read = label if callable(label) else itemgetter(label)
        self._given, self._num_classes, self._names, self._unknown = label, num_classes, names, unknown

    def of(self, sample: Any, at: int) -> int | None:
        """Return the class of the sample at position ``at`` of the stream."""
        try:
            label = self._read(sample)
        except (LookupError, TypeError) as error:
            if callable(self._given):
                raise
            raise TypeError(
                f"label must be in every sample, got {self._given!r} and at position {at} a {_described(sample)}; pass "
                "the key or the position of the label, or a function of the sample"
            ) from error
        number = self._number(label)
        if number is None and self._unknown == "error":
            raise ValueError(self._stray(label, at))
        return number

    def _number(self, label: Any) -> int | None:
        if type(label) is not int:
            label = self._converted(label)
        return label if label is not None and 0 <= label < self._num_classes else None

    def _converted(self, label: Any) -> int | None:
        text = label.decode("utf-8", "replace") if isinstance(label, bytes | bytearray) else label
        if isinstance(text, str):
            number = self._names.get(text)
            return int(text) if number is None and text.isascii() and text.isdecimal() else number
        try:
            return _checks.integer("label", label)
        except TypeError:
            return None

    def _stray(self, label: Any, at: int) -> str:
        text = label.decode("utf-8", "replace") if isinstance(label, bytes | bytearray) else label
        close = nearest(text, self._names) if isinstance(text, str) else ""
        then = close or "; pass unknown='skip' to leave such samples out"
        return (
            f"labels of the stream must be integers in [0, {self._num_classes}) or names of the classes, got "
            f"{shown(label)} at position {at}{then}"
        )


def _described(sample: Any) -> str:
    if isinstance(sample, Mapping):
        return f"{type(sample).__name__} with the keys {', '.join(map(repr, list(sample)[:6]))}"
    if isinstance(sample, tuple | list):
        return f"{type(sample).__name__} of {len(sample)}"
    return type(sample).__name__
