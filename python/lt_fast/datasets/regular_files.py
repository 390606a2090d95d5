"""Check that a path is a regular file: reading a pipe or a device may never end."""

import stat
from pathlib import Path

from lt_fast.errors import DataError

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def regular(path: Path) -> Path:
    """Return ``path`` if it is not a pipe, device or socket; opening it reports folders.

    Raises:
        DataError: if it is a pipe, a device or a socket, or leads to one.
        OSError: if it is not there.
    """
    kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode))
    if kind is not None:
        raise DataError(f"{path} must be a regular file, got {kind}; write what it gives to a file first")
    return path
