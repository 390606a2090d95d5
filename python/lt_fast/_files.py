"""Files that are complete or absent, also after a crash, and reading of files that anybody may have changed."""

import errno
import json
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lt_fast.errors import DataError

MOST_BYTES = 1 << 34
"""Largest file that is read where the caller does not know how large it must be."""

MOST_JSON_BYTES = 1 << 28
"""Largest JSON file that is read: two orders of magnitude above the state of a run over all of iNaturalist."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_KINDS = {stat.S_IFDIR: "Is a directory", stat.S_IFIFO: "Is a pipe", stat.S_IFSOCK: "Is a socket"}
_MOST_LEVELS = 32
_SHOWN = 60


class NextStep(NamedTuple):
    """What to do about a file that cannot be written: where else to write it, and how to continue on a full disk."""

    elsewhere: str = "choose another folder"
    once_free: str = "then try again"


FOR_RUN = NextStep("name another run directory with --run", "then continue with --resume")
"""The next step for a file of a run directory."""


def replace_file(path: Path, data: bytes, *, next_step: NextStep = NextStep()) -> None:  # noqa: B008  (immutable)
    """Replace the content of ``path`` with ``data``: a reader sees all of the old content or all of the new.

    The data go to a temporary file in the same folder, which is synced and renamed.

    Raises:
        DataError: if the disk is full or the folder cannot be written; the old content is untouched.
    """
    temporary = temporary_for(path)
    try:
        write_synced(temporary, data)
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException as error:  # a signal, too, leaves nothing half-written
        with suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        raise unwritable(
            path.parent, error, what=path.name, needed=len(data), path=path, next_step=next_step
        ) from error


def make_folder(folder: Path, *, next_step: NextStep = NextStep()) -> None:  # noqa: B008  (immutable)
    """Make ``folder``, with the folders that it is in, unless it is there.

    Raises:
        DataError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error, what="a folder", needed=1, next_step=next_step) from error


def replace_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Replace the folder ``path`` with one that holds ``files``, a content for each name.

    The files go to a temporary folder, which is synced and renamed. An old folder is removed just before.

    Raises:
        OSError: if the disk is full or the folder cannot be written. Nothing half-written is left.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        erase(temporary)
        temporary.mkdir()
        for name, data in files.items():
            write_synced(temporary / name, data)
        sync_folder(temporary)
        remove_folder(path)
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError:
        erase(temporary)
        raise


def remove_folder(path: Path) -> None:
    """Remove a folder, its name first: a folder that is half removed must not look like a whole one."""
    if not os.path.lexists(path):
        return
    going = path.with_name(f".{path.name}.removed")
    with suppress(OSError):
        erase(going)
        path.rename(going)
        erase(going)


def temporary_for(path: Path) -> Path:
    """Return the name of the temporary file of this process for ``path``: hidden, in the same folder."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def is_temporary(name: str, path: Path) -> bool:
    """Whether ``name`` is that of a temporary file of some process for ``path``."""
    begin, end = f".{path.name}.", ".partial"
    return name.startswith(begin) and name.endswith(end) and name[len(begin) : -len(end)].isdigit()


def flags(*names: str) -> int:
    """Return the flags of ``os.open`` that this system has of ``names``, with bytes left as they are on Windows.

    No flag for ``exec`` is needed: Python opens every descriptor without inheritance.
    """
    found = 0
    for name in (*names, "BINARY"):
        found |= getattr(os, f"O_{name}", 0)
    return found


def open_own(path: Path, access: int, mode: int = 0o666) -> int:
    """Open ``path`` without following a link and without waiting for a pipe; return the descriptor.

    Raises:
        OSError: as ``os.open``; ``ELOOP`` for a link.
    """
    if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return os.open(path, access | flags("NOFOLLOW", "NONBLOCK"), mode)


def write_synced(path: Path, data: bytes) -> None:
    """Write ``data`` to a new file and wait until it is on the disk.

    A file or link of that name is removed first, never written into: it may lead to another file, or be a pipe.
    """
    with open(_new_file(path), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _new_file(path: Path) -> int:
    access = os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags()
    try:
        return os.open(path, access, 0o666)
    except FileExistsError:
        path.unlink()
        return os.open(path, access, 0o666)


def erase(path: Path) -> None:
    """Remove a file, a link or a folder with its content; what cannot be removed stays."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` (files made, renamed, removed) are on the disk.

    Windows opens no folder, and its file system writes the names in order by itself.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(
    folder: Path,
    error: OSError,
    *,
    what: str,
    needed: int,
    path: Path | None = None,
    next_step: NextStep = NextStep(),  # noqa: B008  (immutable)
) -> DataError:
    """Return the error that says why ``what``, of ``needed`` bytes, could not be written to ``folder``.

    Args:
        folder: where it was to be written.
        error: of the operating system.
        what: in words, or the name of a file.
        needed: bytes.
        path: of the file, where it is a single one.
        next_step: the advice.
    """
    if error.errno not in _FULL:
        return DataError(f"{path or folder} cannot be written ({error.strerror}); {next_step.elsewhere}")
    free = "fewer"
    with suppress(OSError):
        free = str(shutil.disk_usage(folder).free)
    return DataError(
        f"{folder} has no room for {what}: {needed} bytes are needed, {free} are free ({error.strerror}); "
        f"free some space, {next_step.once_free}",
    )


