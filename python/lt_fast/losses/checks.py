"""What the losses ask of their numbers, in the words of ``ops.mixed_margin_loss``."""

import numpy as np


def real_number(name: str, value: object) -> float:
    """Return ``value`` as a float.

    Raises:
        TypeError: if it is no number; a bool is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    return float(value)
