"""Scores and labels of a test set as checked NumPy arrays."""

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lt_fast.errors import DataError

Scores: TypeAlias = ArrayLike | Tensor
Labels: TypeAlias = ArrayLike | Tensor


def as_array(values: Scores) -> NDArray[Any]:
    """Return ``values`` as an array, from any device; bfloat16 and float16 become float32."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
    array = np.asarray(values)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def checked_scores(scores: Scores, labels: Labels, *, name: str = "logits") -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return scores ``(N, C)`` float32 or float64 and labels ``(N,)`` int64.

    Raises:
        TypeError: if the scores are not floats or the labels not integers.
        ValueError: if a shape is wrong, there is no sample, or a label lies outside [0, C); names its position.
        DataError: if a score is NaN or infinite; names its row.
    """
    array = as_array(scores)
    if array.ndim != 2 or 0 in array.shape:  # noqa: PLR2004
        raise ValueError(f"{name} must have shape (N, C) with N >= 1 and C >= 1, got {array.shape}")
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"{name} must be floats, got dtype {array.dtype}")
    checked = checked_labels(labels, rows=len(array), num_classes=array.shape[1], of=name)
    broken = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if broken.size:
        row = int(broken[0])
        value = array[row][~np.isfinite(array[row])][0]
        raise DataError(
            f"{name} must be finite, got {value} in row {row} ({broken.size} of {len(array)} rows); "
            "the model has diverged or its weights are damaged"
        )
    return array, checked


def checked_labels(labels: Labels, *, rows: int, num_classes: int, of: str) -> NDArray[np.int64]:
    """Return labels ``(rows,)`` int64 in [0, num_classes).

    Raises:
        TypeError: if they are not integers.
        ValueError: if their number or their range is wrong.
    """
    array = as_array(labels)
    if array.shape != (rows,):
        raise ValueError(f"labels must have shape ({rows},), one a row of {of}, got {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"labels must be integers, got dtype {array.dtype}")
    outside = np.flatnonzero((array < 0) | (array >= num_classes))
    if outside.size:
        at = int(outside[0])
        raise ValueError(f"labels must lie in [0, {num_classes}), got {int(array[at])} at position {at}")
    return array.astype(np.int64)
