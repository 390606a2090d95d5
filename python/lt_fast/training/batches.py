"""What the training loop needs of its batches."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from lt_fast.batch import Batch

RawBatch: TypeAlias = Batch | tuple[Tensor, Tensor, Tensor | None, Tensor | None]

_FIELDS = ("x", "y_a", "y_b", "lam")


@runtime_checkable
class Batches(Protocol):
    """An iterable of ``Batch`` or ``(x, y_a, y_b, lam)`` that has a length, an epoch and a position.

    ``lt_fast.data.Loader`` is one. ``state_dict`` describes the position after the batch that was delivered last, in
    plain JSON values; iterating after ``load_state_dict`` continues there.
    """

    def __iter__(self) -> Iterator[RawBatch]: ...
    def __len__(self) -> int: ...
    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through."""

    def state_dict(self) -> dict[str, Any]:
        """Return the position."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a position."""


def as_batch(raw: Any) -> Batch:
    """Return what ``batches`` gave as a ``Batch``.

    Raises:
        TypeError: if it is not a tuple of four, or ``x``, ``y_a``, ``y_b`` or ``lam`` is no tensor; says how to convert
            what came.
        ValueError: if ``x`` and labels differ in number, or one of ``y_b`` and ``lam`` is missing.
    """
    if isinstance(raw, Batch):
        return raw
    if not isinstance(raw, tuple | list) or len(raw) != len(_FIELDS):
        raise TypeError(f"batches must give (x, y_a, y_b, lam), got {_in_words(raw)}")
    for name, part in zip(_FIELDS, raw, strict=True):
        if not isinstance(part, Tensor) and (part is not None or name in ("x", "y_a")):
            raise TypeError(f"batches must give tensors (x, y_a, y_b, lam), got {_part_in_words(name, part)}")
    x, y_a, y_b, lam = raw
    if (y_b is None) != (lam is None):
        raise ValueError(
            "batches must give both y_b and lam, or None for both, got one of them; an index is no mixing: leave it out"
        )
    if len(x) != len(y_a):
        raise ValueError(f"batches must give one label for each x, got {len(y_a)} for {len(x)}")
    return Batch(views=(x,), target=y_a, target_b=y_b, lam=lam)


def _in_words(raw: Any) -> str:
    """Say what came in the place of a tuple of four, and how to make one of it."""
    rule = "y_b and lam may be None"
    if isinstance(raw, Mapping):
        return f"{type(raw).__name__} with the keys {', '.join(map(repr, raw))}; {rule}: give (x, labels, None, None)"
    if not isinstance(raw, tuple | list):
        return f"{type(raw).__name__}; {rule}"
    if len(raw) == len(("x", "labels", "index")):
        return f"3 parts; {rule}; an index is no mixing: give (x, labels, None, None)"
    return f"{len(raw)} parts; {rule}" + (": give (x, labels, None, None)" if len(raw) > 1 else "")


def _part_in_words(name: str, part: Any) -> str:
    several = (
        f" of {len(part)} (several views of each image?)" if name == "x" and isinstance(part, list | tuple) else ""
    )
    return f"{name} as {type(part).__name__}{several}"


def check_batches(batches: Any) -> int:
    """Return the number of steps an epoch has.

    Raises:
        TypeError: if ``batches`` lacks a method of ``Batches``.
        ValueError: if it holds no batch.
    """
    needed = ("__iter__", "__len__", "set_epoch", "state_dict", "load_state_dict")
    missing = [name for name in needed if not hasattr(batches, name)]
    if missing:
        raise TypeError(
            f"batches must have {', '.join(needed)}, got {type(batches).__name__} without {', '.join(missing)}; "
            "lt_fast.data.Loader has them all",
        )
    if len(batches) == 0:
        raise ValueError(
            "batches must hold at least one batch, got none; lower batch_size or keep the last short batch"
        )
    return len(batches)
