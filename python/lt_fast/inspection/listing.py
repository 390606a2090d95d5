"""List the photographs of a folder, a list, a table or iNaturalist's JSON; what is passed over is counted."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lt_fast.datasets.csv_tables import csv_table
from lt_fast.datasets.folder_structure import Structure, structure
from lt_fast.datasets.folders import FolderId, folder_id, unreadable_folder
from lt_fast.datasets.hugging_face import PREFIX, hugging_face_files
from lt_fast.datasets.image_endings import (
    HEIF_EXTENSIONS,
    HEIF_INSTALL,
    has_heif_reader,
    image_endings,
    looks_like_image,
    passed_over,
)
from lt_fast.datasets.image_files import ImageFiles
from lt_fast.datasets.image_lists import image_list
from lt_fast.datasets.inaturalist import inaturalist
from lt_fast.errors import DataError, UsageError

TABLES = (".txt", ".csv", ".tsv", ".json")

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}

HIDDEN = "hidden, or made by an operating system"
NO_CLASS = "in no class folder; move it into the folder of its class"
NO_IMAGE = "no image, by its ending and first bytes"
NEEDS_HEIF = f"HEIC needs pillow-heif: {HEIF_INSTALL}"
OTHER_FORMAT = "an image of an ending that is not read; convert it to PNG or JPEG"
CIRCLE = "a link that leads in a circle; remove it"
NOTHING = "a link to nothing; remove it, or mend the link"
INSIDE = "a link to a folder that it is in; remove it"
CLOSED = "cannot be opened; allow it: chmod -R u+rX"
NOT_UTF8 = "its name is not UTF-8; rename it"


class Listing(NamedTuple):
    """Photographs and their classes, before any of them is opened.

    Attributes:
        root: folder that the paths start from.
        paths: of the photographs, relative to ``root`` or absolute.
        labels: the class number of each.
        classes: names, in the order of their numbers; a class may have no photograph.
        passed_over: path to reason, of what is not read. A folder stands for all that is in it.
        structure: what the folders look like, where that is probably not meant, or None.
    """

    root: Path
    paths: Sequence[str]
    labels: Sequence[int]
    classes: tuple[str, ...]
    passed_over: Mapping[str, str]
    structure: Structure | None = None

    def files(self) -> list[str]:
        """Return the paths as the operating system takes them."""
        return [os.path.join(self.root, path) for path in self.paths]  # noqa: PTH118


def listed(data: str | Path, root: Path | None = None, **columns: Any) -> Listing:
    """Return the photographs that ``data`` names.

    Args:
        data: a folder of class folders, ``LIST.txt``, ``TABLE.csv``, ``TABLE.tsv``, ``FILE.json`` (iNaturalist), or
            ``hf:NAME`` for a data set of the ``datasets`` library on this machine; see ``hugging_face_files``.
        root: folder that the paths of a file start from; by default the file's own.
        columns: ``image``, ``label`` and ``delimiter`` of a table; see ``csv_table``.

    Raises:
        DataError: if there is nothing of that name, or no photograph in it.
        UsageError: if it is a file of another kind.

    >>> from PIL import Image
    >>> for name in ("photos/oak/1.jpg", "photos/beech/1.jpg"):
    ...     Path(name).parent.mkdir(parents=True)
    ...     Image.new("RGB", (64, 64)).save(name)
    >>> found = listed("photos")
    >>> found.classes, found.paths, found.labels
    (('beech', 'oak'), ['beech/1.jpg', 'oak/1.jpg'], [0, 1])
    """
    path = hugging_face_files(str(data)) if str(data).startswith(PREFIX) else Path(data)
    if path.is_dir():
        return list_folder(path)
    kind = path.suffix.lower()
    if kind not in TABLES and path.exists():
        raise UsageError(f"data must be a folder, LIST.txt, TABLE.csv or FILE.json, got the file {path}")
    try:
        path.stat()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}; name a folder with one folder per class, a LIST.txt, TABLE.csv "
            "or FILE.json"
        ) from None
    return _of_files(_read(path, kind, path.parent if root is None else root, columns))


def _read(path: Path, kind: str, root: Path, columns: Mapping[str, Any]) -> ImageFiles:
    if kind == ".txt":
        return image_list(path, root, empty="ignore", verify=False)
    if kind == ".json":
        return inaturalist(path, root, empty="ignore", verify=False)
    if kind == ".tsv":
        columns = {"delimiter": "\t", **columns}
    return csv_table(path, root, empty="ignore", verify=False, **columns)


def _of_files(files: ImageFiles) -> Listing:
    return Listing(files.root, list(files.paths), files.labels.tolist(), files.classes, {})


def list_folder(root: Path) -> Listing:
    """Return the images under ``root/<class>/``, at any depth, in the order of ``image_folder``.

    Raises:
        DataError: if ``root`` cannot be read, has no class folder, or no image.
    """
    walk = _Walk(root)
    classes = walk.class_folders()
    if not classes:
        raise DataError(f"{root} must hold one folder per class, got none; {_where_images_are(root, walk)}")
    images = [walk.images_of(name) for name in classes]
    paths = [path for found in images for path in found]
    if not paths:
        raise DataError(f"{root} holds no image in its {len(classes)} class folders{_why_none(walk.passed_over)}")
    labels = [number for number, found in enumerate(images) for _ in found]
    return Listing(root, paths, labels, tuple(classes), walk.passed_over, structure(root, classes, paths))


class _Walk:
    """Lists folders and notes what is passed over."""

    def __init__(self, root: Path) -> None:
        self.root, self.passed_over = root, dict[str, str]()
        self._endings = image_endings()
        try:
            self._above = frozenset({folder_id(root)})
        except OSError as error:
            raise unreadable_folder(root, error) from error

    def class_folders(self) -> list[str]:
        try:
            entries = list(os.scandir(self.root))
        except OSError as error:
            raise unreadable_folder(self.root, error) from error
        folders = {entry.name for entry in entries if self._is_open_folder(entry, entry.name)}
        for entry in entries:
            if entry.name not in folders and entry.name not in self.passed_over:
                self._take_file(entry, entry.name, [])
                # Whatever it is, at the top it is in no class.
                reason = self.passed_over.get(entry.name)
                self.passed_over[entry.name] = NO_CLASS if reason is None else reason
        return sorted(folders)

    def images_of(self, name: str) -> list[str]:
        images: list[tuple[str, str]] = []
        self._list(name, self._above, images)
        return [f"{folder}/{file}" for folder, file in sorted(images)]

    def _list(self, folder: str, above: frozenset[FolderId], images: list[tuple[str, str]]) -> None:
        try:
            here = folder_id(self.root / folder)
            entries = [] if here in above else list(os.scandir(self.root / folder))
        except OSError as error:
            self.passed_over[folder] = CLOSED if isinstance(error, PermissionError) else str(error.strerror)
            return
        if here in above:
            self.passed_over[folder] = INSIDE
            return
        for entry in entries:
            path = f"{folder}/{entry.name}"
            if self._is_open_folder(entry, path):
                self._list(path, above | {here}, images)
            elif path not in self.passed_over:
                taken: list[str] = []
                self._take_file(entry, path, taken)
                images.extend((folder, name) for name in taken)

    def _is_open_folder(self, entry: os.DirEntry[str], path: str) -> bool:
        """Whether an entry is a folder to be read; notes the reason where a name or a link is passed over."""
        if passed_over(entry.name):
            self.passed_over[path] = HIDDEN
            return False
        try:
            return entry.is_dir()
        except OSError as error:
            self.passed_over[path] = CIRCLE if error.errno == errno.ELOOP else str(error.strerror)
            return False

    def _take_file(self, entry: os.DirEntry[str], path: str, taken: list[str]) -> None:
        """Append the name of an image to ``taken``, or note why it is none."""
        reason = _no_image(entry, self._endings)
        if reason is None:
            taken.append(entry.name)
        else:
            self.passed_over[path] = reason


def _no_image(entry: os.DirEntry[str], endings: tuple[str, ...]) -> str | None:
    try:
        regular = entry.is_file()
    except OSError as error:
        return str(error.strerror)
    if not regular:
        return _kind(entry)
    if not _is_utf8(entry.name):
        return NOT_UTF8
    if entry.name.lower().endswith(endings):
        return None
    if entry.name.lower().endswith(HEIF_EXTENSIONS) and not has_heif_reader():
        return NEEDS_HEIF
    return OTHER_FORMAT if looks_like_image(entry.path) else NO_IMAGE


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        return _KINDS.get(stat.S_IFMT(entry.stat().st_mode), "no file")
    except OSError:
        return NOTHING


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # a lone surrogate: how Python shows the bytes of another encoding
        return False
    return True


def _where_images_are(root: Path, walk: _Walk) -> str:
    loose = sum(reason == NO_CLASS for reason in walk.passed_over.values())
    closed = sum(reason == CIRCLE for reason in walk.passed_over.values())
    held = f"it holds {loose} images in no folder: " if loose else ""
    circles = f" ({closed} links lead in a circle)" if closed else ""
    return f"{held}put the images into {root}/<class>/{circles}"


def _why_none(reasons: Mapping[str, str]) -> str:
    counted = Counter(reason for reason in reasons.values() if reason != HIDDEN)
    if not counted:
        return "; put the images of each class into its folder"
    reason, times = counted.most_common(1)[0]
    first = next(path for path, each in reasons.items() if each == reason)
    return f", but passed over {times} of which it says: {reason} (first {first!r})"
