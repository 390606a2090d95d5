"""Find a file that a list names in another spelling."""

import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from lt_fast.datasets.image_endings import HEIF_EXTENSIONS, IMAGE_EXTENSIONS


class Found(NamedTuple):
    """An existing file: its path as a list must write it, and how the list's spelling differs."""

    path: str
    difference: str


def other_spelling(root: Path, name: str) -> Found | None:
    """Return the one file under ``root`` that ``name`` names in another spelling, or None.

    Spellings: backslashes, ``%20`` and its like, blanks at the ends, Unicode forms of accents, case, a left-out ending.
    Lists the folders on the way.
    """
    for change, changed in _rewritten(name):
        path = Path(root, changed)
        if changed != name and path.is_file():
            return Found(changed, change)
        found = _resolved(root, changed)
        if found is not None and found != name:
            return Found(found, _difference(change, changed, found))
    return None


def other_root(root: Path, name: str, source: Path) -> Path | None:
    """Return a folder near the list or ``root`` from which ``name`` is a file, or None."""
    candidates = (source.parent, root.parent, source.parent / root, Path())
    return next((folder for folder in candidates if folder != root and (folder / name).is_file()), None)


def _rewritten(name: str) -> Iterator[tuple[str, str]]:
    yield "", name
    slashes = name.replace("\\", "/")
    if slashes != name:
        yield "with / in place of \\", slashes
    if slashes.strip() != slashes:
        yield "without blanks at the ends", slashes.strip()
    if unquote(slashes) != slashes:
        yield "without percent signs", unquote(slashes)


def _resolved(root: Path, name: str) -> str | None:
    """Walk down from ``root``, at each step to the entry of that name, or to the only similar one."""
    parts = name.split("/")
    written: list[str] = []
    for at, part in enumerate(parts):
        folder = Path(root, "/".join(written) or ("/" if name.startswith("/") and at else ""))
        entry = part if (folder / part).exists() else _resembling(folder, part, last=at == len(parts) - 1)
        if entry is None:
            return None
        written.append(entry)
    found = "/".join(written)
    return found if Path(root, found).is_file() else None


def _resembling(folder: Path, part: str, *, last: bool) -> str | None:
    try:
        entries = os.listdir(folder)  # noqa: PTH208  (names alone are wanted)
    except OSError:
        return None
    rules: list[Callable[[str], str]] = [_composed, lambda text: _composed(text).casefold()]
    for rule in rules:
        alike = [entry for entry in entries if rule(entry) == rule(part)]
        if alike:
            return alike[0] if len(alike) == 1 else None
    endings = [entry for entry in entries if last and _stem(entry) == part]
    return endings[0] if len(endings) == 1 else None


def _stem(entry: str) -> str | None:
    stem, ending = os.path.splitext(entry)  # noqa: PTH122
    return stem if ending.lower() in (*IMAGE_EXTENSIONS, *HEIF_EXTENSIONS) else None


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _difference(change: str, written: str, found: str) -> str:
    if written == found:
        return change
    if _composed(written) == _composed(found):
        form = next((form for form in ("NFD", "NFC") if unicodedata.normalize(form, written) == found), "another form")
        own = f"with accents in the Unicode form {form}: unicodedata.normalize({form!r}, path)"
    elif _composed(written).casefold() == _composed(found).casefold():
        own = "in other case"
    else:
        own = "with its ending"
    return f"{change} and {own}" if change else own
