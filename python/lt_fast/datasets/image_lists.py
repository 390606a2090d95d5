"""Text lists of images, one ``relative/path label`` per line, as ImageNet-LT and Places-LT are published."""

import re
import warnings
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from lt_fast import _checks, _rust
from lt_fast._files import replace_file
from lt_fast.counts import EmptyPolicy
from lt_fast.datasets.classes import ClassesLike, class_names, empty_policy, given_classes, refuse_outside
from lt_fast.datasets.image_files import ImageFiles, Transform, checked_files, warn_of_contradictions
from lt_fast.datasets.paths import Paths
from lt_fast.datasets.regular_files import regular
from lt_fast.errors import DataError

_UNWRITABLE = re.compile(r"\A\Z|\A\ufeff|[\n\0]|[ \t\r\f]\Z")  # what the reader would take for something else


def image_list(
    path: str | PathLike[str],
    root: str | PathLike[str] = "",
    *,
    names: Sequence[str] | None = None,
    classes: ClassesLike | None = None,
    empty: EmptyPolicy | None = None,
    verify: bool = True,
    transform: Transform | None = None,
) -> ImageFiles:
    r"""Read a list of images and labels.

    For paths without blanks equals ``[line.split() for line in open(path)]``, as the benchmarks' own loaders read it.
    The label is what follows the last blank of a line, so paths may hold blanks. The order is the file's. A million
    lines take about a second, looking for the images not counted.

    Labels are positions, whatever the classes are called. ``classes=train`` gives a test list the names of the training
    set and refuses a label that training does not have.

    Args:
        path: UTF-8 text, one ``relative/path label`` per line, labels from 0, no header.
        root: folder that the paths start from.
        names: of the classes in the order of their numbers; the labels as words by default.
        classes: the same for a list that may lack classes, such as a test list: names, or the training set that has
            them. A label that is no position in it is an error.
        empty: ``"error"``, or ``"ignore"`` to let classes have no image. By default ``"ignore"`` with ``classes``, else
            ``"error"``.
        verify: look for every image: one question to the file system each.
        transform: called with each image.

    Raises:
        DataError: if the file cannot be read, a line is not ``path label`` (its number is named), a label is outside
            ``names`` or ``classes``, a class has no image, or an image is missing.
        TypeError: if ``names`` or ``classes`` is not a sequence of strings.
        ValueError: if it repeats a name, or both are given.

    Warns:
        UserWarning: if an image is listed with two labels, or ``classes`` are integers that are not their positions.

    Source: Liu et al. 2019, arXiv:1904.05160; lists in facebookresearch/classifier-balancing, data/.

    >>> from pathlib import Path
    >>> _ = Path("train.txt").write_text("oak/1.jpg 0\noak/2.jpg 0\nbeech/1.jpg 1\n")
    >>> files = image_list("train.txt", "photos", names=["oak", "beech"], verify=False)
    >>> files.paths[2], files.labels, files.class_counts
    ('beech/1.jpg', array([0, 0, 1]), ClassCounts([2, 1], num_classes=2, imbalance_ratio=2))
    """
    given, empty = given_classes(classes, names), empty_policy(empty, classes)
    try:
        text, ends, labels = _rust.parse_image_list(regular(Path(path)).read_bytes())
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    named = class_names(labels, given, str(path))
    refuse_outside(labels, named, given, str(path), where=_line)
    if classes is not None and given is not None:
        _warn_of_other_numbers(given.names, str(path))
    files = ImageFiles(Paths.from_block(text, ends), labels, named, Path(root), transform)
    warn_of_contradictions(files, source=str(path), where=_line)
    return checked_files(files, source=str(path), empty=empty, verify=verify, where=_line)


def _line(index: int) -> str:
    return f"line {index + 1}"


def _warn_of_other_numbers(names: Sequence[str], source: str) -> None:
    numbers = all(name.isascii() and name.isdigit() for name in names)
    shifted = next((at for at, name in enumerate(names) if name != str(at)), None)
    if numbers and shifted is not None:
        warnings.warn(
            f"{source}: the classes are called by numbers that are not their positions, and the list's labels are "
            f"positions: label {shifted} is class {names[shifted]!r}; where that is meant, pass them as names, with "
            "empty='ignore'",
            stacklevel=3,
        )


def write_image_list(path: str | PathLike[str], paths: Iterable[str], labels: ArrayLike) -> None:
    r"""Write a list that ``image_list`` reads back to the same paths and labels: ``f"{path} {label}\n"`` per line.

    The file is complete or absent: it is written under a temporary name and renamed.

    Args:
        path: of the list.
        paths: of the images, relative to the root that will be given when reading.
        labels: (N,) integers in [0, 2**24).

    Raises:
        TypeError: if the labels are not integers, or the paths one string, or bytes.
        DataError: if the file cannot be written.
        ValueError: if lengths differ, a label is out of range, or a path is empty, ends in a blank, holds a line feed
            or a zero byte, or is not UTF-8, so that it would not be read back.

    >>> from pathlib import Path
    >>> write_image_list("train.txt", ["oak/1.jpg", "beech/1.jpg"], [0, 1])
    >>> print(Path("train.txt").read_text(), end="")
    oak/1.jpg 0
    beech/1.jpg 1
    """
    listed, array = _listed(paths), _checks.class_labels("labels", labels)
    if len(listed) != len(array) or not listed:
        raise ValueError(f"paths and labels must have the same length, at least 1, got {len(listed)} and {len(array)}")
    wrong = next((name for name in listed if _UNWRITABLE.search(name)), None)
    if wrong is not None:
        raise ValueError(
            f"paths must not be empty, end in a blank, or hold a line feed or a zero byte, got {wrong!r}; rename the "
            "file"
        )
    unwritten = next((name for name in listed if not _is_utf8(name)), None)
    if unwritten is not None:
        raise ValueError(f"paths must be UTF-8 text, got {unwritten!r}; rename the file")
    _checks.labels_in_range("labels", array, _checks.MAX_CLASSES)
    text = "".join(f"{name} {label}\n" for name, label in zip(listed, array.tolist(), strict=True))
    replace_file(Path(path), text.encode())


def _listed(paths: Iterable[Any]) -> list[str]:
    given = list(paths)
    wrong = paths if isinstance(paths, str) else next((path for path in given if isinstance(path, bytes)), None)
    if wrong is not None:
        raise TypeError(f"paths must be one string an image, got {wrong!r}; pass a list of str")
    return [str(path) for path in given]


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # a lone surrogate: how Python shows the bytes of another encoding
        return False
    return True
