"""Accumulate a confusion matrix of the training images while a network trains."""

from copy import copy

import torch
from torch import Tensor, nn

from lt_fast.sampling import ConfusionCounts

_BATCHES_WAITING = 64  # on a GPU: reading predictions after each step would make the step wait for them


class ConfusionTable(nn.Module):
    """A ``ConfusionCounts`` as a part of a module's state dict.

    Args:
        num_classes: C.

    Attributes:
        counts: the matrix.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.counts = ConfusionCounts(num_classes)

    def up_to_date(self) -> ConfusionCounts:
        """Return the matrix."""
        return self.counts

    def entries(self) -> Tensor:
        """Return the cells that are not 0 as rows (target, predicted, count), (cells, 3) int64."""
        entries = self.up_to_date().state_dict()["entries"]
        assert isinstance(entries, Tensor)
        return entries

    def get_extra_state(self) -> Tensor:
        """Return the entries, for ``state_dict``."""
        return self.entries()

    def set_extra_state(self, state: Tensor) -> None:
        """Replace the counts, for ``load_state_dict``."""
        self.counts.load_state_dict({**self.counts.state_dict(), "entries": state.cpu()})


class ConfusionRecord(ConfusionTable):
    """The confusion matrix of every prediction of the training so far, summed over ranks.

    The predictions come from the ordinary forward passes of the training: no pass is added. On a GPU they are read
    every 64 steps and whenever the matrix is needed.

    Source: the collecting of confusion pairs of CP-Mix, arXiv:2411.07621, equation (6).
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self._own = ConfusionCounts(num_classes)  # of this rank, not yet merged into those of all ranks
        self._waiting: list[tuple[Tensor, Tensor]] = []

    def add(self, target: Tensor, logits: Tensor) -> None:
        """Count (label, largest logit) of each row."""
        self._waiting.append((target, logits.argmax(1)))
        if _reads_at_once(logits.device) or len(self._waiting) >= _BATCHES_WAITING:
            self._count()

    def merge_ranks(self) -> None:
        """Add what every rank has counted since the last time to the counts of all ranks."""
        self._count()
        self._own.all_reduce()
        self.counts.merge(self._own)
        self._own = ConfusionCounts(self.counts.num_classes)

    def up_to_date(self) -> ConfusionCounts:
        """Return the matrix with every step of this rank, and those of other ranks up to the last merge."""
        self._count()
        total = copy(self.counts)
        total.merge(self._own)
        return total

    def copy(self) -> ConfusionCounts:
        """Return a copy of the matrix as of the last merge."""
        return copy(self.counts)

    def set_extra_state(self, state: Tensor) -> None:
        """Replace the counts, for ``load_state_dict``."""
        super().set_extra_state(state)
        self._own = ConfusionCounts(self.counts.num_classes)
        self._waiting.clear()

    def _count(self) -> None:
        if self._waiting:
            target, predicted = (torch.cat(column).cpu() for column in zip(*self._waiting, strict=True))
            self._waiting.clear()
            self._own.update(target, predicted)


def _reads_at_once(device: torch.device) -> bool:
    return device.type == "cpu"
