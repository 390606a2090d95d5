"""Losses of samples with any number of labels: one sigmoid per class. The base of all, and binary cross entropy."""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks, _tensors
from lt_fast._text import shown
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy, in_class_order
from lt_fast.losses.base import LossType, Vector
from lt_fast.losses.class_vectors import ClassVectors

_REDUCTIONS = ("mean", "sum", "none")
_PLAIN = 2  # dimensions of logits (N, C)


class MultiLabelLoss(nn.Module, metaclass=LossType):
    """A loss of logits ``(N, C)`` against a target per class; the base of all losses with sigmoid.

    A subclass implements ``entries``, the loss of each row and class. ``weight`` multiplies it, and ``reduction`` takes
    the mean over all ``N * C`` entries, as torch's ``BCEWithLogitsLoss``. Multiply the mean by C for the sum over the
    classes that some papers use.

    A loss is fixed when it is made: assigning an option raises an ``AttributeError``.

    Not for the ``loss`` of a run, whose images have one label each: use it in a training loop of your own, with
    ``lt_fast.sampling.MultilabelBalancedSampler``.

    Args:
        counts: samples that have each class among their labels.
        weight: one number >= 0 per class, such as ``effective_number_weights(counts)``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        empty: ``"error"``, or ``"ignore"`` to allow classes without samples.
        vectors: further (C,) vectors of the subclass by name.

    Shape:
        ``forward(logits (N, C), target (N, C))``: logits float32, float64, bfloat16 or float16; targets of any dtype,
        1 for the labels of a row and 0 for all others, or anything between. Returns a scalar, or (N, C) for
        ``reduction="none"``, float64 for float64 logits and float32 for all others; 0 for an empty batch. O(N * C).

    Raises:
        TypeError: if logits or targets are no dense tensors of these dtypes.
        ValueError: if a class is empty, a shape or a device does not fit, a target is outside [0, 1] (on the CPU) or
            requires a gradient, or an option is out of range.

    >>> class SquaredHingeLoss(MultiLabelLoss):
    ...     def entries(self, logits, target):
    ...         return (1 - (2 * target - 1) * logits).clamp(min=0) ** 2
    >>> SquaredHingeLoss([8, 2])(torch.zeros(1, 2), torch.tensor([[0, 1]])).item()
    1.0
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        weight: Any = None,
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
        vectors: Mapping[str, Vector] | None = None,
    ) -> None:
        super().__init__()
        self.counts = ClassCounts(counts).require_no_empty(empty)
        self.reduction = _checks.choice("reduction", reduction, _REDUCTIONS)
        self._weighted = weight is not None
        rows = {} if weight is None else {"weight": class_numbers("weight", weight, self.counts)}
        self.vectors = ClassVectors(**rows, **(vectors or {}))

    def entries(self, logits: Tensor, target: Tensor, **vectors: Tensor) -> Tensor:
        """Return the loss (N, C) of logits and targets, both in float32 or float64."""
        raise NotImplementedError

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of ``logits`` against ``target``."""
        scores, target = self._checked(logits, target)
        vectors = {name: each.to(logits.device) for name, each in self.vectors.for_logits(logits).items()}
        weight = vectors.pop("weight", None)
        losses = self.entries(scores, target, **vectors)
        if weight is not None:
            losses = losses * weight
        if self.reduction == "none":
            return losses
        return losses.sum() if self.reduction == "sum" or losses.numel() == 0 else losses.mean()

    def __setattr__(self, name: str, value: Any) -> None:
        own = next(cls for cls in type(self).__mro__ if cls.__module__.startswith("lt_fast."))
        if self.__dict__.get("_fixed") and name in inspect.signature(own).parameters:
            kind = type(self).__name__
            raise AttributeError(
                f"{name} of {kind} cannot be set: a loss is fixed when it is made; make a new one, "
                f"{kind}(counts, {name}=...)"
            )
        super().__setattr__(name, value)

    def extra_repr(self) -> str:
        """Show the classes and the reduction."""
        return f"num_classes={len(self.counts)}, reduction={self.reduction!r}"

    def _checked(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and targets in the dtype of the arithmetic."""
        _tensors.check_scores(logits, target)
        self._check_shape(logits)
        if not isinstance(target, Tensor) or target.is_complex():
            kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
            raise TypeError(f"target must be a tensor of numbers, got {kind}; use torch.as_tensor(target)")
        _tensors.require_dense("target", target)
        if target.shape != logits.shape:
            raise ValueError(
                f"target must have the shape of the logits, {tuple(logits.shape)}, got {tuple(target.shape)}; "
                "multi_hot(indptr, indices, rows, num_classes) makes it from lists of labels"
            )
        _tensors.refuse_gradient("target", target)
        _tensors.require_same_device("target", target, logits)
        dtype = _tensors.arithmetic_dtype(logits)
        target = target.to(dtype)
        if _tensors.readable(target):
            _check_range(target)
        return logits.to(dtype), target

    def _check_shape(self, logits: Tensor) -> None:
        shape, classes = tuple(logits.shape), len(self.counts)
        if len(shape) != _PLAIN:
            rows = (
                "logits[None] and target[None]"
                if len(shape) == 1
                else ("logits.movedim(1, -1).flatten(0, -2), and target alike, where classes are dimension 1")
            )
            raise ValueError(f"logits must have shape (N, C), got {shape}; pass {rows}")
        if shape[1] != classes:
            raise ValueError(
                f"logits must have one column per class ({classes}), got {shape}; make the network with {classes} "
                f"outputs, or the loss with {shape[1]} counts"
            )


class MultiLabelBCELoss(MultiLabelLoss):
    """Binary cross entropy with one sigmoid per class, and weights per class.

    Formula: ``-weight * (positive_weight * y * log p + (1 - y) * log(1 - p))`` with ``p = sigmoid(logits)``. Equals
    ``F.binary_cross_entropy_with_logits(logits, target, weight=weight, pos_weight=positive_weight)``.

    Args:
        counts: samples that have each class.
        positive_weight: one number >= 0 per class, multiplied by the loss of its positive samples alone, such as
            ``positive_weights(counts, num_samples)``. None is 1.
        weight: one number >= 0 per class, multiplied by the loss of all samples. With
            ``effective_number_weights(counts)`` it is the class-balanced sigmoid cross entropy of Cui et al.
        reduction: see ``MultiLabelLoss``, also for Shape and Raises.
        empty: see there.

    Source: Cui et al. 2019, arXiv:1901.05555, section 4, for class-balanced sigmoid cross entropy; torch's
        ``BCEWithLogitsLoss`` for positive weights.

    >>> loss = MultiLabelBCELoss([8, 2], positive_weight=positive_weights([8, 2], num_samples=10))
    >>> round(loss(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]])).item(), 4)  # (1 + 4) * log(2) / 2
    1.7329
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        positive_weight: Any = None,
        weight: Any = None,
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
    ) -> None:
        counts = ClassCounts(counts)
        given = positive_weight is not None
        vectors = {"positive_weight": class_numbers("positive_weight", positive_weight, counts)} if given else {}
        super().__init__(counts, weight=weight, reduction=reduction, empty=empty, vectors=vectors)

    def entries(self, logits: Tensor, target: Tensor, positive_weight: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Return the binary cross entropy of each row and class."""
        return F.binary_cross_entropy_with_logits(logits, target, pos_weight=positive_weight, reduction="none")


def positive_weights(
    counts: CountsLike, num_samples: int, *, power: float = 1.0, empty: EmptyPolicy = "error"
) -> Vector:
    """Weights of the positive samples: ``((num_samples - n_c) / n_c) ** power``, negatives per positive.

    With ``power=1``, positives and negatives of a class weigh the same in its loss.

    Args:
        counts: samples n_c that have each class.
        num_samples: training samples.
        power: finite and >= 0; 0.5 moderates the weights of rare classes.
        empty: ``"ignore"`` gives a class without samples the weight 0.

    Shape:
        returns (C,) float64.

    Raises:
        TypeError, ValueError: if a number is out of its range, a class is empty, or has more samples than there are, or
            a weight is infinite.

    >>> positive_weights([5, 1], num_samples=10).tolist()
    [1.0, 9.0]
    """
    counts = ClassCounts(counts).require_no_empty(empty)
    total = checked_num_samples(num_samples, counts)
    power = _checks.number("power", power, least=0)
    ratio = np.divide(total - counts.counts, counts.counts, out=np.zeros(len(counts)), where=counts.counts > 0)
    with np.errstate(over="ignore"):
        weights = np.power(ratio, power, out=np.zeros(len(counts)), where=counts.counts > 0)
    if not np.isfinite(weights).all():
        raise ValueError(f"power must leave finite weights, got {power:g} for a ratio of {ratio.max():g}; 1 is usual")
    return weights


def multi_hot(indptr: ArrayLike, indices: ArrayLike, rows: ArrayLike, num_classes: int) -> Tensor:
    """Return the targets ``(B, C)`` float32 of samples from compressed rows of labels: 1 for each label, else 0.

    Args:
        indptr: ``(N + 1,)``; sample i has the labels ``indices[indptr[i]:indptr[i + 1]]``, as in
            ``MultilabelBalancedSampler``.
        indices: labels, in [0, num_classes).
        rows: ``(B,)`` samples, such as a batch of that sampler.
        num_classes: C.

    Raises:
        TypeError: if these are not integers.
        ValueError: if a label or a row is out of its range, or ``indptr`` does not fit.

    >>> multi_hot([0, 2, 3], [0, 2, 1], rows=[1, 0], num_classes=3).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]
    """
    starts, labels, picked = (
        _checks.index_array(name, values) for name, values in (("indptr", indptr), ("indices", indices), ("rows", rows))
    )
    classes = _checks.num_classes(num_classes)
    _checks.labels_in_range("indices", labels, classes)
    if starts.size == 0 or starts[0] != 0 or starts[-1] != labels.size or (np.diff(starts) < 0).any():
        raise ValueError(
            f"indptr must rise from 0 to the number of indices ({labels.size}), got {shown(starts.tolist())}"
        )
    _check_rows(picked, len(starts) - 1)
    sizes = starts[picked + 1] - starts[picked]
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    found = labels[np.repeat(starts[picked], sizes) + within]
    target = torch.zeros(len(picked), classes)
    target[torch.from_numpy(np.repeat(np.arange(len(picked)), sizes)), torch.from_numpy(found)] = 1
    return target


def class_numbers(name: str, values: Any, counts: ClassCounts) -> NDArray[np.float64]:
    """Return one finite number >= 0 per class, in the order of the classes.

    Raises:
        TypeError: if they are not real numbers.
        ValueError: if one is negative, not finite or masked, or there is not one per class.
    """
    values = in_class_order(name, values, counts)
    _checks.refuse_masked(name, values)
    if np.iscomplexobj(values) or (isinstance(values, Tensor) and values.is_complex()):
        raise TypeError(f"{name} must be real numbers, one per class, got {shown(values)}")
    values = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else values
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be numbers, one per class, got {shown(values)}") from error
    if array.shape != (len(counts),):
        raise ValueError(f"{name} must have one number per class ({len(counts)}), got shape {array.shape}")
    wrong = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if wrong.size:
        raise ValueError(f"{name} must be finite and >= 0, got {array[wrong[0]]} for class {wrong[0]}")
    return array


def checked_num_samples(num_samples: Any, counts: ClassCounts) -> int:
    """Return the number of training samples, at least as many as the largest class has."""
    most = int(counts.counts.max())
    hint = "; it is the number of samples, each with any number of labels"
    return _checks.integer("num_samples", num_samples, least=most, hint=hint)


def _check_rows(rows: NDArray[np.int64], number: int) -> None:
    outside = np.flatnonzero((rows < 0) | (rows >= number))
    if outside.size:
        at = int(outside[0])
        raise ValueError(f"rows must lie in [0, {number}), got {rows[at]} at position {at}; they are samples of indptr")


def _check_range(target: Tensor) -> None:
    outside = ~((target >= 0) & (target <= 1))
    if bool(outside.any()):
        row, label = (int(at) for at in outside.nonzero()[0])
        raise ValueError(
            f"target must lie in [0, 1], got {float(target[row, label]):g} in row {row}, class {label}; pass 1 for the "
            "labels of a row and 0 for all others"
        )
