"""A loss that counts on the way which class the training images are taken for."""

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

_BATCHES_WAITING = {"cpu": 1}  # how many may wait to be counted; elsewhere fetching one would make the step wait
_BATCHES_WAITING_ELSEWHERE = 64


class Confusion(Protocol):
    """What counts: ``lt_fast.sampling.ConfusionCounts`` does."""

    def update(self, target: Any, predicted: Any) -> None:
        """Count one pair a sample."""

    def state_dict(self) -> dict[str, Any]:
        """Return the counts, with a tensor under ``"entries"``."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace the counts."""


Counts = TypeVar("Counts", bound=Confusion)


class ConfusionRecorder(nn.Module, Generic[Counts]):
    """A criterion that also counts (label, largest logit) of every unmixed training image it is shown.

    The predictions come from the ordinary forward passes of the training: no pass is added. The counts are part of the
    criterion's state, so that a checkpoint holds them and a resumed training goes on counting. On a GPU they come to
    the host every 64 steps and whenever they are read, so that a step does not wait.

    Args:
        criterion: called as ``criterion(logits, y_a, y_b, lam)``.
        confusion: where to count.
        plain_rows: from the number of rows of a batch with second labels to how many of the first of them are unmixed;
            ``lt_fast.losses.CPMixLoss.plain_rows``. By default none is. All rows of a batch without second labels are.

    Raises:
        TypeError: if ``criterion`` is not a module.

    Source: the collecting of confusion pairs of CP-Mix, arXiv:2411.07621, equation (6).
    """

    def __init__(
        self, criterion: nn.Module, confusion: Counts, *, plain_rows: Callable[[int], int] | None = None
    ) -> None:
        super().__init__()
        if not isinstance(criterion, nn.Module):
            raise TypeError(f"criterion must be a loss (an nn.Module), got {type(criterion).__name__}")
        self.criterion = criterion
        self._confusion, self._plain_rows = confusion, plain_rows
        self._waiting: list[tuple[Tensor, Tensor]] = []

    def forward(self, logits: Tensor, y_a: Tensor, y_b: Tensor | None = None, lam: Tensor | None = None) -> Tensor:
        """Return the criterion's loss."""
        self._note(logits.detach(), y_a, mixed=y_b is not None)
        loss: Tensor = self.criterion(logits, y_a, y_b, lam)
        return loss

    def up_to_date(self) -> Counts:
        """Return the object that was passed, with every step so far counted in it."""
        if self._waiting:
            labels, predicted = (torch.cat(column).cpu() for column in zip(*self._waiting, strict=True))
            self._waiting.clear()
            self._confusion.update(labels, predicted)
        return self._confusion

    def get_extra_state(self) -> Tensor:
        """Return the counts, for ``state_dict``."""
        entries: Tensor = self.up_to_date().state_dict()["entries"]
        return entries

    def set_extra_state(self, state: Tensor) -> None:
        """Replace the counts, for ``load_state_dict``."""
        self._waiting.clear()
        self._confusion.load_state_dict({**self._confusion.state_dict(), "entries": state.cpu()})

    def _note(self, logits: Tensor, labels: Tensor, *, mixed: bool) -> None:
        rows = len(logits)
        if mixed:
            rows = 0 if self._plain_rows is None else self._plain_rows(rows)
        if rows == 0:
            return
        self._waiting.append((labels[:rows], logits[:rows].argmax(1)))
        if len(self._waiting) >= _BATCHES_WAITING.get(logits.device.type, _BATCHES_WAITING_ELSEWHERE):
            self.up_to_date()
