"""What a reader opens is a regular file: of a pipe or a device the end may never come."""

import stat
from pathlib import Path

from lt_fast.errors import DataError

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def regular(path: Path) -> Path:
    """Return ``path``, for what opens it; whether it is there, and no folder, is left to the opening.

    Raises:
        DataError: if it is a pipe, a device or a socket, or leads to one.
        OSError: if it is not there.
    """
    kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode))
    if kind is not None:
        raise DataError(f"{path} must be a regular file, got {kind}; write what it gives to a file first")
    return path
