"""The targets that people have: soft rows, labels to be ignored, a label per pixel or token."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lt_fast import _checks, _tensors
from lt_fast import _hints as hints
from lt_fast.ops import soft as soft_targets

_PLAIN = 2  # dimensions of logits (N, C)
# Tuples, because the compiler of an older torch does not trace a union of types.
_PYTHON_NUMBERS = (int, float)


class Rows(NamedTuple):
    """A call with one row per sample or position.

    The compilers of torch 2.4 to 2.6 trace neither ``_replace`` nor a slice of it, so ``of`` and ``call`` do that here.

    Attributes:
        logits: (R, C).
        target: (R,) int64 labels, or (R, C) soft targets in the dtype of the arithmetic.
        target_b: (R,) or None.
        lam: () or (R,), a number, or None.
        counted: (R,) 0 for an ignored row; for the others R over their number where a mean is asked for, else 1. None
            without ignored rows.
        shape: of one loss per row, as the caller sees the rows; None for (R,).
        soft: whether the targets are distributions.
    """

    logits: Tensor
    target: Tensor
    target_b: Any
    lam: Any
    counted: Tensor | None = None
    shape: tuple[int, ...] | None = None
    soft: bool = False

    def of(self, logits: Tensor) -> "Rows":
        """Return the same labels for other logits, (R, C)."""
        return Rows(logits, self.target, self.target_b, self.lam, self.counted, self.shape, self.soft)

    def call(self) -> tuple[Tensor, Tensor, Any, Any]:
        """Return the first arguments of the op: logits, labels, labels of the second image, factors."""
        return self.logits, self.target, self.target_b, self.lam

    def shaped(self, loss: Tensor) -> Tensor:
        """Return one loss per row in the shape of the caller's rows, and a reduced loss as it is."""
        return loss if self.shape is None or loss.dim() == 0 else loss.reshape(self.shape)


@dataclass(frozen=True, slots=True)
class TargetForm:
    """How a loss reads its targets: which dimension of the logits the classes are, and which label is ignored.

    Raises:
        TypeError: if ``ignore_index`` is no integer.
        ValueError: if ``class_dim`` is neither 1 nor -1, or ``ignore_index`` does not fit into int64.
    """

    class_dim: int = 1
    ignore_index: int | None = -100

    def __post_init__(self) -> None:
        """Check both."""
        if type(self.class_dim) is not int or self.class_dim not in (1, -1):
            raise ValueError(
                f"class_dim must be 1 or -1, got {self.class_dim!r}; 1 is for logits (N, C, ...) as of "
                "F.cross_entropy, -1 for (N, ..., C)"
            )
        if self.ignore_index is not None:
            label = _checks.integer("ignore_index", self.ignore_index, hint="; None ignores no label")
            if not -(2**63) <= label < 2**63:
                raise ValueError(f"ignore_index must fit into int64, got {label}; None ignores no label")

    def devices(self, num_classes: int) -> tuple[bool, bool]:
        """Return whether the op may be given labels as they are, on the CPU and on a GPU.

        On the CPU it refuses a label that is no class, and rows are looked at then. On a GPU such a label stops the
        kernel, so ignored ones have to be taken out in front of it.
        """
        ignored = self.ignore_index
        return ignored is None or not 0 <= ignored < num_classes, ignored is None

    def rows(self, logits: Tensor, target: Any, target_b: Any, lam: Any, *, mean: bool) -> Rows:
        """Return the rows of a call; what is no target of any form is left to the checks of the loss.

        Raises:
            TypeError: if the target is sparse or nested.
            ValueError: if a shape does not fit, or on the CPU if a soft row is no distribution.
        """
        if not (isinstance(logits, Tensor) and isinstance(target, Tensor) and logits.dtype in _tensors.DTYPES):
            return Rows(logits, target, target_b, lam)
        if not _tensors.is_dense(logits):
            return Rows(logits, target, target_b, lam)
        _tensors.require_dense("target", target)
        rows = Rows(logits, target, target_b, lam, soft=_is_soft(logits, target, target_b, lam))
        if logits.dim() > _PLAIN and not _is_flat(logits, target):
            rows = self._flattened(rows)
        if rows.soft:
            return Rows(rows.logits, soft_targets.checked(rows.target, rows.logits), None, None, None, rows.shape, True)
        return self._counted(rows, mean)

    def _flattened(self, rows: Rows) -> Rows:
        logits, target, soft, dim = rows.logits, rows.target, rows.soft, self.class_dim
        positions = _without(logits.shape, dim)
        if not soft and target.shape != positions:
            raise ValueError(
                f"target must have one label per position, shape {positions} for logits {tuple(logits.shape)}, or be "
                f"soft labels of the logits' shape, got {tuple(target.shape)}{_hint(logits, target, dim)}"
            )
        of_b = rows.target_b
        if isinstance(of_b, Tensor):
            if of_b.shape != positions:
                raise ValueError(f"target_b must have the shape of target, {positions}, got {tuple(of_b.shape)}")
            of_b = of_b.flatten()
        if soft and _tensors.readable(target):
            _refuse_other_dim(target, dim)
        lam = _per_position(rows.lam, positions, logits)
        flat = logits.movedim(dim, -1).flatten(0, -2)
        labels = target.movedim(dim, -1).flatten(0, -2) if soft else target.flatten()
        return Rows(flat, labels, of_b, lam, shape=positions, soft=soft)

    def _counted(self, rows: Rows, mean: bool) -> Rows:
        labels = [rows.target, *([] if rows.target_b is None else [rows.target_b])]
        size = rows.target.shape
        fits = all(isinstance(it, Tensor) and it.dtype == torch.int64 and it.shape == size for it in labels)
        if self.ignore_index is None or not fits or len(size) != 1:
            return rows
        kept = rows.target != self.ignore_index
        for other in labels[1:]:
            kept = kept & (other != self.ignore_index)
        if _tensors.readable(kept) and bool(kept.all()):
            return rows
        first, *others = [label.where(kept, 0) for label in labels]
        counted = _weights(kept, _tensors.arithmetic_dtype(rows.logits), mean=mean)
        return Rows(rows.logits, first, others[0] if others else None, rows.lam, counted, rows.shape)


