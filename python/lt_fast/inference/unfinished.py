"""Rows of a CSV file that is being made: saved batch by batch, so that a stopped prediction can continue."""

import contextlib
import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from lt_fast._files import make_folder, open_own, replace_file, unwritable
from lt_fast._locks import hold
from lt_fast.errors import DataError, UsageError
from lt_fast.inference.predictions import csv_text
from lt_fast.training.run_directory import differences


class UnfinishedCsv:
    """A CSV file in the making: its rows are in ``FILE.part`` until ``finish`` writes FILE in one step.

    ``FILE.part`` has the identity of the prediction on its first line and one row on each other line, both as JSON. A
    line that a kill cut off is dropped.

    Args:
        file: the CSV file.
        identity: JSON values that tell this prediction from others.
        columns: of the CSV file.
        resume: continue with the rows that are there; without any, start.

    Attributes:
        rows: rows that were there.

    Raises:
        UsageError: if ``resume`` is False and the file or a stopped part is there, the part is of another prediction,
            or another process writes it.
        DataError: if the folder cannot be written, or the part is damaged.
    """

    def __init__(self, file: Path, identity: Mapping[str, Any], columns: Sequence[str], *, resume: bool) -> None:
        self.file, self.part, self._columns = file, file.with_name(f"{file.name}.part"), columns
        _refuse_unfit(file, self.part, resume=resume)
        make_folder(file.parent)
        try:
            self._part = os.fdopen(open_own(self.part, os.O_RDWR | os.O_CREAT | os.O_APPEND), "r+b")
        except OSError as error:
            raise unwritable(file.parent, error, what=self.part.name, needed=1, path=self.part) from error
        try:
            self._lock()
            self.rows = self._read(json.loads(json.dumps(identity)))
        except BaseException:
            self._part.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._part.close()

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Save rows.

        Raises:
            DataError: if the disk is full.
        """
        lines = b"".join(_line(list(row.values())) for row in rows)
        self._append(lines)
        self.rows += [dict(row) for row in rows]

    def finish(self) -> None:
        """Write the CSV file and remove the part.

        Raises:
            DataError: if the folder cannot be written; the part stays.
        """
        header = csv_text([dict.fromkeys(self._columns)], header_only=True)
        replace_file(self.file, (header + csv_text(self.rows)).encode("utf-8", "surrogateescape"))
        self._remove()

    def discard_if_empty(self) -> None:
        """Remove the part where it has no row: nothing is lost, and it must not block the next attempt."""
        if not self.rows:
            self._remove()

    def _remove(self) -> None:
        self._part.close()  # Windows removes no open file
        self.part.unlink(missing_ok=True)

    def _lock(self) -> None:
        try:
            hold(self._part.fileno())
        except BlockingIOError:
            raise UsageError(f"{self.part} is in use by another process; wait for it, or name another --csv") from None

    def _read(self, identity: dict[str, Any]) -> list[dict[str, Any]]:
        content = self._part.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._part.truncate(len(whole))
        if not whole:
            self._append(_line(identity))
            return []
        first, *lines = whole.splitlines()
        try:
            changed = differences(json.loads(first), identity)
            rows = [json.loads(line) for line in lines]
            kept = [] if changed else [dict(zip(self._columns, row, strict=True)) for row in rows]
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{self.part} is damaged: {error}; remove it and start again") from error
        if changed:
            raise UsageError(
                f"--resume needs the prediction that {self.part} began with, but {', '.join(changed.values())}; "
                "go back to it, or remove that file"
            )
        return kept

    def _append(self, data: bytes) -> None:
        try:
            self._part.seek(0, os.SEEK_END)
            self._part.write(data)
            self._part.flush()
        except OSError as error:
            raise unwritable(self.file.parent, error, what=self.part.name, needed=len(data), path=self.part) from error


def _line(value: Any) -> bytes:
    return (json.dumps(value) + "\n").encode()


def _refuse_unfit(file: Path, part: Path, *, resume: bool) -> None:
    if file.is_dir():
        raise UsageError(f"--csv must name a file, got the folder {file}")
    with contextlib.suppress(OSError):
        if file.exists() and not part.exists():
            raise UsageError(f"{file} is there already; name another file with --csv, or remove it")
        if part.exists() and not resume:
            raise UsageError(f"{part} holds a stopped prediction; continue it with --resume, or remove it")
        return
    raise DataError(f"{file} cannot be used ({os.strerror(errno.EACCES)}); name another file with --csv")
