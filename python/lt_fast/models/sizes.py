"""Checks of the sizes that every model takes."""

import numpy as np


def require_positive(**sizes: int) -> None:
    """Raise unless every size is a whole number >= 1; the keyword names it in the message.

    Raises:
        TypeError: if a size is not a whole number.
        ValueError: if it is below 1.
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer):
            raise TypeError(f"{name} must be a whole number, got {size!r}")
        if size < 1:
            raise ValueError(f"{name} must be >= 1, got {size}")
