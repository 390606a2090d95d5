"""Check scores and labels of a test set, and return them as NumPy arrays."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lt_fast import _checks, _tensors
from lt_fast._text import shown
from lt_fast.errors import DataError
from lt_fast.labels import refuse_missing

Scores: TypeAlias = ArrayLike | Tensor
Labels: TypeAlias = ArrayLike | Tensor

_BLOCK = 1 << 22  # 32 MiB of float64
_ROW_SUM_TOLERANCE = 1e-2  # wide enough for probabilities that were once bfloat16


def as_array(values: Scores, name: str = "values") -> NDArray[Any]:
    """Return ``values`` as an array, from any device; bfloat16 and float16 become float32.

    Raises:
        TypeError: if a tensor is sparse or nested.
        ValueError: if an entry is masked, or the rows of a list differ in length.
    """
    _checks.refuse_masked(name, values)
    if isinstance(values, Tensor):
        _tensors.require_dense(name, values)
        values = values.detach().cpu()
        values = (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} must have rows of one length, got {shown(values)}") from None
    return array.astype(np.float32) if array.dtype == np.float16 else array


def checked_scores(scores: Scores, labels: Labels, *, name: str = "logits") -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return scores ``(N, C)`` float32 or float64 and labels ``(N,)`` int64.

    A score may be -inf, as masking an impossible class leaves it, unless a whole row is.

    Raises:
        TypeError: if the scores are not floats or the labels not integers.
        ValueError: if a shape is wrong, there is no sample, or a label is missing or is outside [0, C); names its
            position.
        DataError: if a score is NaN or +inf, or a row is all -inf; names row and class.
    """
    array = as_array(scores, name)
    if array.ndim != 2 or 0 in array.shape:  # noqa: PLR2004
        raise ValueError(f"{name} must have shape (N, C) with N >= 1 and C >= 1, got {array.shape}")
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"{name} must be floats, got dtype {array.dtype}")
    checked = checked_labels(labels, rows=len(array), num_classes=array.shape[1], of=name)
    if not np.isfinite(array).all():
        _refuse_broken(array, name)
    return array, checked


def row_blocks(scores: NDArray[Any]) -> Iterator[slice]:
    """Yield the rows in blocks of some 4 million scores: what is computed in float64 needs no second matrix then."""
    rows = max(1, _BLOCK // scores.shape[1])
    for start in range(0, len(scores), rows):
        yield slice(start, start + rows)


def _refuse_broken(array: NDArray[Any], name: str) -> None:
    broken = ~(array < np.inf)  # NaN as well
    if broken.any():
        rows = np.flatnonzero(broken.any(axis=1))
        row, at = int(rows[0]), int(np.flatnonzero(broken[rows[0]])[0])
        raise DataError(
            f"{name} must be finite, got {array[row, at]} in row {row} ({rows.size} of {len(array)} rows), class {at}; "
            "the model has diverged or its weights are damaged"
        )
    empty = np.flatnonzero(np.isneginf(array).all(axis=1))
    if empty.size:
        raise DataError(
            f"{name} must leave a class possible in every row, got -inf for every class in row {int(empty[0])} "
            f"({empty.size} of {len(array)} rows); mask fewer classes"
        )


def refuse_probabilities(logits: NDArray[Any], *, name: str = "logits") -> None:
    """Raise if every row of ``logits`` is a distribution: the softmax of a softmax is a mistake.

    Rows of one 1 and zeros are let through: they may be hard scores.

    Raises:
        ValueError: naming what to pass instead.
    """
    if logits.shape[1] < 2 or logits.min() < 0 or not are_distributions(logits).all():  # noqa: PLR2004
        return
    if not ((logits == 0) | (logits == 1)).all():
        raise ValueError(
            f"{name} must be what the softmax takes, got rows >= 0 that all sum to 1, which are probabilities; "
            "pass the logits, or log(probabilities), which serve as well"
        )


def are_distributions(array: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return for each row whether its entries are >= 0 and sum to 1."""
    near: NDArray[np.bool_] = np.abs(array.sum(axis=1, dtype=np.float64) - 1) <= _ROW_SUM_TOLERANCE
    return near & ~(array < 0).any(axis=1)


def require_distributions(array: NDArray[np.floating]) -> None:
    """Raise unless every row is a distribution.

    Raises:
        DataError: naming the first row that is not, and what to pass instead.
    """
    wrong = np.flatnonzero(~are_distributions(array))
    if wrong.size:
        row = int(wrong[0])
        total, smallest = array[row].sum(dtype=np.float64), array[row].min()
        raise DataError(
            f"probabilities must be >= 0 with rows that sum to 1, got the sum {total:g} and the smallest "
            f"{smallest:g} in row {row}; pass softmax(logits)"
        )


def checked_labels(labels: Labels, *, rows: int, num_classes: int, of: str) -> NDArray[np.int64]:
    """Return labels ``(rows,)`` int64 in [0, num_classes).

    Raises:
        TypeError: if they are not integers.
        ValueError: if their number or their range is wrong, or one is missing.
    """
    array = as_array(labels, "labels")
    if array.shape != (rows,):
        one_hot = "; pass labels.argmax(1) where they are one-hot" if array.shape == (rows, num_classes) else ""
        raise ValueError(f"labels must have shape ({rows},), one per row of {of}, got {array.shape}{one_hot}")
    if not np.issubdtype(array.dtype, np.integer):
        refuse_missing("labels", array)
        raise TypeError(f"labels must be integers, got dtype {array.dtype}")
    _checks.labels_in_range("labels", array, num_classes)
    return array.astype(np.int64)
