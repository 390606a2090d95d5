"""Checks of arguments, with one rule and one wording each: integers, numbers, names, index arrays and class labels.

Each check returns the value in its plain type, or raises with a message ``NAME must RULE, got VALUE HINT``. ``hint`` is
the next step; it starts with ``"; "``. A ``bool`` is neither an integer nor a number.
"""

import math
import numbers
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast._text import nearest, shown

MAX_CLASSES = 1 << 24
"""The largest number of classes. Arrays with one entry per class of a larger number would fill the memory."""

MAX_SEED = (1 << 64) - 1
"""The largest seed; every seed is an integer in [0, 2**64)."""

_MANY = 1 << 20  # labels whose range is found before a mask of them is made

_FIRST_POWER = 24  # bounds from 2**24 are written as powers of two


def integer(name: str, value: Any, *, least: int | None = None, most: int | None = None, hint: str = "") -> int:
    """Return ``value`` as an ``int`` in ``[least, most]``.

    Accepts what has ``__index__``: integers of Python and NumPy, and integer tensors with one element.

    Raises:
        TypeError: if it is of another type; a bool and a float such as 2.0 are.
        ValueError: if it is out of range.

    >>> integer("epochs", 0, least=1)
    Traceback (most recent call last):
    ...
    ValueError: epochs must be >= 1, got 0
    """
    if _is_bool(value):
        raise TypeError(f"{name} must be an integer, got {shown(value)}{hint}")
    try:
        found = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {shown(value)}{hint}") from None
    if (least is not None and found < least) or (most is not None and found > most):
        raise ValueError(f"{name} must {_integer_rule(found, least, most)}, got {shown(found)}{hint}")
    return found


def seed(value: Any, name: str = "seed") -> int:
    """Return ``value`` as an ``int`` in [0, 2**64).

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is out of range.
    """
    return integer(name, value, least=0, most=MAX_SEED)


def num_classes(value: Any, name: str = "num_classes", *, least: int = 1) -> int:
    """Return ``value`` as an ``int`` in ``[least, 2**24]``.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is out of range.
    """
    return integer(name, value, least=least, most=MAX_CLASSES)


def _integer_rule(found: int, least: int | None, most: int | None) -> str:
    if least is not None and most is not None and _is_power(most + 1):
        return f"lie in [{least}, {_power(most + 1)})"
    return f"be >= {least}" if least is not None and found < least else f"be <= {_power(most)}"


def _is_power(bound: int) -> bool:
    return bound >= 1 << _FIRST_POWER and bound.bit_count() == 1


def _power(bound: int | None) -> str:
    """Return a large power of two as ``2**k``, another number in digits."""
    return f"2**{bound.bit_length() - 1}" if bound is not None and _is_power(bound) else str(bound)


def number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    hint: str = "",
) -> float:
    """Return ``value`` as a finite ``float`` that is ``>= least``, ``> above``, ``<= most`` and ``< below``.

    Accepts real numbers of Python and NumPy, and arrays and tensors with one element.

    Raises:
        TypeError: if it is not a number; a bool and a string are not.
        ValueError: if it is NaN, infinite or out of range.

    >>> number("momentum", 1.0, least=0, below=1)
    Traceback (most recent call last):
    ...
    ValueError: momentum must lie in [0, 1), got 1.0
    """
    found = real_number(name, value, hint=hint)
    inside = (
        math.isfinite(found)
        and (least is None or found >= least)
        and (above is None or found > above)
        and (most is None or found <= most)
        and (below is None or found < below)
    )
    if not inside:
        rule = _number_rule(least=least, above=above, most=most, below=below)
        raise ValueError(f"{name} must {rule}, got {shown(_plain(value))}{hint}")
    return found


def real_number(name: str, value: Any, *, hint: str = "") -> float:
    """Return ``value`` as a ``float``, which may be NaN or infinite; an integer beyond all floats is infinite.

    Raises:
        TypeError: if it is not a number; a bool and a string are not.
    """
    plain = _plain(value)
    if _is_bool(plain) or not isinstance(plain, numbers.Real):
        raise TypeError(f"{name} must be a number, got {shown(value)}{hint}")
    try:
        return float(plain)
    except OverflowError:
        return math.copysign(math.inf, 1 if operator.gt(plain, 0) else -1)


