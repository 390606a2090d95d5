"""Photographs of your own, named as a user has them: a folder of class folders, a list, a table, iNaturalist's JSON."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from lt_fast._extras import require
from lt_fast.datasets.classes import ClassesLike
from lt_fast.datasets.csv_tables import csv_table
from lt_fast.datasets.image_files import ImageFiles, read_image
from lt_fast.datasets.image_folders import image_folder
from lt_fast.datasets.image_lists import image_list
from lt_fast.datasets.inaturalist import inaturalist
from lt_fast.errors import DataError, UsageError

TABLES = (".txt", ".csv", ".json")

_AHEAD = 512  # images per turn of the threads: an interruption waits for no more


class Columns(NamedTuple):
    """Names of the columns of a table, and the character between them."""

    image: str = "path"
    label: str = "label"
    delimiter: str = ","


def read_photographs(
    place: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    classes: ClassesLike | None = None,
    columns: Columns = Columns(),  # noqa: B008  (immutable)
) -> ImageFiles:
    """Return the images that ``place`` names, with their labels.

    Args:
        place: a folder with one folder per class (``image_folder``); ``LIST.txt`` (``image_list``), ``TABLE.csv``
            (``csv_table``) or ``FILE.json`` (``inaturalist``).
        root: folder that the paths in a list, table or JSON file start from; by default the file's own folder.
        classes: the training set, for every other set: it decides the numbers of the classes.
        columns: of a table.

    Raises:
        DataError: if there is no such folder or file, or what it holds is wrong; see the readers. With ``classes``: if
            it holds a class that they do not have; the class is named.
        UsageError: if ``place`` is a file of another kind.
    """
    path = Path(place)
    if path.is_dir():
        return image_folder(path, classes=classes)
    kind = path.suffix.lower()
    if kind not in TABLES:
        _refuse(path)
    if not path.exists():
        raise DataError(
            f"{path} is missing; name a folder with one folder per class, a LIST.txt, TABLE.csv or FILE.json"
        )
    folder = path.parent if root is None else Path(root)
    if kind == ".txt":
        return image_list(path, folder, classes=classes)
    if kind == ".json":
        return inaturalist(path, folder, classes=classes)
    image, label, delimiter = columns
    return csv_table(path, folder, image=image, label=label, delimiter=delimiter, classes=classes)


def damaged_images(files: ImageFiles, *, progress: bool = False, threads: int | None = None) -> dict[int, str]:
    """Decode every image once, and return the row of each that cannot be read, with the reason.

    Args:
        files: the images.
        progress: show a bar on stderr (needs tqdm).
        threads: that decode together; by default one for each processor: Pillow decodes without the interpreter lock.
    """
    count = threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    tqdm = require("tqdm", extra="train", purpose="a progress bar").tqdm if progress else None
    bar = None if tqdm is None else tqdm(total=len(files), desc="checking images", unit="image", leave=False)
    found: dict[int, str] = {}
    try:
        with ThreadPoolExecutor(count) as pool:
            for start in range(0, len(files), _AHEAD):
                rows = range(start, min(start + _AHEAD, len(files)))
                faults = pool.map(lambda row: _fault(files.file(row)), rows)
                found |= {row: fault for row, fault in zip(rows, faults, strict=True) if fault is not None}
                if bar is not None:
                    bar.update(len(rows))
    finally:
        if bar is not None:
            bar.close()
    return found


def _fault(file: Path) -> str | None:
    try:
        read_image(file)
    except DataError as error:
        return str(error)
    return None


def _refuse(path: Path) -> None:
    if path.is_file():
        raise UsageError(f"data must be a folder, LIST.txt, TABLE.csv or FILE.json, got the file {path}")
    raise DataError(f"{path} is missing; name a folder with one folder per class, a LIST.txt, TABLE.csv or FILE.json")
