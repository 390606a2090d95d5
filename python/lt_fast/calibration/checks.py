"""What every calibrator asks of its logits, its labels and its settings."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lt_fast.counts import ClassCounts
from lt_fast.errors import DataError


def checked_matrix(values: Any, *, name: str) -> Tensor:
    """Return ``values`` as a detached float32 or float64 tensor ``(N, columns)`` on its own device.

    Raises:
        TypeError: if the values are not floats.
        ValueError: if the shape is wrong or there is no row.
        DataError: if a value is NaN or infinite; names its row.
    """
    matrix = torch.as_tensor(values).detach()
    if not matrix.is_floating_point():
        raise TypeError(f"{name} must be floats, got dtype {matrix.dtype}")
    if matrix.ndim != 2 or 0 in matrix.shape:  # noqa: PLR2004
        raise ValueError(f"{name} must have shape (N, columns) with N >= 1, got {tuple(matrix.shape)}")
    broken = torch.nonzero(~torch.isfinite(matrix).all(dim=1)).flatten()
    if len(broken):
        row = int(broken[0])
        raise DataError(
            f"{name} must be finite, got NaN or infinity in row {row} ({len(broken)} of {len(matrix)} rows); "
            "the model has diverged or its weights are damaged"
        )
    return matrix if matrix.dtype == torch.float64 else matrix.float()


def checked_labels(labels: Any, counts: ClassCounts, *, rows: int) -> Tensor:
    """Return labels as ``(rows,)`` int64 on the CPU that hold every class which has training samples, and no other.

    Raises:
        TypeError: if they are not integers.
        ValueError: if their number is wrong, one lies outside [0, C), a class is missing, or one has the count 0.
    """
    target = torch.as_tensor(labels).detach().cpu()
    if target.shape != (rows,):
        raise ValueError(f"labels must have shape ({rows},), one a row of the logits, got {tuple(target.shape)}")
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise TypeError(f"labels must be integers, got dtype {target.dtype}")
    target = target.long()
    outside = torch.nonzero((target < 0) | (target >= len(counts))).flatten()
    if len(outside):
        at = int(outside[0])
        raise ValueError(f"labels must lie in [0, {len(counts)}), got {int(target[at])} at position {at}")
    _require_same_classes(target, counts)
    return target


def _require_same_classes(target: Tensor, counts: ClassCounts) -> None:
    present = torch.bincount(target, minlength=len(counts)).numpy() > 0
    missing, uncounted = np.flatnonzero(~present & (counts.counts > 0)), np.flatnonzero(present & (counts.counts == 0))
    if missing.size:
        first = int(missing[0])
        more = f" and {missing.size - 1} more" if missing.size > 1 else ""
        raise ValueError(
            f"labels must hold every class with training samples, got none of class {counts.names[first]!r} "
            f"(index {first}){more}; calibrate on the training set, or on a sample that has all classes"
        )
    if uncounted.size:
        first = int(uncounted[0])
        raise ValueError(
            f"labels must have no class that counts calls empty, got class {counts.names[first]!r} (index {first}); "
            "count the samples that are calibrated on"
        )


def require_whole(low: int, **settings: int) -> None:
    """Raise unless every setting is a whole number >= ``low``.

    Raises:
        TypeError: if a setting is no whole number.
        ValueError: if it is below ``low``.
    """
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{name} must be a whole number, got {value!r}")
        if value < low:
            raise ValueError(f"{name} must be >= {low}, got {value}")


def require_at_least(low: float, **settings: float) -> None:
    """Raise unless every setting is a finite number >= ``low``.

    Raises:
        TypeError: if a setting is no number.
        ValueError: if it is below ``low``, NaN or infinite.
    """
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise TypeError(f"{name} must be a number, got {value!r}")
        if not (math.isfinite(value) and value >= low):
            raise ValueError(f"{name} must be finite and >= {low:g}, got {value}")


def require_above(low: float, **settings: float) -> None:
    """Raise unless every setting is a finite number > ``low``.

    Raises:
        TypeError: if a setting is no number.
        ValueError: if it is not above ``low``, NaN or infinite.
    """
    require_at_least(low, **settings)
    for name, value in settings.items():
        if value == low:
            raise ValueError(f"{name} must be finite and > {low:g}, got {value}")
