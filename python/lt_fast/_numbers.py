"""Numbers from a command line, a file or an environment variable, read exactly: an integer never becomes a float."""

import math
import numbers
import operator
import re
from decimal import Decimal, InvalidOperation
from typing import Any

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


def integer_option(name: str, value: Any, *, least: int = 0, most: int, hint: str = "") -> int:
    """Return ``value``, text or a number, as an ``int`` in ``[least, most]``.

    Raises:
        UsageError: naming the option, its rule and the value.
    """
    try:
        number = read_integer(value)
    except OverflowError:
        number = most + 1
    except (TypeError, ValueError):
        number = least - 1
    if not least <= number <= most:
        above = f"< 2**{most.bit_length()}" if most & (most + 1) == 0 else f"<= {most}"
        rule = above if number > most else f">= {least}"
        raise UsageError(f"{name} must be an integer {rule}, got {shown(value)}{hint}")
    return number


def fraction_option(name: str, value: Any, *, ends: bool = True, hint: str = "") -> float:
    """Return ``value``, text or a number, as a ``float`` in [0, 1], or in (0, 1) without its ``ends``.

    Raises:
        UsageError: naming the option, its rule and the value.
    """
    try:
        number = read_number(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if not (0 <= number <= 1 if ends else 0 < number < 1):
        raise UsageError(f"{name} must be a number in {'[0, 1]' if ends else '(0, 1)'}, got {shown(value)}{hint}")
    return number


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
