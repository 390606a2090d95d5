"""Checks of the logits and labels of calibrators."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lt_fast import _checks, _tensors
from lt_fast._text import shown
from lt_fast.counts import ClassCounts
from lt_fast.errors import DataError
from lt_fast.labels import as_array, refuse_missing

MAX_EPOCHS = 1_000_000

_SUM_TOLERANCE = 1e-2  # wide enough for probabilities that were once bfloat16


def as_tensor(values: Any, *, name: str) -> Tensor:
    """Return ``values`` as a tensor: a tensor as it is, else its numbers, copied where torch cannot share the memory.

    An array that is read-only, runs backwards, or has another byte order (a memory map, a slice, a file of another
    machine) is copied.

    Raises:
        TypeError: if torch has no such dtype, or a tensor is sparse or nested.
        ValueError: if an entry is masked, or the rows of a list differ in length.
    """
    if isinstance(values, Tensor):
        _tensors.require_dense(name, values)
        return values
    _checks.refuse_masked(name, values)
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} must have rows of one length, got {shown(values)}") from None
    if isinstance(values, list | tuple) and array.dtype == np.float64:
        array = array.astype(np.float32)  # as torch reads numbers of Python
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be floats, got dtype {array.dtype}; pass a tensor, or array.astype('float32')")
    native = array.dtype.newbyteorder("=")
    backwards = any(stride < 0 for stride in array.strides)
    return torch.from_numpy(array.astype(native, copy=backwards or not array.flags.writeable))


def checked_matrix(values: Any, *, name: str) -> Tensor:
    """Return ``values`` as a detached float32 or float64 tensor ``(N, columns)`` on its own device.

    Raises:
        TypeError: if the values are not floats.
        ValueError: if the shape is wrong or there is no row.
        DataError: if a value is NaN or infinite; names its row and column.
    """
    matrix = as_tensor(values, name=name).detach()
    if not matrix.is_floating_point():
        raise TypeError(f"{name} must be floats, got dtype {matrix.dtype}; pass {name}.float()")
    if matrix.ndim != 2 or 0 in matrix.shape:  # noqa: PLR2004
        raise ValueError(f"{name} must have shape (N, columns) with N >= 1, got {tuple(matrix.shape)}")
    broken = torch.nonzero(~torch.isfinite(matrix).all(dim=1)).flatten()
    if len(broken):
        raise DataError(f"{name} must be finite, got {_broken(matrix, broken, name)}")
    return matrix if matrix.dtype == torch.float64 else matrix.float()


def _broken(matrix: Tensor, rows: Tensor, name: str) -> str:
    """Return a message about the first value that is not finite; -inf may be a masked class, not damage."""
    undefined = torch.nonzero(torch.isnan(matrix) | torch.isposinf(matrix))
    column = "class" if name == "logits" else "column"
    if len(undefined):
        row, at = undefined[0].tolist()
        return (
            f"NaN or infinity in row {row} ({len(rows)} of {len(matrix)} rows), {matrix[row, at].item()} "
            f"for {column} {at}; the model has diverged or its weights are damaged"
        )
    row = int(rows[0])
    at = int(torch.nonzero(torch.isneginf(matrix[row]))[0])
    return (
        f"-inf in row {row} ({len(rows)} of {len(matrix)} rows) for {column} {at}; nothing can be learned for a class "
        "that is left out: calibrate the logits before they are masked, and mask the calibrated ones"
    )


def refuse_probabilities(logits: Tensor) -> None:
    """Raise if every row of ``logits`` is a distribution: the softmax of a softmax is a mistake.

    Rows of one 1 and zeros are let through: they may be hard scores.

    Raises:
        ValueError: naming what to pass instead.
    """
    if len(logits) == 0 or logits.shape[1] < 2 or not bool((logits >= 0).all()):  # noqa: PLR2004
        return
    sums = logits.double().sum(dim=1)
    if bool((sums - 1).abs().max() < _SUM_TOLERANCE) and not bool(((logits == 0) | (logits == 1)).all()):
        raise ValueError(
            "logits must be what the softmax takes, got rows >= 0 that all sum to 1, which are probabilities; "
            "pass the logits, or log(probabilities), which serve as well"
        )


def checked_labels(labels: Any, counts: ClassCounts, *, rows: int, every_class: bool = True) -> Tensor:
    """Return labels as ``(rows,)`` int64 on the CPU that contain every class with training samples, and no other.

    With ``every_class=False`` any classes may be there.

    Raises:
        TypeError: if they are not integers.
        ValueError: if their number is wrong, one is missing or is outside [0, C), a class is missing, or one has the
            count 0.
    """
    target = _as_tensor(labels)
    if target.shape != (rows,):
        hint = shape_hint(target, rows)
        raise ValueError(
            f"labels must have shape ({rows},), one per row of the logits, got {tuple(target.shape)}{hint}"
        )
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        refuse_missing("labels", as_array(target))
        raise TypeError(f"labels must be integers, got dtype {target.dtype}")
    target = target.long()
    _checks.labels_in_range("labels", target, len(counts))
    if every_class:
        _require_same_classes(target, counts)
    return target


def rows_of_a_view(target: Tensor, views: int) -> int:
    """Return N, where labels ``(views * N,)`` repeat view by view; 0 views are one that is not augmented.

    Raises:
        ValueError: if they do not.
    """
    rows, rest = divmod(len(target), max(views, 1))
    if rest or not torch.equal(target, target[:rows].repeat(max(views, 1))):
        raise ValueError(
            f"labels must repeat view by view for views={views}, got {len(target)} that do not; pass the features of "
            f"all images of one view, then of the next, and labels.repeat({views})"
        )
    return rows


def shape_hint(labels: Tensor, rows: int) -> str:
    """Return a hint for labels that are not ``(rows,)``: a column, or one-hot rows."""
    if labels.ndim != 1 and labels.numel() == rows:
        return "; pass labels.reshape(-1)"
    if labels.ndim == 2 and len(labels) == rows and labels.shape[1] > 1:  # noqa: PLR2004
        return "; pass labels.argmax(dim=1) where they are one-hot"
    return ""


def _as_tensor(labels: Any) -> Tensor:
    if isinstance(labels, Tensor):
        _tensors.require_dense("labels", labels)
        return labels.detach().cpu()
    _checks.refuse_masked("labels", labels)
    array = np.asarray(labels)
    if array.dtype.kind in "OUS":
        plain = array.ravel().tolist()
        refuse_missing("labels", array.ravel())
        at, other = next((at, label) for at, label in enumerate([*plain, None]) if not isinstance(label, int))
        raise TypeError(f"labels must be integers, got {other!r} at position {at}; map the classes to 0..C-1")
    return torch.from_numpy(array.astype(np.int64) if array.dtype.kind in "iu" else array.copy())


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
