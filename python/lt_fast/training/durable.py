"""Files that are there whole or not at all, also when the process is killed or the disk is full."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from lt_fast.errors import DataError

CONTINUE = "then continue with --resume"
"""How the advice about a full disk ends; not true where the run directory was removed again."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_synced(path: Path, data: bytes) -> None:
    """Write ``data`` to a new file and wait until it is on the disk.

    What has the name is replaced, never written into: it may be a link to another file, or a pipe.
    """
    with open(_new_file(path), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _new_file(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileExistsError:
        path.unlink()
        return os.open(path, flags, 0o666)


def erase(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it; what cannot be removed stays."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` (files made, renamed, removed) are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Give ``path`` the content ``data``: written aside, synced and renamed, so a reader sees the old or the new.

    Raises:
        DataError: if the folder is full or cannot be written; the old content is untouched.
    """
    aside = path.with_name(f".{path.name}.partial")
    try:
        write_synced(aside, data)
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise unwritable(path.parent, error, what=path.name, needed=len(data)) from error


def unwritable(folder: Path, error: OSError, *, what: str, needed: int) -> DataError:
    """Say in words why ``what``, of ``needed`` bytes, could not be written to ``folder``."""
    if error.errno not in _FULL:
        return DataError(f"{folder} cannot be written ({error.strerror}); name another run directory with --run")
    free = "fewer"
    with suppress(OSError):
        free = str(shutil.disk_usage(folder).free)
    return DataError(
        f"{folder} has no room for {what}: {needed} bytes are needed, {free} are free ({error.strerror}); "
        f"free some space, {CONTINUE}",
    )