def read_bytes(path: Path, *, most: int = MOST_BYTES, exactly: int | None = None) -> bytes:
    """Read a regular file inside its own folder: never a device, a pipe or a link to another folder.

    Args:
        path: of the file.
        most: largest size that is read; a larger file is refused before it is opened.
        exactly: the size that it must have.

    Raises:
        DataError: naming the file, and why it cannot be read.
    """
    try:
        _refuse_unfit(path, most=most, exactly=exactly)
        # Without blocking: what was a file a moment ago may be a pipe that nobody writes to.
        descriptor = open_own(path.resolve(), os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as file:
            size = os.fstat(descriptor).st_size
            data = file.read(min(size, most) + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    if len(data) != size:
        raise DataError(f"{path} changed while it was read")
    return data


def _refuse_unfit(path: Path, *, most: int, exactly: int | None) -> None:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, _KINDS.get(stat.S_IFMT(found.st_mode), "Is a device"))
    if path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve()):
        raise DataError(f"{path} must be a file of its own folder, got a link to {path.resolve()}")
    if exactly is not None and found.st_size != exactly:
        raise DataError(f"{path} has {found.st_size} of {exactly} bytes")
    if found.st_size > most:
        raise DataError(f"{path} has {found.st_size} bytes, more than the {most} that such a file can have")


def read_json(path: Path, *, most: int = MOST_JSON_BYTES) -> Any:
    """Read a JSON file of at most ``most`` bytes; ``records.read_json`` also checks its entries.

    Raises:
        DataError: naming the file, if it cannot be read or is not valid JSON.
    """
    data = read_bytes(path, most=most)
    try:
        return parse_json(data)
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error


def parse_json(data: bytes, *, strict: bool = True) -> Any:
    """Return the value of UTF-8 JSON text.

    Args:
        data: the text.
        strict: refuse what no writer of JSON produces. A large file of annotations is read without, six times as fast.

    Raises:
        ValueError: if it is not JSON; with ``strict`` also if it repeats a name in an object, nests deeper than 32
            levels or holds text that is not Unicode.
    """
    try:
        if not strict:
            return json.loads(data)
        values = json.loads(data.decode("utf-8"), object_pairs_hook=_without_repeats)
    except RecursionError:
        raise ValueError(f"it nests deeper than {_MOST_LEVELS} levels") from None
    _refuse_odd(values)
    return values


def shown_json(value: Any) -> str:
    """Return ``value`` as JSON of at most 60 characters, for a message about a file."""
    words = json.dumps(value)
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it holds {shown_json(repeated)} twice")
    return values


def _refuse_odd(values: Any) -> None:
    waiting = [(values, 1)]
    while waiting:
        value, level = waiting.pop()
        if level > _MOST_LEVELS:
            raise ValueError(f"it nests deeper than {_MOST_LEVELS} levels")
        if isinstance(value, str):
            value.encode()  # a lone surrogate cannot be written out again: UnicodeEncodeError is a ValueError
        elif isinstance(value, list):
            waiting.extend((entry, level + 1) for entry in value)
        elif isinstance(value, dict):
            waiting.extend((entry, level + 1) for pair in value.items() for entry in pair)
