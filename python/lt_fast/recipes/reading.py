"""Numbers from a command line or from Python, read exactly: an integer never goes through a float."""

import math
import numbers
import operator
import re
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

MAX_SEED = 2**64 - 1
"""The largest seed; every seed is an integer in [0, 2^64)."""

# One grammar for text: ASCII digits with an optional sign, fraction and exponent. Python's own int() and float() also
# take digits of other scripts and underscores, and disagree about the rest.
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_MOST_DIGITS = 400  # above every setting; 10**(10**9) must not be written out to be refused
_LONGEST_SHOWN = 80


def read_integer(value: Any) -> int:
    """Return ``value``, an integer, a float without fraction or text such as ``5``, ``1e2`` and ``100.0``, exactly.

    Raises:
        TypeError: if it is of another type; a ``bool`` is no integer.
        ValueError: if text is no number, or there is a fraction.
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
        TypeError: if it is neither text nor a real number; a ``bool`` is none.
        ValueError: if text is no number, or the value is NaN or infinite.
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


def shown(value: Any) -> str:
    """Return ``repr(value)`` for an error message, shortened where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write out an integer of more than 4,300 digits
        return f"an integer of about {int(value.bit_length() * math.log10(2)) + 1} digits"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN // 2]}...{text[-_LONGEST_SHOWN // 4 :]}"


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
