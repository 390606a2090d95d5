"""``FixedBatches``: index arrays in a fixed order, with the position that every batch sampler here has."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast.datasets.checks import whole_number


class FixedBatches:
    """The same batches every epoch, in the order given: what evaluation reads.

    Args:
        batches: index arrays, not empty; all but the last usually of one length.

    Attributes:
        batch_size: length of the longest batch.
        epoch: as set; walking through does not change it.

    Raises:
        TypeError: if a batch does not hold whole numbers.
        ValueError: if a batch is not one-dimensional.
    """

    def __init__(self, batches: Sequence[ArrayLike]) -> None:
        self._batches = [index_array(batch) for batch in batches]
        self.batch_size = max(map(len, self._batches), default=0)
        self.epoch = 0
        self._start = 0
        self._position = 0

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        start, self._start = self._start, 0
        self._position = start
        return self._walk(start)

    def _walk(self, start: int) -> Iterator[NDArray[np.int64]]:
        for position in range(start, len(self._batches)):
            self._position = position + 1
            yield self._batches[position]
        self._position = 0

    def set_epoch(self, epoch: int) -> None:
        """Name the epoch; the current one changes nothing, another one starts at its first batch."""
        epoch = whole_number("epoch", epoch)
        if epoch != self.epoch:
            self.epoch, self._start, self._position = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        """Return the place after the batch handed out last."""
        return {"epoch": self.epoch, "position": self._position, "num_batches": len(self)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on from ``state``.

        Raises:
            ValueError: if it is the place in another number of batches.
        """
        if state.get("num_batches") != len(self):
            raise ValueError(
                f"state must be of the same batches: num_batches was {state.get('num_batches')}, is {len(self)}"
            )
        position = whole_number("state['position']", state.get("position"))
        if position > len(self):
            raise ValueError(f"state['position'] must lie in [0, {len(self)}], got {position}")
        self.epoch = whole_number("state['epoch']", state.get("epoch"))
        self._start = self._position = position


def index_array(indices: ArrayLike) -> NDArray[np.int64]:
    """Return one batch of indices as a dense (B,) int64 array.

    Raises:
        TypeError: if they are not whole numbers.
        ValueError: if they are not one-dimensional.
    """
    array = np.asarray(indices)
    if array.ndim != 1:
        raise ValueError(f"batch_sampler must give one-dimensional index arrays, got shape {array.shape}")
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"batch_sampler must give integer indices, got dtype {array.dtype}")
    return np.ascontiguousarray(array, dtype=np.int64)
