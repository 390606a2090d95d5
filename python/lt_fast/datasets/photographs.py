"""Photographs of your own, named as a user has them: a folder of class folders, a list, a table, iNaturalist's JSON."""

import os
import re
import warnings
from pathlib import Path
from typing import NamedTuple

from lt_fast.datasets.classes import ClassesLike
from lt_fast.datasets.csv_tables import csv_table
from lt_fast.datasets.hugging_face import PREFIX, hugging_face_files
from lt_fast.datasets.image_files import ImageFiles
from lt_fast.datasets.image_folders import image_folder
from lt_fast.datasets.image_lists import image_list
from lt_fast.datasets.inaturalist import inaturalist
from lt_fast.errors import DataError, UsageError

TABLES = (".txt", ".csv", ".tsv", ".json")

# What the readers' messages name, and what a training has in its place.
_IN_TRAINING = (
    (r" \((\.\w+, )+\.\w+\)", ""),
    (r"remove the folder, or pass empty='ignore'", "remove the folder, or put images into it"),
    (r", or pass empty='ignore'", ""),
    (r"pass delimiter='\\t'", "add --set data.delimiter=tab"),
    (r"pass delimiter='(.)'", r"add --set 'data.delimiter=\1'"),
    (r"pass (image|label)= with the name of its column", r"add --set data.\1_column=NAME"),
    (r"pass root=('[^']*')", r"add --root \1"),
    (r"check root, or pass verify=False", "check --root, or take it out of the list"),
    (r", or name their endings in extensions= where Pillow reads them", ""),
    (
        r"must be one of classes, (.*)",
        r"must be a class of the training set, \1; take it out of --test, or put such images into the training set",
    ),
)


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
            (``csv_table``) or ``FILE.json`` (``inaturalist``); ``hf:NAME`` or ``hf:FOLDER``, a data set of the
            ``datasets`` library on disk (``hugging_face_files``). A ``TABLE.tsv`` has tabs between its columns.
        root: folder that the paths in a list, table or JSON file start from; by default the file's own folder.
        classes: the training set, for every other set: it decides the numbers of the classes.
        columns: of a table.

    Messages name the options of ``lt-fast train`` in place of the readers' arguments.

    Raises:
        DataError: if there is no such folder or file, or what it holds is wrong; see the readers. With ``classes``: if
            it holds a class that they do not have; the class is named.
        UsageError: if ``place`` is a file of another kind.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            files = _read(place, root, classes, columns)
        except DataError as error:
            raise DataError(_in_training(str(error))) from error
    for each in caught:
        warnings.warn(_in_training(str(each.message)), each.category, stacklevel=2)
    return files


def _read(
    place: str | os.PathLike[str], root: str | os.PathLike[str] | None, classes: ClassesLike | None, columns: Columns
) -> ImageFiles:
    if str(place).startswith(PREFIX):
        table = hugging_face_files(str(place))
        return csv_table(table, table.parent, classes=classes)
    path = Path(place)
    if path.is_dir():
        return image_folder(path, classes=classes)
    kind = path.suffix.lower()
    if kind not in TABLES or not path.exists():
        _refuse(path)
    folder = path.parent if root is None else Path(root)
    if kind == ".txt":
        return image_list(path, folder, classes=classes)
    if kind == ".json":
        return inaturalist(path, folder, classes=classes)
    image, label, delimiter = columns
    if delimiter == "tab" or (kind == ".tsv" and columns == Columns(image, label)):
        delimiter = "\t"
    return csv_table(path, folder, image=image, label=label, delimiter=delimiter, classes=classes)


def _refuse(path: Path) -> None:
    if path.is_file():
        raise UsageError(f"data must be a folder, LIST.txt, TABLE.csv or FILE.json, got the file {path}")
    raise DataError(
        f"{path} {_why_unusable(path)}; name a folder with one folder per class, a LIST.txt, TABLE.csv or FILE.json"
    )


def _why_unusable(path: Path) -> str:
    try:
        path.stat()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "is no file"


def _in_training(message: str) -> str:
    for pattern, words in _IN_TRAINING:
        message = re.sub(pattern, words, message)
    return message
