"""Read images and labels from a CSV table."""

import csv
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

from lt_fast._text import nearest
from lt_fast.counts import EmptyPolicy
from lt_fast.datasets.classes import ClassesLike, empty_policy, given_classes
from lt_fast.datasets.csv_labels import numbered
from lt_fast.datasets.image_endings import HEIF_EXTENSIONS, IMAGE_EXTENSIONS
from lt_fast.datasets.image_files import ImageFiles, Transform, checked_files, warn_of_contradictions
from lt_fast.datasets.paths import Paths
from lt_fast.datasets.regular_files import regular
from lt_fast.errors import DataError


def csv_table(
    path: str | PathLike[str],
    root: str | PathLike[str] = "",
    *,
    image: str = "path",
    label: str = "label",
    delimiter: str = ",",
    names: Sequence[str] | None = None,
    classes: ClassesLike | None = None,
    empty: EmptyPolicy | None = None,
    verify: bool = True,
    transform: Transform | None = None,
) -> ImageFiles:
    r"""Read a CSV file with a header, one image per row.

    Labels that are all integers are the classes' numbers. Other labels are words, numbered in sorted order, or in that
    of ``names`` or ``classes``. A column that holds numbers next to words (``NaN``, ``?``), or numbers such as ``1.0``,
    as which spreadsheets may write integers, is refused by the line of its first label that is not an integer: as words
    they would be sorted 0, 1, 10, 2. The order of the images is the file's.

    A table numbers the words of its own column, so pass ``classes=train`` for every set but the training set: a test
    table that lacks a class would shift the numbers of the classes after it.

    Blanks around a cell are left out, and so are rows without any cell. Words are compared in the composed form (NFC)
    of Unicode; case counts.

    Args:
        path: UTF-8 text, quoted as spreadsheets do.
        root: folder that the paths start from.
        image: name of the column of paths.
        label: name of the column of labels.
        delimiter: one character between the columns.
        names: of the classes: the words in the column in the order wanted, or the names of the numbers.
        classes: the same for a table that may lack classes, such as a test table: names, or the training set that has
            them. A label that is none of them is an error.
        empty: ``"error"``, or ``"ignore"`` to let a class have no image. By default ``"ignore"`` with ``classes``, else
            ``"error"``.
        verify: look for every image: one question to the file system each.
        transform: called with each image.

    With ``names`` or ``classes``, labels that are all integers are positions in them, unless a class has a number for
    its name: then every label must be a name.

    Raises:
        DataError: if the file cannot be read, a column is missing (the nearest is named) or there twice, a row has too
            few or too many cells or an empty one, the labels are neither all integers nor all words, one is negative or
            none of ``names`` or ``classes``, a class has no image, or an image is missing; the line's number is named.
        TypeError: if ``names`` or ``classes`` is not a sequence of strings.
        ValueError: if it repeats a name, both are given, or ``delimiter`` is not one character.

    Warns:
        UserWarning: if an image is listed with two labels; without ``names`` and ``classes`` also for words that differ
            only in case or blanks, words such as ``NaN`` in a column of words, and numbers spelt in two ways (1, 01).

    >>> from pathlib import Path
    >>> _ = Path("labels.csv").write_text("file,species\n1.jpg,oak\n2.jpg,beech\n3.jpg,oak\n")
    >>> files = csv_table("labels.csv", "photos", image="file", label="species", verify=False)
    >>> files.classes, files.labels, files.paths[0]
    (('beech', 'oak'), array([1, 0, 1]), '1.jpg')
    """
    given, empty = given_classes(classes, names), empty_policy(empty, classes)
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"delimiter must be one character, such as ',', ';' or '\\t', got {delimiter!r}")
    rows = list(_rows(path, image, label, delimiter))
    lines, paths, words = zip(*rows, strict=True) if rows else ((), (), ())
    if not rows:
        raise DataError(f"{path} must hold one row per image below its header, got none")
    labels, named = numbered(words, lines, str(path), given)
    files = ImageFiles(Paths(paths), labels, named, Path(root), transform)
    warn_of_contradictions(files, source=str(path), where=lambda at: f"line {lines[at]}")
    return checked_files(files, source=str(path), empty=empty, verify=verify, where=lambda at: f"line {lines[at]}")


def _rows(path: str | PathLike[str], image: str, label: str, delimiter: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, path, label) of every row."""
    try:
        with regular(Path(path)).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if header and header[0].lower().startswith("sep="):  # a line by which spreadsheets name the delimiter
                header = [name.strip() for name in next(reader, [])]
            columns = [_column(header, name, argument, path) for name, argument in ((image, "image"), (label, "label"))]
            for row in reader:
                if any(map(str.strip, row)):
                    where = f"{path}: line {reader.line_num}"
                    yield (reader.line_num, *_cells(row, columns, len(header), where))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} must be UTF-8 text: {error}; save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: {error}") from None


def _column(header: list[str], name: str, argument: str, path: str | PathLike[str]) -> int:
    if header.count(name) == 1:
        return header.index(name)
    if name in header:
        raise DataError(f"{path} must have one column {name!r} in its first line, got {header.count(name)}; rename one")
    shown = ", ".join(header) or "nothing"
    raise DataError(f"{path} must have a column {name!r} in its first line, got {shown}{_hint(header, name, argument)}")


def _hint(header: list[str], name: str, argument: str) -> str:
    between = next((mark for mark in ";\t|," if len(header) == 1 and mark in header[0]), None)
    if between is not None:
        return f"; pass delimiter={between!r}"
    if any(cell.lower().endswith(IMAGE_EXTENSIONS + HEIF_EXTENSIONS) for cell in header):
        return "; that is an image already: put a line with the names of the columns above it"
    if not any(header):
        return ""
    return nearest(name, header) + f"; pass {argument}= with the name of its column"


def _cells(row: list[str], columns: Sequence[int], width: int, where: str) -> tuple[str, str]:
    if len(row) <= max(columns):
        raise DataError(f"{where}: expected at least {max(columns) + 1} columns, got {len(row)}")
    if any(map(str.strip, row[width:])):
        raise DataError(
            f"{where}: expected {width} columns as in the first line, got {len(row)}; put quotes around a cell that "
            "holds the delimiter"
        )
    path, label = (row[column].strip() for column in columns)
    if not path or not label or "\0" in path:
        raise DataError(f"{where}: expected a path and a label, got {path!r} and {label!r}")
    return path, label
