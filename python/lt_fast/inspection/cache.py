"""Facts about files that were looked at before: one SQLite file per folder of photographs, outside that folder."""

import hashlib
import json
import os
import sqlite3
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from lt_fast.errors import DataError, UsageError
from lt_fast.inspection.facts import Facts

_VERSION = 1  # of the facts: a later one reads nothing of an earlier one
_APPLICATION = 0x6C746669  # "ltfi" in SQLite's header: no other program's file is written to
_PATIENCE = 20.0  # seconds to wait for another process that writes
_BETWEEN = 2.0  # seconds between two commits: what an interruption may lose


class Key(NamedTuple):
    """By what a file is known again: a changed file has another size or time."""

    path: str
    size: int
    changed: int


def key_of(file: str) -> Key:
    """Return the key of a file; one that is not there, or that this user may not read now, has the size -1."""
    try:
        status = os.stat(file)  # noqa: PTH116  (Path objects cost more than the question itself)
    except OSError:
        return Key(file, -1, 0)
    # Rights may change where size and time do not.
    if not os.access(file, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        return Key(file, -1, 0)
    return Key(file, status.st_size, status.st_mtime_ns)


def default_cache(root: Path) -> Path | None:
    """Return where the facts about the files of ``root`` are stored: ``~/.cache/lt-fast/inspect-<hash>.sqlite``.

    ``XDG_CACHE_HOME`` replaces ``~/.cache``, as the XDG Base Directory Specification says. None where that is inside
    ``root``, which is only read.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~"), ".cache")  # noqa: PTH111, PTH117
    name = hashlib.blake2b(os.fsencode(root.resolve()), digest_size=6).hexdigest()
    path = folder / "lt-fast" / f"inspect-{name}.sqlite"
    return None if path.resolve().is_relative_to(root.resolve()) else path


class FactsCache:
    """Facts by key, in one SQLite file; without a path it stores nothing.

    A transaction is committed every two seconds and at the end, so a process that is killed loses seconds of work, and
    the file is whole after a crash. A file that cannot be used is warned of, and the work goes on without it.

    Args:
        path: of the file, which is made with its folders; None stores nothing.

    Raises:
        UsageError: if the file is there and is no cache of this command.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._committed = time.monotonic()
        self._empty = True
        self._database: sqlite3.Connection | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = _opened(path)
            self._empty = self._database.execute("SELECT 1 FROM files LIMIT 1").fetchone() is None
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._database is not None:
            try:
                self._database.commit()
            except sqlite3.Error as error:
                self._give_up(error)
        if self._database is not None:
            self._database.close()

    def found(self, key: Key) -> Facts | None:
        """Return the facts of a file that has not changed, or None."""
        if self._database is None or self._empty:
            return None
        try:
            row = self._database.execute("SELECT size, changed, facts FROM files WHERE path = ?", (_text(key.path),))
            stored = row.fetchone()
            if stored is None or stored[:2] != (key.size, key.changed):
                return None
            return Facts(*json.loads(stored[2]))
        except (sqlite3.Error, ValueError, TypeError) as error:
            self._give_up(error)
            return None

    def store(self, facts: Iterable[tuple[Key, Facts]]) -> None:
        """Store facts; those of files that cannot be read are not: a right or a package may come to be given."""
        if self._database is None:
            return
        rows = [(_text(key.path), key.size, key.changed, json.dumps(each)) for key, each in facts if not each.problem]
        try:
            self._empty = False
            self._database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)
            if time.monotonic() - self._committed > _BETWEEN:
                self._database.commit()
                self._committed = time.monotonic()
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
        self._database = None
        warnings.warn(
            f"{self.path} cannot be used ({error}), so nothing is remembered for the next time; remove it, or name "
            "another folder with XDG_CACHE_HOME",
            stacklevel=3,
        )


def _opened(path: Path) -> sqlite3.Connection:
    new = not path.exists() or path.stat().st_size == 0
    if not new and not path.is_file():
        raise UsageError(f"--cache must name a file, got {path}, which is none; name another")
    database = sqlite3.connect(path, timeout=_PATIENCE)
    try:
        if not new:
            _require_own(database, path)
        database.execute(f"PRAGMA application_id = {_APPLICATION}")
        if database.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            database.execute("DROP TABLE IF EXISTS files")
            database.execute(f"PRAGMA user_version = {_VERSION}")
        database.execute(
            "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, facts TEXT)"
        )
        database.commit()
    except BaseException:
        database.close()
        raise
    return database


def _require_own(database: sqlite3.Connection, path: Path) -> None:
    try:
        owner = database.execute("PRAGMA application_id").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise UsageError(
            f"--cache must name a new file or one of lt-fast inspect, got {path} ({error}); name another"
        ) from None
    if owner != _APPLICATION:
        raise UsageError(f"--cache must name a new file or one of lt-fast inspect, got {path}; name another")


def _text(path: str) -> str:
    """Return the absolute path as text that SQLite takes: bytes that are no UTF-8 are escaped."""
    absolute = os.path.abspath(path)  # noqa: PTH100  (a link keeps its own name)
    return absolute.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def refuse_inside(root: Path, path: Path, option: str) -> None:
    """Refuse to write into the folder of the photographs.

    Raises:
        UsageError: if ``path`` is inside ``root``.
        DataError: if a link in one of them leads in a circle.
    """
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path} cannot be used: {error}; name another path") from error
    if inside:
        raise UsageError(
            f"{option} must be outside the folder of the photographs, which is only read, got {path} in {root}; name "
            "another path"
        )