def _is_soft(logits: Tensor, target: Tensor, target_b: Any, lam: Any) -> bool:
    """Return whether the target is soft: floats in the shape of the logits."""
    shape = logits.shape
    if not target.is_floating_point() or len(shape) < _PLAIN:
        return False
    if target.shape != shape:
        if target.dim() >= len(shape) == _PLAIN and target.shape[1] > 1:
            raise ValueError(
                f"soft targets must have the logits' shape {tuple(shape)}, got {tuple(target.shape)}"
                f"{_hint_of_soft(shape, target)}"
            )
        return False
    if target_b is not None or lam is not None:
        name = "lam" if target_b is None else "target_b"
        raise ValueError(f"{name} must be left out with soft targets {tuple(shape)}, which hold both labels")
    return True


def _hint_of_soft(shape: torch.Size, target: Tensor) -> str:
    """Next step for soft targets of another shape than (N, C)."""
    if target.dim() > _PLAIN:
        one = target.shape[0] == shape[0] and target.shape[-1] == shape[1]
        return "; all experts have one target, such as target[:, 0]" if one else ""
    if target.shape[0] != shape[0]:
        return f"; logits have {shape[0]} rows and target has {target.shape[0]}"
    return f"; make them with num_classes={shape[1]}, or the network with {target.shape[1]} outputs"


def _refuse_other_dim(soft: Tensor, dim: int) -> None:
    """Raise if soft targets of positions are distributions over another dimension than ``dim``."""
    other = -1 if dim == 1 else 1
    if not soft_targets.are_distributions(soft, dim) and soft_targets.are_distributions(soft, other):
        raise ValueError(
            f"target must sum to 1 over the classes, dimension {dim} of {tuple(soft.shape)}, got soft targets that do "
            f"over dimension {other}; make the loss with class_dim={other}"
        )


def _weights(kept: Tensor, dtype: torch.dtype, *, mean: bool) -> Tensor:
    """Return 1 for each kept row, or for a mean over all rows what makes it one over those; 0 for the others."""
    if not mean:
        return kept.to(dtype)
    return (kept * kept.shape[0]) / kept.sum(dtype=dtype).clamp_min(1)


def _without(shape: torch.Size, dim: int) -> tuple[int, ...]:
    return (shape[0], *shape[2:]) if dim == 1 else tuple(shape[:-1])


def _is_flat(logits: Tensor, target: Tensor) -> bool:
    """Return whether logits are (N, C) but for dimensions of 1, for labels (N,): their own message says so."""
    rows = len(logits)
    return target.shape == (rows,) and math.prod(logits.shape) == rows * max(logits.shape[1:])


