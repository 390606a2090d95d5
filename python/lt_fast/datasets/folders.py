"""Steps of a walk through folders that links may lead in circles, and that may be closed to the reader."""

import os
from pathlib import Path
from typing import TypeAlias

from lt_fast.errors import DataError

FolderId: TypeAlias = tuple[int, int]
"""Device and inode: the same for every name of a folder."""


def folder_id(folder: Path) -> FolderId:
    """Return what names of one folder have in common.

    Raises:
        OSError: if it is not there.
    """
    status = folder.stat()
    return status.st_dev, status.st_ino


def leads_to_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; links in a circle, or into a closed folder, lead to none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def leads_to_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file or a link to one; the folder's own listing says so, without a look at each file."""
    try:
        return entry.is_file()
    except OSError:
        return False


def unreadable_folder(folder: Path, error: OSError) -> DataError:
    """Return the error that says why ``folder`` cannot be listed, and the next step."""
    step = f"; allow it: chmod -R u+rX {folder}" if isinstance(error, PermissionError) else ""
    return DataError(f"{folder} cannot be read as a folder: {error.strerror}{step}")
