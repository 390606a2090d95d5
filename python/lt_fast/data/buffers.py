"""Memory for batches that is used again, but never while anything still refers to the batch in it."""

import math
import weakref
from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MOST_FREE = 8
_MOST_TIMES_LARGER = 2
_TORCH_DTYPES: dict[type[np.generic], torch.dtype] = {np.float32: torch.float32, np.uint16: torch.uint16}


class Buffers:
    """A bounded ring of free buffers: fresh memory costs a page fault for each 4 kB, a third of a batch's time.

    A buffer is lent as an array made for one batch, and the batch's tensor is made from that array. Torch keeps the
    array as long as the tensor's storage is there, so whatever refers to the pixels keeps it too: views, ``detach()``,
    ``numpy()``, DLPack, a graph that saved the tensor. When the array is freed, and only then, ``weakref.finalize``
    puts the buffer back. If no buffer is free, a new one is allocated: nothing waits and nothing is overwritten. At
    most eight free buffers are kept; a deque of that length drops the oldest, and its operations need no lock, which
    matters because an array may be freed anywhere, by any thread.
    """

    def __init__(self) -> None:
        self._free: deque[NDArray[np.uint8]] = deque(maxlen=_MOST_FREE)

    def __reduce__(self) -> tuple[type["Buffers"], tuple[()]]:
        """Give a copy, or another process, a ring of its own."""
        return type(self), ()

    def empty(self, shape: tuple[int, ...], dtype: type[np.generic]) -> tuple[Tensor, NDArray[Any]]:
        """Return a dense tensor with undefined values, and the same memory as an array.

        The tensor must outlive every view of the array: NumPy lets a view keep the buffer, but not the array.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        buffer = self._taken(size)
        lent: NDArray[Any] = np.ndarray(shape, dtype, buffer)
        weakref.finalize(lent, self._free.append, buffer).atexit = False
        return torch.from_numpy(lent), lent

    def _taken(self, size: int) -> NDArray[np.uint8]:
        """Return a free buffer, or a new one; forget those that are too small, pass over those that are too large."""
        for _ in range(len(self._free)):
            try:
                buffer = self._free.pop()
            except IndexError:  # another thread has taken it
                break
            if size <= len(buffer) <= _MOST_TIMES_LARGER * size:
                return buffer
            if len(buffer) > size:
                self._free.appendleft(buffer)
        fresh: NDArray[np.uint8] = torch.empty(size, dtype=torch.uint8).numpy()  # aligned as torch aligns tensors
        return fresh


class PageLockedBuffers:
    """The same in page-locked memory, which a GPU reads while the program continues.

    Torch's allocator of such memory is a ring already: it keeps what it has locked, lends it again once the tensor's
    storage is gone, and waits for copies to a GPU that are still reading from it.
    """

    def empty(self, shape: tuple[int, ...], dtype: type[np.generic]) -> tuple[Tensor, NDArray[Any]]:
        """Return a dense tensor with undefined values, and the same memory as an array."""
        x = torch.empty(shape, dtype=_TORCH_DTYPES[dtype], pin_memory=True)
        return x, x.numpy()
