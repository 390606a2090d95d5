"""Read a folder of images with one subfolder per class."""

import os
import warnings
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lt_fast.counts import EmptyPolicy
from lt_fast.datasets.classes import ClassesLike, GivenClasses, empty_policy, given_classes, warn_of_lookalikes
from lt_fast.datasets.folder_structure import structure
from lt_fast.datasets.folders import FolderId, folder_id, leads_to_file, leads_to_folder, unreadable_folder
from lt_fast.datasets.image_endings import image_endings, passed_over, unread_images
from lt_fast.datasets.image_files import ImageFiles, Transform, checked_files
from lt_fast.datasets.paths import Paths
from lt_fast.errors import DataError


class _Images(NamedTuple):
    """The images of a class folder, relative to the root."""

    taken: list[str]
    others: list[str]


def image_folder(
    root: str | PathLike[str],
    *,
    classes: ClassesLike | None = None,
    extensions: str | Sequence[str] | None = None,
    empty: EmptyPolicy | None = None,
    transform: Transform | None = None,
) -> ImageFiles:
    """Return the images under ``root/<class>/``, at any depth.

    Classes, their numbers and the order of the images equal ``torchvision.datasets.ImageFolder(root)``: the subfolders
    sorted by name, the images by folder and name. Names are sorted as text, ``"10"`` before ``"2"``. A folder numbers
    its own classes, so pass ``classes=train`` for every set but the training set: a test folder that lacks a class
    would shift the numbers of the classes after it.

    Differs from torchvision: names that begin with a dot (``.git``, ``.ipynb_checkpoints``, ``._photo.jpg``) and
    folders of systems and archivers (``__MACOSX``, ``@eaDir``, ``$RECYCLE.BIN``, ``lost+found``, ...) are passed over,
    a link to a folder that holds it is followed once, and more endings are images: ``.jfif``, ``.gif``, ``.avif``,
    ``.jp2`` and others that Pillow decodes, and ``.heic`` with the extra ``photos``;
    ``extensions=torchvision.datasets.folder.IMG_EXTENSIONS`` takes torchvision's alone.

    With the default endings a warning names files that look like images and are not read (``.cr2``, a JPEG file with
    another ending; ``.heic`` without the extra). Another warning names images that are in no class folder, and folders
    that look like splits (``train``, ``val``) or like the wrapping of class folders.

    Args:
        root: folder of the class folders.
        classes: names of the classes in the order of their numbers, or the data set that has them. A folder may be
            absent; one of another name is an error. Accents match in either Unicode form.
        extensions: endings of image files, one or several; case does not matter. By default those that can be read:
            Pillow's, and HEIC's where pillow-heif is installed.
        empty: ``"error"``, or ``"ignore"`` to let a class hold no image; the class keeps its number. By default
            ``"ignore"`` with ``classes``, else ``"error"``.
        transform: called with each image.

    Raises:
        DataError: if ``root`` is not a folder, has no class folder, a class folder is none of ``classes`` or holds no
            image (it is named), an image is a link to nothing, or a name is not UTF-8.
        TypeError: if ``classes`` is not a sequence of strings.
        ValueError: if ``classes`` repeats a name.

    >>> from PIL import Image
    >>> for name in ("train/oak/1.jpg", "train/beech/1.jpg", "test/oak/2.jpg"):
    ...     Path(name).parent.mkdir(parents=True)
    ...     Image.new("RGB", (8, 8)).save(name)
    >>> train = image_folder("train")
    >>> test = image_folder("test", classes=train)  # the same numbers, although it has no beech
    >>> train.classes, test.labels
    (('beech', 'oak'), array([1]))
    """
    root = Path(root)
    given, empty = given_classes(classes), empty_policy(empty, classes)
    folders = _class_folders(root)
    numbers = _numbers(root, folders, given)
    endings = _lower_case(image_endings() if extensions is None else extensions)
    images = [_images(root, name, endings) for name in folders]
    _refuse_bare(root, folders, images, endings, empty)
    labels = np.repeat(np.array(numbers, np.int64), [len(found.taken) for found in images])
    paths = (path for found in images for path in found.taken)
    try:
        files = ImageFiles(Paths(paths), labels, folders if given is None else given.names, root, transform)
    except ValueError as error:
        raise DataError(f"{root}: {error}") from None
    if extensions is None:
        _warn_of_unread(root, images)
    if given is None:
        _warn_of_structure(root, folders, files.paths)
    return checked_files(files, source=str(root), empty=empty, verify=False, where=str)


