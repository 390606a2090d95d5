"""The label column of a table: integers, or words that are numbered; ambiguous labels are refused by line."""

import re
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lt_fast._checks import MAX_CLASSES
from lt_fast.datasets.classes import GivenClasses, class_names, composed, refuse_outside, warn_of_lookalikes
from lt_fast.errors import DataError

_MISSING = frozenset(("nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nil", "nat", "?", "-", "--"))
"""Spellings of a missing value, in lower case."""


def numbered(
    words: Sequence[str], lines: Sequence[int], source: str, given: GivenClasses | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the class of every row, and the classes' names.

    Args:
        words: the column.
        lines: of the rows, to name them.
        source: the file, to open a message.
        given: the classes, where the caller gave them.

    Raises:
        DataError: if the labels are neither all integers nor all words, or one is none of ``given``.
    """
    forms = {word: composed(word) for word in set(words)}
    words = [forms[word] for word in words]
    distinct = set(forms.values())
    if given is not None:
        return _looked_up(words, distinct, lines, source, given), given.names
    if all(map(_is_integer, distinct)):
        labels = _integers(words, lines, source)
        _warn_of_two_spellings(words, lines, source)
        return labels, class_names(labels, None, source)
    if any(map(_is_number, distinct)):
        raise DataError(_neither(words, lines, source))
    names = sorted(distinct)
    _warn_of_missing(words, distinct, lines, source)
    warn_of_lookalikes(names, source)
    return _ranks(words, names), tuple(names)


def _looked_up(
    words: Sequence[str], distinct: set[str], lines: Sequence[int], source: str, given: GivenClasses
) -> NDArray[np.int64]:
    number = given.lookup()
    known = {word: number(word) for word in distinct}
    unknown = {word for word, place in known.items() if place is None}
    # Integers are positions where no class could be meant by its name.
    places = given.positions() or not any(map(_is_number, given.names))
    if unknown and places and all(map(_is_integer, distinct)):
        labels = _integers(words, lines, source)
        refuse_outside(labels, given.names, given, source, where=lambda at: f"line {lines[at]}")
        return labels
    if unknown:
        # Among positions the first label that is none is at fault, not the first position.
        faulty = {word for word in unknown if places and not _is_integer(word)} or unknown
        at = next(at for at, word in enumerate(words) if word in faulty)
        plain = _plain(words[at])
        hint = (
            f"; write {words[at]} as {plain}"
            if plain != words[at] and plain and (places or plain in given.names)
            else ""
        )
        raise DataError(f"{source}: line {lines[at]}: label {given.describe_unknown(words[at])}{hint}")
    return np.array([known[word] for word in words], dtype=np.int64)


def _ranks(words: Sequence[str], names: Sequence[str]) -> NDArray[np.int64]:
    rank = {name: number for number, name in enumerate(names)}
    return np.array([rank[word] for word in words], dtype=np.int64)


def _integers(words: Sequence[str], lines: Sequence[int], source: str) -> NDArray[np.int64]:
    return np.array([_integer(word, line, source) for word, line in zip(words, lines, strict=True)], dtype=np.int64)


def _integer(word: str, line: int, source: str) -> int:
    digits = word.lstrip("0") or "0"
    if len(digits) > len(str(MAX_CLASSES)) or int(digits) >= MAX_CLASSES:
        raise DataError(f"{source}: line {line}: labels must lie in [0, 2**24), got {word}")
    return int(digits)


def _neither(words: Sequence[str], lines: Sequence[int], source: str) -> str:
    """Return the message about the first label that is not an integer >= 0, in a column with numbers."""
    at = next(at for at, word in enumerate(words) if not _is_integer(word))
    word, begin = words[at], f"{source}: line {lines[at]}: labels must"
    if re.fullmatch(r"-\d+", word, re.ASCII):
        return f"{begin} lie in [0, 2**24), got {word}; take the row out, or pass the numbers as names"
    if _is_number(word):
        plain = _plain(word)
        remedy = f"write {word} as {plain}" if plain else "correct it"
        return f"{begin} be integers or words, got {word}; {remedy}, or pass names"
    number = next(at for at, word in enumerate(words) if _is_number(word))
    return (
        f"{begin} be all integers or all words, got {word!r} in a column that holds {words[number]} in line "
        f"{lines[number]}; correct it, take the row out, or pass names to read all labels as words"
    )


def _is_integer(word: str) -> bool:
    return word.isascii() and word.isdigit()


def _is_number(word: str) -> bool:
    """Whether ``word`` is a number in any notation: digits, with sign, point, comma or exponent."""
    return any(character.isdigit() for character in word) and _float(word) is not None


def _float(word: str) -> float | None:
    try:
        return float(word.replace(",", ".") if word.count(",") == 1 and "." not in word else word.replace(",", ""))
    except ValueError:
        return None


def _plain(word: str) -> str | None:
    """Return the plain digits of an integer >= 0 that ``word`` writes in another notation, or None."""
    value = _float(word)
    return str(int(value)) if value is not None and 0 <= value < MAX_CLASSES and value == int(value) else None


def _warn_of_two_spellings(words: Sequence[str], lines: Sequence[int], source: str) -> None:
    plain: dict[str, str] = {}
    twice = next(
        (word for word in dict.fromkeys(words) if plain.setdefault(word.lstrip("0") or "0", word) != word), None
    )
    if twice is not None:
        first = plain[twice.lstrip("0") or "0"]
        warnings.warn(
            f"{source}: labels {first} (line {lines[words.index(first)]}) and {twice} (line "
            f"{lines[words.index(twice)]}) are read as one class; pass names where they are two",
            stacklevel=4,
        )


def _warn_of_missing(words: Sequence[str], distinct: set[str], lines: Sequence[int], source: str) -> None:
    missing = {word for word in distinct if word.casefold() in _MISSING}
    if missing:
        at = next(at for at, word in enumerate(words) if word in missing)
        warnings.warn(
            f"{source}: line {lines[at]}: {words[at]!r} is read as the name of a class "
            f"({sum(word in missing for word in words)} rows); take the rows out where their labels are missing, or "
            "pass names",
            stacklevel=4,
        )
