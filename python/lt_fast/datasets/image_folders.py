"""A folder of images, one subfolder a class."""

import os
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from lt_fast.counts import EmptyPolicy
from lt_fast.datasets.image_files import ImageFiles, Transform, checked_files
from lt_fast.datasets.paths import Paths
from lt_fast.errors import DataError

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""What counts as an image, in lower case; torchvision's list."""


def image_folder(
    root: str | PathLike[str],
    *,
    extensions: str | Sequence[str] = IMAGE_EXTENSIONS,
    empty: EmptyPolicy = "error",
    transform: Transform | None = None,
) -> ImageFiles:
    """Return the images under ``root/<class>/``, at any depth.

    Classes, their numbers and the order of the images equal ``torchvision.datasets.ImageFolder(root)``: the subfolders
    sorted by name, the images by folder and name. So a class keeps its number as long as no folder comes or goes.
    Differs from torchvision: names that begin with a dot (``.git``, ``.ipynb_checkpoints``, ``._photo.jpg``) are passed
    over, and a link to a folder that holds it is followed once.

    Args:
        root: folder of the class folders.
        extensions: endings of image files, one or several; case does not matter.
        empty: ``"error"``, or ``"ignore"`` to let a class folder hold no image; the class keeps its number.
        transform: called with each image.

    Raises:
        DataError: if ``root`` is no folder, has no class folder, a class folder holds no image (it is named), or a name
            is not UTF-8.
    """
    root = Path(root)
    classes = _class_folders(root)
    endings = tuple(ending.lower() for ending in ([extensions] if isinstance(extensions, str) else extensions))
    images = [_images(root, name, endings) for name in classes]
    bare = next((name for name, found in zip(classes, images, strict=True) if not found), None)
    if bare is not None and (empty == "error" or not any(images)):
        raise DataError(
            f"{root / bare} holds no image ({', '.join(endings)}); remove the folder, or pass empty='ignore'"
        )
    labels = np.repeat(np.arange(len(classes)), [len(found) for found in images])
    try:
        files = ImageFiles(Paths(path for found in images for path in found), labels, classes, root, transform)
    except ValueError as error:
        raise DataError(f"{root}: {error}") from None
    return checked_files(files, source=str(root), empty=empty, verify=False, where=str)


def _class_folders(root: Path) -> tuple[str, ...]:
    try:
        with os.scandir(root) as entries:
            classes = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{root} cannot be read as a folder: {error.strerror}") from error
    if not classes:
        raise DataError(f"{root} must hold one folder a class, got none; put the images into {root}/<class>/")
    return tuple(classes)


def _images(root: Path, name: str, extensions: tuple[str, ...]) -> list[str]:
    found = sorted(_walk(root, name, frozenset()))
    return [f"{folder}/{file}" for folder, file in found if file.lower().endswith(extensions)]


def _walk(root: Path, folder: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, str]]:
    """Give (folder, file name) of every file under ``folder``; ``above`` are the folders on the way here."""
    try:
        status = (root / folder).stat()
        with os.scandir(root / folder) as listed:
            entries = [entry for entry in listed if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{root / folder} cannot be read as a folder: {error.strerror}") from error
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in entries:
        if entry.is_dir():
            yield from _walk(root, f"{folder}/{entry.name}", above | {here})
        else:
            yield folder, entry.name