def _hint(logits: Tensor, target: Tensor, dim: int) -> str:
    """Next step for targets that do not fit logits of more dimensions."""
    other = -1 if dim == 1 else 1
    if target.shape == _without(logits.shape, other):
        return f"; the classes are in dimension {other} of these logits: make the loss with class_dim={other}"
    if target.shape == logits.shape:
        return f"; for one-hot labels use target.argmax({dim})"
    if target.shape == logits.shape[:1]:
        pooled = "logits.flatten(2).mean(2)" if dim == 1 else "logits.flatten(1, -2).mean(1)"
        return f"; for one label per sample pass logits of shape (N, C), such as {pooled}"
    return ""


def _per_position(lam: Any, positions: tuple[int, ...], logits: Tensor) -> Any:
    """Return ``lam`` for every position, (R,), from one per sample or position; a number stays one."""
    if lam is None or isinstance(lam, _PYTHON_NUMBERS):
        return lam
    if isinstance(lam, _tensors.ARRAYS):
        lam = _tensors.numbers("lam", lam, logits)
    if not isinstance(lam, Tensor) or lam.dim() == 0:
        return lam
    if lam.shape == positions[:1]:
        return lam.reshape(-1, *[1] * (len(positions) - 1)).expand(positions).flatten()
    if lam.shape != positions:
        raise ValueError(
            f"lam must be a number, or have one entry per sample, {positions[:1]}, or per position, {positions}, got "
            f"{tuple(lam.shape)}"
        )
    return lam.flatten()


def require_two_labels(soft: Tensor, loss: str) -> None:
    """Raise unless no row of ``soft``, (N, C), has more than two labels; a GPU is waited for.

    Raises:
        ValueError: naming the first row with most labels.
        TypeError: where values cannot be read, as under ``torch.compile``.
    """
    if not hints.readable(soft):
        raise TypeError(
            f"soft targets of {loss} must have at most two labels in every row, which cannot be seen under "
            f"torch.compile or in a transform; pass two labels: criterion(logits, *lt_fast.losses.two_labels(target))"
        )
    if len(soft) and not soft_targets.has_two_labels(soft):
        number, at = soft_targets.most_labels(soft).tolist()
        raise ValueError(
            f"soft targets of {loss} must have at most two labels in every row, got {number} in row {at}: it weighs "
            "all classes against one label; mix without smoothing, as timm.data.Mixup(label_smoothing=0) does"
        )


def two_labels(target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return soft targets of mixed images as two labels and the weight of the first, as every loss takes them.

    For a row of at most two labels this loses nothing. The losses do it themselves where they can look at the values,
    which is on the CPU. On a GPU and under ``torch.compile`` they compute the general formula, several times slower;
    there call this, which waits for no device::

        loss = criterion(logits, *lt.losses.two_labels(target))

    Args:
        target: (N, C) float, >= 0, C >= 2, as ``torchvision.transforms.v2.MixUp`` and ``timm.data.Mixup`` with
            ``label_smoothing=0`` give them. The labels of a row are those of its two largest shares.

    Returns:
        target_a (N,) int64, target_b (N,) int64, and lam (N,) in the dtype of ``target``. A row of one label has it as
        both.

    Raises:
        TypeError: if ``target`` is no dense tensor of floats.
        ValueError: if it is not (N, C), or on the CPU if a row has more than two labels, or is no distribution.

    >>> two_labels(torch.tensor([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]]))
    (tensor([2, 0]), tensor([1, 0]), tensor([0.7500, 1.0000]))
    """
    if not isinstance(target, Tensor) or not target.is_floating_point():
        kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
        hint = "; use target.float()" if isinstance(target, Tensor) and not target.is_complex() else ""
        raise TypeError(f"target must be a tensor of floats, got {kind}{hint}")
    _tensors.require_dense("target", target)
    if target.dim() != _PLAIN or target.shape[1] < 2:  # noqa: PLR2004
        raise ValueError(f"target must have shape (N, C) with C >= 2, got {tuple(target.shape)}")
    _tensors.refuse_gradient("target", target)
    if _tensors.readable(target):
        _require_two_shares(target)
    found = soft_targets.largest_two(target)
    return found.target, found.target_b, found.lam


def _require_two_shares(target: Tensor) -> None:
    soft_targets.check_shares(target)
    if len(target) and not soft_targets.has_two_labels(target):
        number, at = soft_targets.most_labels(target).tolist()
        raise ValueError(
            f"target must have at most two labels in every row, got {number} in row {at}; pass it to the loss as it "
            "is, or mix without smoothing: timm.data.Mixup(label_smoothing=0)"
        )
