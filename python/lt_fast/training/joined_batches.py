"""Batches made of other batches: several side by side in one step, or one kind after another."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from lt_fast.batch import Batch
from lt_fast.training.batches import Batches, RawBatch, as_batch, check_batches


class JoinedBatches:
    """The batches of several sources, step by step one below the other, so that one forward pass sees them all.

    A part without second labels gets its own labels as such, and the factor 1.

    Args:
        parts: each gives ``(x, y_a, y_b, lam)``; all of one number of steps, their images of one shape and dtype.

    Raises:
        TypeError: if a part lacks a method of ``Batches``.
        ValueError: if there is no part, one is empty, or their numbers of steps differ.
    """

    def __init__(self, *parts: Batches) -> None:
        if not parts:
            raise ValueError("parts must be at least one source of batches, got none")
        _same_steps({f"part {at}": check_batches(part) for at, part in enumerate(parts)})
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts[0])

    def __iter__(self) -> Iterator[RawBatch]:
        for batches in zip(*self.parts, strict=True):
            yield _joined([_with_second_label(batch) for batch in batches])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through."""
        for part in self.parts:
            part.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the position of every part."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a position.

        Raises:
            ValueError: if the state is one of another number of parts.
        """
        states = state["parts"]
        if len(states) != len(self.parts):
            raise ValueError(f"state must be one of {len(self.parts)} parts, got {len(states)}")
        for part, its in zip(self.parts, states, strict=True):
            part.load_state_dict(its)


class StagedBatches:
    """One source of batches before an epoch, another one from it on: two-stage training in a single ``fit``.

    Args:
        first: batches of the epochs before ``second_from``.
        second: batches of the epochs from it on; as many steps an epoch.
        second_from: the first epoch of the second stage, counted from 0; ``epoch_at(fraction, epochs)`` gives it.

    Raises:
        TypeError: if a source lacks a method of ``Batches``, or ``second_from`` is no integer.
        ValueError: if one is empty, their numbers of steps differ, or ``second_from`` is negative.
    """

    def __init__(self, first: Batches, second: Batches, *, second_from: int) -> None:
        _same_steps({"first": check_batches(first), "second": check_batches(second)})
        if isinstance(second_from, bool) or not hasattr(second_from, "__index__"):
            raise TypeError(f"second_from must be an integer, got {second_from!r}; epoch_at(fraction, epochs) gives it")
        if second_from < 0:
            raise ValueError(f"second_from must be >= 0, got {second_from}; it is an epoch, counted from 0")
        self.first, self.second, self.second_from = first, second, second_from
        self._epoch = 0

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[RawBatch]:
        return iter(self._current)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, and with it the stage, that the next iteration goes through."""
        self._epoch = epoch
        self._current.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return epoch and position."""
        return {"epoch": self._epoch, "current": self._current.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a position."""
        self._epoch = state["epoch"]
        self._current.load_state_dict(state["current"])

    @property
    def _current(self) -> Batches:
        return self.first if self._epoch < self.second_from else self.second


def _same_steps(steps: dict[str, int]) -> None:
    if len(set(steps.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in steps.items())
        raise ValueError(f"all batches must have the same number of steps an epoch: {told}; set num_batches")


def _with_second_label(raw: RawBatch) -> Batch:
    batch = as_batch(raw)
    if batch.target_b is not None:
        return batch
    return replace(batch, target_b=batch.target, lam=torch.ones(len(batch)))


def _joined(batches: list[Batch]) -> Batch:
    kinds = [(tuple(batch.x.shape[1:]), batch.x.dtype) for batch in batches]
    if len(set(kinds)) > 1:
        told = ", ".join(f"part {at} has {shape} {dtype}" for at, (shape, dtype) in enumerate(kinds))
        raise ValueError(f"all parts must have images of one shape and dtype, got: {told}")
    columns = [[getattr(batch, name) for batch in batches] for name in ("x", "target", "target_b", "lam")]
    x, target, target_b, lam = map(torch.cat, columns)
    return Batch(views=(x,), target=target, target_b=target_b, lam=lam)
