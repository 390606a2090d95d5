"""Read values from a command line, each type by one grammar; numbers are exact."""

import json
import types
import typing
from collections.abc import Callable, Sequence
from inspect import Parameter
from typing import Any, Literal

import numpy as np

from lt_fast._numbers import read_integer, read_number
from lt_fast._text import shown
from lt_fast.errors import UsageError


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
    return [_integer_or_number(part) for part in inner.split(",")]


def _integer_or_number(text: str) -> int | float:
    try:
        return read_integer(text)
    except (TypeError, ValueError, OverflowError):
        return read_number(text)


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
