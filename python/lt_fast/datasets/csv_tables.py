"""A table of images and labels as CSV."""

import csv
import re
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lt_fast.counts import EmptyPolicy
from lt_fast.datasets.image_files import ImageFiles, Transform, checked_files, class_names
from lt_fast.datasets.paths import Paths
from lt_fast.errors import DataError
from lt_fast.registry import nearest

_MOST_CLASSES = 1 << 24


def csv_table(
    path: str | PathLike[str],
    root: str | PathLike[str] = "",
    *,
    image: str = "path",
    label: str = "label",
    delimiter: str = ",",
    names: Sequence[str] | None = None,
    empty: EmptyPolicy = "error",
    verify: bool = True,
    transform: Transform | None = None,
) -> ImageFiles:
    """Read a CSV file with a header, one image a row.

    Labels that are all whole numbers are the classes' numbers; other labels are words, numbered in sorted order, or in
    that of ``names``. Numbers such as ``1.0``, as which spreadsheets may write them, are refused without ``names``: as
    words they would be sorted 0.0, 1.0, 10.0, 2.0. The order of the images is the file's.

    Args:
        path: UTF-8 text, quoted as spreadsheets do.
        root: folder that the paths start from.
        image: name of the column of paths.
        label: name of the column of labels.
        delimiter: one character between the columns.
        names: of the classes: the words in the column in the order wanted, or the names of the numbers.
        empty: ``"error"``, or ``"ignore"`` to let a class have no image.
        verify: look for every image: one question to the file system each.
        transform: called with each image.

    Raises:
        DataError: if the file cannot be read, a column is missing (the nearest is named), a row is short or has an
            empty cell, a label is negative or not one of ``names``, a class has no image, or an image is missing; the
            line's number is named.
        ValueError: if ``names`` repeats a name.
    """
    rows = list(_rows(path, image, label, delimiter))
    lines, paths, words = zip(*rows, strict=True) if rows else ((), (), ())
    if not rows:
        raise DataError(f"{path} must hold one row an image below its header, got none")
    labels, classes = _numbered(words, names, lines, str(path))
    files = ImageFiles(Paths(paths), labels, classes, Path(root), transform)
    return checked_files(files, source=str(path), empty=empty, verify=verify, where=lambda at: f"line {lines[at]}")


def _rows(path: str | PathLike[str], image: str, label: str, delimiter: str) -> Iterator[tuple[int, str, str]]:
    """Give (line, path, label) of every row."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = next(reader, [])
            columns = [_column(header, name, path) for name in (image, label)]
            for row in reader:
                if row:
                    yield (reader.line_num, *_cells(row, columns, f"{path}: line {reader.line_num}"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} must be UTF-8 text: {error}") from None
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: {error}") from None


def _column(header: list[str], name: str, path: str | PathLike[str]) -> int:
    if name not in header:
        shown = ", ".join(header) or "nothing"
        between = next((mark for mark in ";\t|" if len(header) == 1 and mark in header[0]), None)
        hint = nearest(name, header) if between is None else f"; pass delimiter={between!r}"
        raise DataError(f"{path} must have a column {name!r} in its first line, got {shown}{hint}")
    return header.index(name)


def _cells(row: list[str], columns: Sequence[int], where: str) -> tuple[str, str]:
    if len(row) <= max(columns):
        raise DataError(f"{where}: expected at least {max(columns) + 1} columns, got {len(row)}")
    path, label = (row[column].strip() for column in columns)
    if not path or not label or "\0" in path:
        raise DataError(f"{where}: expected a path and a label, got {path!r} and {label!r}")
    return path, label


def _numbered(
    words: Sequence[str], names: Sequence[str] | None, lines: Sequence[int], source: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the class of every row, and the classes' names."""
    distinct = set(words)
    numbers = all(word.isascii() and word.isdigit() for word in distinct)
    if numbers and (names is None or not distinct <= set(names)):
        labels = np.array([_number(word, line, source) for word, line in zip(words, lines, strict=True)], np.int64)
        classes = class_names(labels, names, source)
        _refuse_outside(labels, len(classes), lines, source)
        return labels, classes
    if names is None and all(re.fullmatch(r"-?\d+", word, re.ASCII) for word in distinct):
        below = next(at for at, word in enumerate(words) if word.startswith("-"))
        raise DataError(
            f"{source}: line {lines[below]}: labels must lie in [0, 2**24), got {words[below]}; take the row out, or "
            "pass the numbers as names"
        )
    if names is None and all(re.fullmatch(r"\d+\.0*", word, re.ASCII) for word in distinct):
        raise DataError(
            f"{source}: line {lines[0]}: labels must be whole numbers or words, got {words[0]}; write {words[0]} as "
            f"{words[0].partition('.')[0]}, or pass names"
        )
    classes = tuple(sorted(distinct) if names is None else names)
    rank = {name: number for number, name in enumerate(classes)}
    for word, line in zip(words, lines, strict=True):
        if word not in rank:
            raise DataError(
                f"{source}: line {line}: label must be one of names, got {word!r}{nearest(word, [*classes])}"
            )
    return np.array([rank[word] for word in words], dtype=np.int64), classes


def _number(word: str, line: int, source: str) -> int:
    if len(word) > len(str(_MOST_CLASSES)) or int(word) >= _MOST_CLASSES:
        raise DataError(f"{source}: line {line}: labels must lie in [0, 2**24), got {word}")
    return int(word)


def _refuse_outside(labels: NDArray[np.int64], num_classes: int, lines: Sequence[int], source: str) -> None:
    outside = np.flatnonzero(labels >= num_classes)
    if outside.size:
        at = int(outside[0])
        raise DataError(f"{source}: line {lines[at]}: labels must lie in [0, {num_classes}) of names, got {labels[at]}")
