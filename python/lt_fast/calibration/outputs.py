"""``Outputs``: the logits that a calibrator is fitted to, kept where they are small and else computed when needed."""

from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn

from lt_fast.calibration.checks import checked_matrix, refuse_probabilities
from lt_fast.counts import ClassCounts
from lt_fast.errors import DataError

MOST_KEPT = 1 << 26
"""Logits that are computed once and kept: 256 MiB of float32. More are computed whenever they are asked for."""

_BLOCK = 1 << 24


class Outputs:
    """Logits ``(N, C)``: given, or those of a head for features.

    Of many classes they would not fit into memory (437,513 images of 8,142 classes: 14 GB), so the head is applied to
    each mini-batch again. Below ``MOST_KEPT`` logits it is applied once, to all rows.

    Args:
        given: logits ``(N, C)``, or features ``(N, D)`` where there is a head.
        head: or None.

    Attributes:
        device, dtype: of the logits.
    """

    def __init__(self, given: Tensor, head: nn.Module | None) -> None:
        self._given, self._head = given, head
        with torch.no_grad():
            first = given[:1] if head is None else checked_matrix(head(given[:1]), name="logits")
        self.num_classes, self.device, self.dtype = first.shape[1], first.device, first.dtype
        if head is not None and len(given) * self.num_classes <= MOST_KEPT:
            self._given, self._head = self._applied(slice(None)), None

    @classmethod
    def of(cls, given: Any, head: nn.Module | None, counts: ClassCounts) -> Self:
        """Return the logits ``given``, or of the features ``given``, checked.

        Raises:
            TypeError, ValueError: if they are no floats ``(N, C)``, or probabilities.
            DataError: if a value is not finite.
        """
        if head is None:
            found = cls(checked_matrix(given, name="logits"), None)
            refuse_probabilities(found[:])
        else:
            weight = next(iter(head.parameters()), None)
            features = checked_matrix(given, name="features")
            found = cls(features if weight is None else features.to(weight), head)
        if found.num_classes != len(counts):
            hint = "; features need head=model.head" if head is None else ""
            raise ValueError(f"logits must have one column a class ({len(counts)}), got {found.num_classes}{hint}")
        return found

    def __len__(self) -> int:
        return len(self._given)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """Return the logits of some rows, detached.

        Raises:
            DataError: if one is not finite; names its row.
        """
        return self._given[rows] if self._head is None else self._applied(rows)

    def blocks(self) -> Iterator[slice]:
        """Yield slices of rows of some 16 million logits: what is computed in float64 needs no second matrix."""
        rows = max(1, _BLOCK // self.num_classes)
        for start in range(0, len(self), rows):
            yield slice(start, start + rows)

    def _applied(self, rows: Tensor | slice) -> Tensor:
        assert self._head is not None
        with torch.no_grad():
            logits = self._head(self._given[rows])
        try:
            return checked_matrix(logits, name="logits")
        except DataError as error:
            if isinstance(rows, slice) and not rows.start:
                raise
            raise DataError(f"{error} (rows counted from {_first(rows)})") from None


def _first(rows: Tensor | slice) -> str:
    return f"row {rows.start}" if isinstance(rows, slice) else f"the first of a batch, row {int(rows[0])}"
