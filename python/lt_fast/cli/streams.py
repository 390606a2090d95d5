"""The standard streams of the process: a reader that leaves, a full disk or a closed descriptor stops no work."""

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import IO, Any


class _Lasting(io.FileIO):
    """A descriptor that takes all writes: after the first that fails, it leads to the null device.

    Attributes:
        lost: why, or None.
    """

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            while (written := super().write(data)) is None:  # somebody made the descriptor non-blocking
                select.select([], [self.fileno()], [])
        except OSError as error:
            self.lose(error)
            return memoryview(data).nbytes
        return written

    def lose(self, error: OSError) -> None:
        """Lead to the null device from now on, also what native code writes."""
        self.lost = error
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


def secure() -> None:
    """Put streams that last in the place of ``sys.stdout`` and ``sys.stderr``.

    A descriptor that the caller had closed is opened on the null device: else the next file that is opened gets its
    number, and a message of native code is written into a checkpoint.
    """
    closed = _fill_closed()
    for number, name in ((1, "stdout"), (2, "stderr")):
        before: Any = getattr(sys, name)
        raw = _Lasting(number, "w", closefd=False)
        if before is None or number in closed:
            raw.lose(OSError(errno.EBADF, "it is closed"))
        encoding = getattr(before, "encoding", None) or "utf-8"
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=True
        )
        setattr(sys, name, stream)


def loss_of(stream: IO[str]) -> OSError | None:
    """Return why what was written to a stream of ``secure`` is lost, or None."""
    return getattr(getattr(getattr(stream, "buffer", None), "raw", None), "lost", None)


def _fill_closed() -> set[int]:
    closed = set()
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            closed.add(number)
    return closed
