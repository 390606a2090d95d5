"""Read files of a run, which anybody may have changed: regular files, bounded in size, checked against a schema.

A schema is a list of rules by dotted name; ``*`` stands for every entry of a list or an object, and a part that ends in
``?`` may be missing or null::

    {"files.*.bytes": SIZE, "metrics_before_calibration?.top1": FRACTION}
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lt_fast import _files
from lt_fast._extras import require
from lt_fast._files import MOST_BYTES, MOST_JSON_BYTES, read_bytes, shown_json
from lt_fast.errors import DataError


class Rule(NamedTuple):
    """The rule of one value, as text and as a test."""

    words: str
    holds: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def whole(low: int = 0, high: int = 2**63 - 1) -> Rule:
    """Return the rule of an integer in [low, high]."""
    bound = f">= {low}" if high == 2**63 - 1 else f"in [{low}, {high}]"
    return Rule(f"an integer {bound}", lambda value: _is_whole(value) and low <= value <= high)


def nullable(rule: Rule) -> Rule:
    """Return the rule that also allows null."""
    return Rule(f"{rule.words} or null", lambda value: value is None or rule.holds(value))


def one_of(*words: str) -> Rule:
    """Return the rule of a word from a list."""
    return Rule(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words)


TEXT = Rule("text", lambda value: isinstance(value, str))
SWITCH = Rule("true or false", lambda value: isinstance(value, bool))
NUMBER = Rule("a finite number", lambda value: _is_number(value) and abs(value) < 1e300)  # noqa: PLR2004
POSITIVE = Rule("a finite number >= 0", lambda value: NUMBER.holds(value) and value >= 0)
FRACTION = Rule("a number in [0, 1]", lambda value: _is_number(value) and 0 <= value <= 1)
WHOLE = whole()
OBJECT = Rule("an object", lambda value: isinstance(value, dict))
LIST = Rule("a list", lambda value: isinstance(value, list))
SHA256 = Rule(
    "64 hexadecimal digits",
    lambda value: isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef"),  # noqa: PLR2004
)


def check(values: Any, rules: Mapping[str, Rule]) -> None:
    """Check ``values`` against ``rules``, in order.

    Raises:
        ValueError: naming the first entry that breaks its rule, the rule and the value.
    """
    if not isinstance(values, dict):
        raise ValueError(f"it must hold an object, got {type(values).__name__}")  # noqa: TRY004  (the content of a file)
    for name, rule in rules.items():
        for place, value in _entries(values, name.split("."), ""):
            if value is _MISSING:
                raise ValueError(f"{place} is missing; it must be {rule.words}")
            if not rule.holds(value):
                raise ValueError(f"{place} must be {rule.words}, got {shown_json(value)}")


_MISSING = object()


def _entries(value: Any, parts: Sequence[str], place: str) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of every entry that the dotted name matches; ``_MISSING`` for a missing one."""
    if not parts:
        yield place, value
        return
    name, rest = parts[0].removesuffix("?"), parts[1:]
    if name == "*":
        if not isinstance(value, dict | list):
            raise ValueError(f"{place} must be a list or an object, got {shown_json(value)}")
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _entries(entry, rest, f"{place}.{key}" if place else str(key))
        return
    if not isinstance(value, dict):
        raise ValueError(f"{place} must be an object, got {shown_json(value)}")  # noqa: TRY004
    place = f"{place}.{name}" if place else name
    found = value.get(name, _MISSING)
    if parts[0].endswith("?") and (found is _MISSING or found is None):
        return
    if found is _MISSING:
        yield place, _MISSING
    else:
        yield from _entries(found, rest, place)


def read_json(path: Path, rules: Mapping[str, Rule], *, most: int = MOST_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object and check it against ``rules``.

    Raises:
        DataError: naming the file, and the first entry that is wrong.
    """
    values = _files.read_json(path, most=most)
    try:
        check(values, rules)
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    found: dict[str, Any] = values
    return found


class TensorRule(NamedTuple):
    """The rule of one tensor: dtypes by torch's names, a shape with None for any length, and finite if floating point.

    >>> TensorRule(("int64",), (None, 3)).words
    'int64 of shape (any, 3)'
    """

    dtypes: tuple[str, ...]
    shape: tuple[int | None, ...]

    @property
    def words(self) -> str:
        """The rule as text."""
        lengths = ", ".join("any" if length is None else str(length) for length in self.shape)
        return f"{' or '.join(self.dtypes)} of shape ({lengths}{',' * (len(self.shape) == 1)})"

    def fault(self, tensor: Tensor) -> str | None:
        """Return what is wrong with ``tensor``, or None."""
        dtype = str(tensor.dtype).removeprefix("torch.")
        lengths = zip(tensor.shape, self.shape, strict=False)
        fits = tensor.ndim == len(self.shape) and all(wanted in (None, length) for length, wanted in lengths)
        if dtype not in self.dtypes or not fits:
            return f"must be {self.words}, got {dtype} of shape {tuple(tensor.shape)}"
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return "must be finite, got NaN or infinity"
        return None


def read_tensors(path: Path, *, most: int = MOST_BYTES) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        DataError: naming the file, if it cannot be read or is none.
        MissingExtraError: if safetensors is not installed.
    """
    return parse_tensors(read_bytes(path, most=most), path)


def parse_tensors(data: bytes, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file's content.

    Raises:
        DataError: naming the file, if it is none.
        MissingExtraError: if safetensors is not installed.
    """
    load = require("safetensors.torch", extra="train", purpose=f"reading {path.name}").load
    damaged = require("safetensors", extra="train", purpose=f"reading {path.name}").SafetensorError
    try:
        tensors: dict[str, Tensor] = load(data)
    # Its Python part answers an unknown dtype with KeyError, and torch a shape that its data do not fill otherwise.
    except (damaged, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} must be a safetensors file, got damaged content: {reason}") from error
    return tensors


def check_tensors(tensors: Mapping[str, Tensor], rules: Mapping[str, TensorRule], path: Path) -> None:
    """Check every tensor in ``rules``; a name that ends in ``?`` may be missing.

    Raises:
        DataError: naming the file and the first tensor that is missing or breaks its rule.
    """
    for name, rule in rules.items():
        tensor = tensors.get(name.removesuffix("?"))
        if tensor is None:
            if name.endswith("?"):
                continue
            raise DataError(f"{path} must hold {', '.join(rules)}, got no {name!r}")
        fault = rule.fault(tensor)
        if fault is not None:
            raise DataError(f"{path}: {name.removesuffix('?')} {fault}")
