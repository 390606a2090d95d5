"""A file as the sign that one process is at work: held until its descriptor is closed, however the process ends."""

import errno
import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_BEYOND = 1 << 30
"""Position of the byte that is locked on Windows, where locked bytes cannot be read: no content comes so far."""


def hold(descriptor: int) -> None:
    """Hold an open file for this process alone.

    Raises:
        BlockingIOError: if another process holds it.
        OSError: if the file system has no locks.
    """
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        _hold_on_windows(descriptor)


def _hold_on_windows(descriptor: int) -> None:
    import msvcrt  # noqa: PLC0415  (Windows alone has it)

    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, _BEYOND, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except PermissionError as error:  # what Windows calls it
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)
