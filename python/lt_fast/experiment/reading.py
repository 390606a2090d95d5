"""Values from a command line: numbers are read exactly, and every other type by one grammar."""

import json
import math
import numbers
import operator
import re
import types
import typing
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from inspect import Parameter
from typing import Any, Literal

import numpy as np

from lt_fast._text import shown
from lt_fast.errors import UsageError

# One grammar for text: ASCII digits with an optional sign, fraction and exponent. Python's own int() and float() also
# take digits of other scripts and underscores, and disagree about the rest.
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_MOST_DIGITS = 400  # above every setting; 10**(10**9) must not be written out to be refused


def read_integer(value: Any) -> int:
    """Return ``value``, an integer, a float without fraction or text such as ``5``, ``1e2`` and ``100.0``, exactly.

    Raises:
        TypeError: if it is of another type; a ``bool`` is not an integer.
        ValueError: if text is not a number, or there is a fraction.
        OverflowError: if it is text of more than 400 digits, or a float so large that it may have been rounded.
    """
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"must be an integer, got {value!r}")
    if isinstance(value, str):
        return _integer_in(value)
    if isinstance(value, float | np.floating):
        return _integer_of(value)
    return operator.index(value)


def read_number(value: Any) -> float:
    """Return ``value`` as a finite float.

    Raises:
        TypeError: if it is neither text nor a real number; a ``bool`` is not a number.
        ValueError: if text is not a number, or the value is NaN or infinite.
        OverflowError: if it is a number above all floats.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, str | numbers.Real):
        raise TypeError(f"must be a number, got {shown(value)}")
    number = float(_matched(value) if isinstance(value, str) else value)
    if isinstance(value, str) and number == math.inf:
        raise OverflowError(f"must be a float, got {shown(value)}")
    if not math.isfinite(number):
        raise ValueError(f"must be finite, got {value!r}")
    return number


def read_as(parameter: Parameter, value: Any, name: str) -> Any:
    """Return ``value`` as the type of a component's parameter; text is read, other values are made plain.

    The type is that of the annotation, or of the default where there is none. Which values are allowed is not decided
    here: that is the component's own rule.

    Args:
        parameter: of the component.
        value: text, or a value of Python or NumPy.
        name: what error messages call it, such as ``loss.scale``.

    Raises:
        UsageError: if text cannot be read as that type.
    """
    kinds = _kinds_of(parameter)
    if not isinstance(value, str):
        return _plain(value, kinds)
    for kind in kinds:
        read = _READERS[kind]
        try:
            return read(value)
        except OverflowError as error:
            raise UsageError(f"{name} {error}") from error
        except (TypeError, ValueError):
            continue
    hint = "; [] is an empty list" if "list" in kinds and not value.strip() else ""
    raise UsageError(f"{name} must be {' or '.join(_SPOKEN[kind] for kind in kinds)}, got {shown(value)}{hint}")


def _plain(value: Any, kinds: Sequence[str]) -> Any:
    """Return a value of Python or NumPy as JSON has it; a number as the type of the parameter where it is exact."""
    if isinstance(value, np.ndarray | tuple):
        return [_plain(part, ["number"] if "list" in kinds else ["any"]) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    first = kinds[0] if kinds[0] != "none" or len(kinds) == 1 else kinds[1]
    if first in ("integer", "number"):
        try:
            return _READERS[first](value)
        except (TypeError, ValueError, OverflowError):
            return value
    return value


def _kinds_of(parameter: Parameter) -> list[str]:
    """Return what text may be read as, in the order of the attempts."""
    kinds = dict.fromkeys(_kinds_in(parameter.annotation))
    if not kinds and parameter.default is not Parameter.empty:
        kinds = dict.fromkeys(_kinds_in(type(parameter.default)))
    order = [kind for kind in _READERS if kind in kinds]
    return order if order and order != ["none"] else [*order, "any"]


def _kinds_in(annotation: Any) -> list[str]:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(annotation) for kind in _kinds_in(part)]
    if origin is Literal:
        return ["text"]
    annotation = origin or annotation
    if isinstance(annotation, type) and annotation is not str and issubclass(annotation, Sequence | np.ndarray):
        return ["list"]
    return [_KINDS[annotation]] if isinstance(annotation, type) and annotation in _KINDS else []


def _matched(text: str) -> str:
    stripped = text.strip()
    if not _DECIMAL.fullmatch(stripped):
        raise ValueError(f"must be a number in decimal digits, got {shown(text)}")
    return stripped


def _integer_in(text: str) -> int:
    try:
        number = Decimal(_matched(text))
    except InvalidOperation:  # an exponent beyond 10^18
        raise ValueError(f"must be a number in decimal digits, got {shown(text)}") from None
    if not number:
        return 0
    if number > 0 and number.adjusted() >= _MOST_DIGITS:
        raise OverflowError(f"must have at most {_MOST_DIGITS} digits, got {shown(text)}")
    if not 0 <= number.adjusted() < _MOST_DIGITS:
        raise ValueError(f"must be an integer >= 0, got {shown(text)}")
    whole = int(number)
    if whole != number:
        raise ValueError(f"must be an integer, got {shown(text)}")
    return whole


def _integer_of(value: Any) -> int:
    rounded_from = 2 ** (int(np.finfo(type(value)).nmant) + 1)
    if rounded_from <= value < math.inf:
        raise OverflowError(f"must be an integer, got the float {value!r}, which may have been rounded")
    if not abs(value) < rounded_from or value != int(value):
        raise ValueError(f"must be an integer, got {value!r}")
    return int(value)


def _none(text: str) -> None:
    if text.strip().lower() not in ("none", "null"):
        raise ValueError


def _switch(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        raise ValueError
    return word in ("true", "yes", "on", "1")


def _list(text: str) -> list[Any]:
    stripped = text.strip()
    inner = stripped[1:-1] if stripped[:1] == "[" and stripped[-1:] == "]" else stripped
    if not inner.strip() and inner != stripped:
        return []
    return [read_number(part) for part in inner.split(",")]


def _any(text: str) -> Any:
    """Read a number, a switch or a list where nothing says what is wanted; everything else is text."""
    for read in (_none, read_integer, read_number, _list, json.loads):
        try:
            return read(text)
        except (TypeError, ValueError, OverflowError, RecursionError):
            continue
    return text


_KINDS: dict[type, str] = {
    types.NoneType: "none", bool: "switch", int: "integer", float: "number", str: "text",
}  # fmt: skip
_READERS: dict[str, Callable[[str], Any]] = {
    "none": _none,
    "switch": _switch,
    "integer": read_integer,
    "number": read_number,
    "list": _list,
    "text": str,
    "any": _any,
}
_SPOKEN = {
    "none": "none", "switch": "true or false", "integer": "an integer", "number": "a number",
    "list": "numbers separated by commas", "text": "text", "any": "a value",
}  # fmt: skip
