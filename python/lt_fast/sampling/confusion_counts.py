"""Accumulate a confusion matrix during training, as the same integers on every rank and in any order."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lt_fast import _checks, _rust
from lt_fast._loaded import is_tensor

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import ProcessGroup

_STATE_VERSION = 1


class ConfusionEntries(NamedTuple):
    """The cells that are not 0, sorted by ``target``, then ``predicted``; three int64 arrays ``(cells,)``."""

    target: NDArray[np.int64]
    predicted: NDArray[np.int64]
    counts: NDArray[np.int64]


class ConfusionCounts:
    """Confusion matrix of counts: how often samples of class ``target`` were predicted as class ``predicted``.

    Equals ``np.add.at(matrix, (target, predicted), 1)`` on a ``(C, C)`` int64 matrix. Integers: the order of updates
    changes nothing, and so do the number of ranks and the way that samples fall on them.

    Up to 2,000 classes the counts are that matrix (at most 32 MB) and an update costs about a nanosecond per pair.
    Above, only cells that are not 0 are stored, 12 bytes each (up to twice that while they grow): a few million
    distinct pairs of 8,142 classes take some tens of megabytes where the matrix would take 530.

    >>> counts = ConfusionCounts(3)
    >>> counts.update([0, 0, 2, 1], [0, 1, 1, 1])
    >>> counts.matrix().tolist(), counts.total
    ([[1, 1, 0], [0, 1, 0], [0, 1, 0]], 4)

    Args:
        num_classes: C, in [1, 2**24].

    Raises:
        TypeError: if ``num_classes`` is not an integer.
        ValueError: if it is out of its range.

    Source: the confusion of equations (5) and (6) of CP-Mix, arXiv:2411.07621, accumulated over the training as a
    matrix instead of a multiset.
    """

    def __init__(self, num_classes: int) -> None:
        self._counts = _rust.ConfusionCounts(_checks.num_classes(num_classes))

    @property
    def num_classes(self) -> int:
        """C."""
        return self._counts.num_classes

    @property
    def total(self) -> int:
        """Pairs counted."""
        return self._counts.total

    @property
    def nbytes(self) -> int:
        """Bytes that the cells occupy."""
        return self._counts.nbytes

    def update(self, target: Any, predicted: Any) -> None:
        """Count one pair per sample. If an argument is invalid, nothing is counted.

        A tensor on a GPU is copied to the host, which waits for it.

        Args:
            target: true classes.
            predicted: predicted classes: ``logits.argmax(1)``, or the op's prediction.

        Shape:
            both (N,), integers in [0, C): sequence, array or tensor.

        Raises:
            TypeError: if they are not integers.
            ValueError: if their shapes differ, a class is outside [0, C) (its position is named), or the counts would
                add up to 2**63.
        """
        self._counts.update(_classes("target", target), _classes("predicted", predicted))

    def matrix(self) -> NDArray[np.int64]:
        """Return a copy as ``(C, C)`` int64, the true class by row. 8 * C**2 bytes.

        Raises:
            MemoryError: if there is no room for it; ``entries`` needs less.
        """
        return self._counts.matrix()

    def entries(self) -> ConfusionEntries:
        """Return a copy of the cells that are not 0."""
        return ConfusionEntries(*self._counts.entries())

    def merge(self, other: "ConfusionCounts") -> None:
        """Add the counts of ``other``, which is not changed.

        Raises:
            TypeError: if ``other`` is something else.
            ValueError: if it has another number of classes, or the counts would add up to 2**63; nothing is added then.
        """
        if not isinstance(other, ConfusionCounts):
            raise TypeError(f"other must be a ConfusionCounts, got {type(other).__name__}")
        if other.num_classes != self.num_classes:
            raise ValueError(f"other must have {self.num_classes} classes, got {other.num_classes}")
        self._counts.merge(*other.entries())

    def all_reduce(self, group: "ProcessGroup | None" = None) -> None:
        """Replace the counts of every rank by the sum over all ranks.

        To sum in turns, count into a fresh object, reduce that and ``merge`` it: counts that have been summed once must
        not be summed again. Without an initialised process group there is one rank, and nothing to do. The cells travel
        as int64; what is sent is the sum of the ranks' cells that are not 0.

        Args:
            group: a process group; all ranks by default. Every rank of it has to call.

        Raises:
            ValueError: on every rank, if the ranks differ in their number of classes.
        """
        distributed = sys.modules.get("torch.distributed")  # a group that exists was made by it
        if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
            return
        import torch  # noqa: PLC0415  (counting needs no torch)

        cells = torch.from_numpy(self._rows())
        gathered = _gathered(cells, self.num_classes, group)
        summed = _rust.ConfusionCounts(self.num_classes)
        for part in gathered:
            summed.merge(*_columns(part.cpu().numpy()))
        self._counts = summed

    def state_dict(self) -> dict[str, "int | Tensor"]:
        """Return ``version``, ``num_classes`` and ``entries``, the cells that are not 0 as rows: (cells, 3) int64.

        The rows are a tensor, which ``torch.save`` writes and ``torch.load(weights_only=True)`` reads.
        """
        import torch  # noqa: PLC0415  (counting needs no torch)

        return self.__getstate__() | {"entries": torch.from_numpy(self._rows())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the counts by saved ones.

        Raises:
            TypeError: if the state is something else.
            ValueError: if it is of another version or another number of classes, or damaged; nothing changes then.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be what state_dict() returned, got {type(state).__name__}")
        for name, wanted in (("version", _STATE_VERSION), ("num_classes", self.num_classes)):
            if state.get(name) != wanted:
                raise ValueError(f"state must have {name} {wanted}, got {state.get(name, 'none')}")
        cells = np.asarray(state.get("entries"))
        if cells.ndim != 2 or cells.shape[1] != 3 or cells.dtype != np.int64:  # noqa: PLR2004
            raise ValueError(f"state['entries'] must be int64 of shape (cells, 3), got {cells.dtype} {cells.shape}")
        loaded = _rust.ConfusionCounts(self.num_classes)
        loaded.merge(*_columns(cells))
        self._counts = loaded

    def __getstate__(self) -> dict[str, Any]:
        return {"version": _STATE_VERSION, "num_classes": self.num_classes, "entries": self._rows()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._counts = _rust.ConfusionCounts(state["num_classes"])
        self.load_state_dict(state)

    def _rows(self) -> NDArray[np.int64]:
        return np.stack(self.entries(), axis=1)

    def __copy__(self) -> Self:
        copied = type(self)(self.num_classes)
        copied.merge(self)
        return copied

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConfusionCounts):
            return NotImplemented
        cells = zip(self.entries(), other.entries(), strict=True)
        return self.num_classes == other.num_classes and all(np.array_equal(own, its) for own, its in cells)

    __hash__ = None  # type: ignore[assignment]  # counts change

    def __repr__(self) -> str:
        return f"ConfusionCounts(num_classes={self.num_classes}, total={self.total})"


def _classes(name: str, values: Any) -> NDArray[np.int64]:
    values = values.detach().cpu() if is_tensor(values) else values
    return _checks.index_array(name, values, hint="; predictions are logits.argmax(1)")


def _columns(cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    target, predicted, count = (np.ascontiguousarray(column) for column in cells.T)
    return target, predicted, count


def travelling_device(backend: str) -> str:
    """Return the device that a backend communicates from: the CPU, unless it supports GPUs only."""
    return "cuda" if "nccl" in backend and "cpu:" not in backend else "cpu"


def _gathered(cells: "Tensor", num_classes: int, group: "ProcessGroup | None") -> "list[Tensor]":
    """Return the rows of every rank. Their numbers differ, so each rank pads its rows to the longest."""
    import torch  # noqa: PLC0415  (counting needs no torch)
    from torch import distributed  # noqa: PLC0415

    device = travelling_device(str(distributed.get_backend(group)))
    world_size = distributed.get_world_size(group)
    own = torch.tensor([num_classes, len(cells)], device=device)
    sizes = [torch.empty_like(own) for _ in range(world_size)]
    distributed.all_gather(sizes, own, group)
    classes, lengths = torch.stack(sizes).cpu().T.tolist()
    if len(set(classes)) > 1:
        raise ValueError(f"all ranks must count the same number of classes, got {classes}")
    padded = torch.zeros(max(lengths), 3, dtype=torch.int64, device=device)
    padded[: len(cells)] = cells.to(device)
    parts = [torch.empty_like(padded) for _ in range(world_size)]
    distributed.all_gather(parts, padded, group)
    return [part[:length] for part, length in zip(parts, lengths, strict=True)]
