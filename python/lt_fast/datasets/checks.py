"""What every routine of the room asks of whole numbers and labels before Rust sees them."""

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast.labels import refuse_masked


def whole_number(name: str, value: Any, *, least: int = 0, bits: int = 63) -> int:
    """Return ``value`` as an int in ``[least, 2**bits)``.

    Raises:
        TypeError: if it is not a whole number.
        ValueError: if it lies outside.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
    if not least <= number < 1 << bits:
        raise ValueError(f"{name} must lie in [{least}, 2**{bits}), got {number}")
    return number


def real_number(name: str, value: Any) -> float:
    """Return ``value`` as a float; NaN and infinities are for the caller to judge.

    Raises:
        TypeError: if it is not a number.
    """
    if isinstance(value, (str, bytes)):  # float("100") would take them
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    except OverflowError:
        return float("inf")


def label_array(labels: ArrayLike) -> NDArray[np.int64]:
    """Return ``labels`` as a dense (N,) int64 array.

    Raises:
        TypeError: if they are not whole numbers.
        ValueError: if they are not one-dimensional, or one is masked.
    """
    refuse_masked("labels", labels)
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValueError(f"labels must be one-dimensional, got shape {array.shape}")
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"labels must be integers, got dtype {array.dtype}; map the classes to 0..C-1 first")
    return np.ascontiguousarray(array, dtype=np.int64)
