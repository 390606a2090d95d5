"""A file as the sign that one process is at work: held until its descriptor is closed, however the process ends."""

import errno
import os
import sys

if sys.platform == "win32":
    import msvcrt

    _BEYOND = 1 << 30  # the byte that is locked: locked bytes cannot be read, and no content comes so far

    def hold(descriptor: int) -> None:
        """Hold an open file for this process alone.

        Raises:
            BlockingIOError: if another process holds it.
        """
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        finally:
            os.lseek(descriptor, position, os.SEEK_SET)

else:
    import fcntl

    def hold(descriptor: int) -> None:
        """Hold an open file for this process alone.

        Raises:
            BlockingIOError: if another process holds it.
            OSError: if the file system has no locks.
        """
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