def _lower_case(extensions: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(ending.lower() for ending in ([extensions] if isinstance(extensions, str) else extensions))


def _class_folders(root: Path) -> tuple[str, ...]:
    try:
        with os.scandir(root) as entries:
            folders = sorted(entry.name for entry in entries if not passed_over(entry.name) and leads_to_folder(entry))
    except OSError as error:
        raise unreadable_folder(root, error) from error
    if not folders:
        raise DataError(f"{root} must hold one folder per class, got none; put the images into {root}/<class>/")
    return tuple(folders)


def _numbers(root: Path, folders: Sequence[str], given: GivenClasses | None) -> Sequence[int]:
    if given is None:
        return range(len(folders))
    found = list(map(given.lookup(), folders))
    strangers = [name for name, number in zip(folders, found, strict=True) if number is None]
    if strangers:
        more = f"; so are {len(strangers) - 1} other folders" if len(strangers) > 1 else ""
        raise DataError(f"{root / strangers[0]}: the folder's name {given.describe_unknown(strangers[0])}{more}")
    numbers = [number for number in found if number is not None]
    _refuse_twice(root, folders, numbers, given)
    return numbers


def _refuse_twice(root: Path, folders: Sequence[str], numbers: Sequence[int], given: GivenClasses) -> None:
    """Refuse two folders of one class, whose names differ in the Unicode form only."""
    first: dict[int, str] = {}
    for name, number in zip(folders, numbers, strict=True):
        if first.setdefault(number, name) != name:
            raise DataError(
                f"{root}: class {given.names[number]!r} must have one folder, got {first[number]!a} and {name!a}; move "
                "the images into one of them"
            )


def _refuse_bare(
    root: Path, folders: Sequence[str], images: Sequence[_Images], endings: Sequence[str], empty: EmptyPolicy
) -> None:
    bare = next((at for at, found in enumerate(images) if not found.taken), None)
    if bare is None or (empty == "ignore" and any(found.taken for found in images)):
        return
    unread = unread_images(root, images[bare].others)
    held = f", but {unread}" if unread else ""
    raise DataError(
        f"{root / folders[bare]} holds no image ({', '.join(endings)}){held}; remove the folder, or pass empty='ignore'"
    )


def _images(root: Path, name: str, extensions: tuple[str, ...]) -> _Images:
    images = _Images([], [])
    for folder, file, is_file in sorted(_walk(root, name, frozenset({folder_id(root)}))):
        path = f"{folder}/{file}"
        taken = file.lower().endswith(extensions)
        if taken and not is_file:
            raise DataError(f"{root / path} is no file, or a link to nothing; remove it, or mend the link")
        if is_file:
            (images.taken if taken else images.others).append(path)
    return images


def _walk(root: Path, folder: str, above: frozenset[FolderId]) -> Iterator[tuple[str, str, bool]]:
    """Yield (folder, file name, whether it is a file) for all under ``folder``; ``above`` are its parent folders."""
    try:
        here = folder_id(root / folder)
        with os.scandir(root / folder) as listed:
            entries = [entry for entry in listed if not passed_over(entry.name)]
    except OSError as error:
        raise unreadable_folder(root / folder, error) from error
    if here in above:
        return
    for entry in entries:
        if leads_to_folder(entry):
            yield from _walk(root, f"{folder}/{entry.name}", above | {here})
        else:
            yield folder, entry.name, leads_to_file(entry)


def _warn_of_unread(root: Path, images: Sequence[_Images]) -> None:
    unread = unread_images(root, [path for found in images for path in found.others])
    if unread:
        warnings.warn(
            f"{root}: passed over {unread}, or name their endings in extensions= where Pillow reads them",
            stacklevel=3,
        )
    with os.scandir(root) as entries:
        loose = sorted(entry.name for entry in entries if not passed_over(entry.name) and leads_to_file(entry))
    loose = [name for name in loose if name.lower().endswith(image_endings())]
    if loose:
        warnings.warn(
            f"{root}: passed over {len(loose)} image{'s' * (len(loose) > 1)} in no class folder (first {loose[0]!r}); "
            f"move them into {root}/<class>/",
            stacklevel=3,
        )


def _warn_of_structure(root: Path, folders: Sequence[str], paths: Sequence[str]) -> None:
    warn_of_lookalikes(folders, str(root))
    found = structure(root, folders, paths)
    if found is not None:
        warnings.warn(f"{root}: {found.words}", stacklevel=3)
