"""Text of error messages: the nearest known name, and values shortened to one line."""

import difflib
import math
from collections.abc import Iterable
from typing import Any

_LONGEST_SHOWN = 80


def nearest(name: object, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to ``name``, or an empty string.

    Case is ignored, and ``-`` equals ``_``.

    >>> nearest("Re-Mix", ["mixup", "remix"])
    "; did you mean 'remix'?"
    >>> nearest("zzz", ["mixup", "remix"])
    ''
    """
    folded = {_folded(candidate): candidate for candidate in known}
    match = difflib.get_close_matches(_folded(str(name)), folded, n=1, cutoff=0.5)
    return f"; did you mean {folded[match[0]]!r}?" if match else ""


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def counted(number: int, noun: str) -> str:
    """Return ``"1 epoch"`` or ``"2 epochs"``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shown(value: Any) -> str:
    """Return ``repr(value)`` for an error message, on one line and shortened where it is long.

    >>> shown("a" * 100)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaa'"
    """
    try:
        text = " ".join(repr(value).split()) if not isinstance(value, str) else repr(value)
    except ValueError:  # Python refuses to write out an integer of more than 4,300 digits
        return f"an integer of about {int(value.bit_length() * math.log10(2)) + 1} digits"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN // 2]}...{text[-_LONGEST_SHOWN // 4 :]}"