def _number_rule(*, least: float | None, above: float | None, most: float | None, below: float | None) -> str:
    low, high = least if above is None else above, most if below is None else below
    if low is not None and high is not None:
        return f"lie in {'[' if above is None else '('}{low:g}, {high:g}{']' if below is None else ')'}"
    bounds = ((">=", least), (">", above), ("<=", most), ("<", below))
    return " and ".join(["be finite", *(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)])


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")


def _plain(value: Any) -> Any:
    """Return the one element of an array or a tensor as Python's own number; anything else as it is."""
    if hasattr(value, "item") and math.prod(getattr(value, "shape", (0,))) == 1:
        return value.item()
    return value


def choice(name: str, value: Any, names: Iterable[str], *, hint: str = "") -> str:
    """Return ``value``, one of ``names``.

    Raises:
        TypeError: if it is not a string.
        ValueError: if it is another string; names the nearest one.

    >>> choice("empty", "ignored", ("error", "ignore"))
    Traceback (most recent call last):
    ...
    ValueError: empty must be one of error, ignore, got 'ignored'; did you mean 'ignore'?
    """
    known = list(names)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, one of {', '.join(known)}, got {shown(value)}{hint}")
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {shown(value)}{hint or nearest(value, known)}")
    return value


def index_array(name: str, values: Any, *, hint: str = "") -> NDArray[np.int64]:
    """Return ``values`` as a contiguous ``(N,)`` int64 array, without a copy where it is one already.

    Raises:
        TypeError: if the entries are not integers; booleans are not.
        ValueError: if it is not one-dimensional, or an entry is masked or does not fit into int64.
    """
    refuse_masked(name, values)
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}{hint}")
    if array.dtype == np.uint64 and array.size and array.max() >= 1 << 63:
        raise ValueError(f"{name} must be < 2**63, got {array.max()} at position {int(array.argmax())}{hint}")
    return np.ascontiguousarray(array, dtype=np.int64)


def class_labels(name: str, labels: Any) -> NDArray[np.int64]:
    """Return ``labels`` as a contiguous ``(N,)`` int64 array; ``labels_in_range`` checks their range.

    Raises:
        TypeError: if they are not integers.
        ValueError: if they are not one-dimensional, or one is masked.
    """
    return index_array(name, labels, hint="; map the classes to 0..C-1 first")


def refuse_masked(name: str, values: object) -> None:
    """Raise ``ValueError`` for a masked entry of a NumPy masked array: ``np.asarray`` drops the mask."""
    if isinstance(values, np.ma.MaskedArray):
        masked = np.argwhere(np.ma.getmaskarray(values))
        if len(masked):
            at = ", ".join(map(str, masked[0]))
            raise ValueError(
                f"{name} must have no masked entry, got {len(masked)}, the first at position {at}; leave it out, or "
                "fill in its value"
            )


def labels_in_range(name: str, labels: Any, num_classes: int, *, first: int = 0, hint: str = "") -> None:
    """Raise unless every label is in [0, num_classes).

    Args:
        name: the argument.
        labels: ``(N,)`` integers, in an array or a tensor on the CPU.
        num_classes: C.
        first: position of the first label, for the message.
        hint: the next step for a label >= C.

    Raises:
        ValueError: naming the first position that is out of range.
    """
    # Many labels without a mask as long as they are; few by the mask, which is faster for them.
    if len(labels) > _MANY and labels.min() >= 0 and labels.max() < num_classes:
        return
    outside = np.flatnonzero(np.asarray((labels < 0) | (labels >= num_classes)))
    if outside.size:
        at = int(outside[0])
        hint = "; leave samples without a label out" if labels[at] < 0 else hint
        label = int(labels[at])
        raise ValueError(f"{name} must lie in [0, {_power(num_classes)}), got {label} at position {first + at}{hint}")
