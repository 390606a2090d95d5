"""Stratified, seeded splits of labelled images that never divide a group; and the table ``images.csv`` of a run."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks, _rust
from lt_fast._files import FOR_RUN, read_bytes, replace_file
from lt_fast.errors import DataError

IMAGES = "images.csv"
"""File of a run directory: which image was in which split."""

COLUMNS = ("path", "class", "split", "fold", "group")
SPLITS = ("train", "validation", "test")

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1

_MOST_FOLDS = 100
_STREAMS = {"test": (_rust.STREAM_SUBSET, 1 << 33), "validation": (_rust.STREAM_SUBSET, 1 << 34)}
_FOLDS = (_rust.STREAM_SUBSET, 1 << 35)


class Split(NamedTuple):
    """Rows of a set of images: every row is in one of the three; each ascends."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def split(
    labels: ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    test: float = TEST_SHARE,
    validation: float = VALIDATION_SHARE,
    seed: int = 0,
) -> Split:
    """Return rows for training, validation and test, stratified by class, with every group whole in one of them.

    Of a class with ``n`` images, ``floor(share * n + 1/2)`` are wanted in a part, at least one, and always one for
    training. Groups are drawn class by class, the rarest class first, in an order that ``seed`` decides; a group is
    taken if it brings its classes nearer to the number wanted and leaves each an image for training. So a class whose
    images are all one group has none in the part. The test set does not depend on ``validation``.

    Args:
        labels: (N,) integers in [0, C).
        groups: (N,) names of groups; an image with an empty name, or without ``groups``, is a group of its own.
        test: share of each class for the test set, in [0, 1).
        validation: share of each class for the validation set, in [0, 1).
        seed: in [0, 2**64).

    Raises:
        TypeError, ValueError: if an argument has the wrong type or is out of range, or the shares reach 1 together.

    >>> parts = split([0] * 10 + [1] * 5 + [2], seed=0)
    >>> [len(part) for part in parts]
    [11, 2, 3]
    """
    array, units = _units(labels, groups)
    test = _checks.number("test", test, least=0, below=1)
    validation = _checks.number("validation", validation, least=0, below=1)
    if test + validation >= 1:
        raise ValueError(
            f"test and validation must leave images for training, got shares of {test:g} and {validation:g}"
        )
    seed, everything = _checks.seed(seed), np.arange(len(array))
    tested = _part(array, units, everything, test, _numbers(seed, *_STREAMS["test"], len(array)))
    rest = np.setdiff1d(everything, tested)
    held = _part(array, units, rest, validation, _numbers(seed, *_STREAMS["validation"], len(array)), of=array)
    return Split(np.setdiff1d(rest, held), held, tested)


def folds(labels: ArrayLike, count: int, *, groups: Sequence[str] | None = None, seed: int = 0) -> NDArray[np.int64]:
    """Return the fold of every row, 0 to ``count - 1``: each fold is the test set of one training on the others.

    Stratified by class, groups whole. A class whose images are all one group would be missing from a training: its rows
    have the fold -1 and are trained on every time.

    Args:
        labels: (N,) integers in [0, C).
        count: number of folds, from 2 to 100.
        groups: as for ``split``.
        seed: in [0, 2**64).

    Raises:
        TypeError, ValueError: if an argument has the wrong type or is out of range.
        DataError: if a fold, or all of them, would have no image to test.

    >>> folds([0] * 4 + [1] * 2 + [2], 2).tolist().count(-1)
    1
    """
    array, units = _units(labels, groups)
    count = _checks.integer("folds", count, least=2, most=_MOST_FOLDS)
    numbers = _numbers(_checks.seed(seed), *_FOLDS, len(array))
    fold = np.full(len(array), -1, np.int64)
    filled, totals = np.zeros((count, int(array.max(initial=0)) + 1), np.int64), np.zeros(count, np.int64)
    members = _members(units, np.arange(len(array)))
    for label, own in _groups_by_class(array, units, np.arange(len(array)), numbers):
        if len(own) < 2:  # noqa: PLR2004  (never tested, but with a group of another class)
            continue
        for unit in own:
            rows = members[unit]
            if fold[rows[0]] >= 0:
                continue
            # The fold with the fewest images of this class; of several, the one with the fewest in all.
            best = int(np.lexsort((totals, filled[:, label]))[0])
            fold[rows] = best
            np.add.at(filled[best], array[rows], 1)
            totals[best] += len(rows)
    _keep_one_for_training(array, units, fold)
    if not (fold >= 0).any():
        raise DataError("every class is a single image or group, so none can be tested; name a test set with --test")
    if len(np.unique(fold[fold >= 0])) < count:
        raise DataError(f"folds must be at most the groups that can be tested, got {count}; lower --folds")
    return fold


def without_test(labels: ArrayLike, rows: ArrayLike) -> NDArray[np.int64]:
    """Return the classes of ``labels`` that have no image among ``rows``: nothing can be said about them."""
    array = _checks.class_labels("labels", labels)
    return np.setdiff1d(np.unique(array), array[np.asarray(rows, np.int64)])


def _keep_one_for_training(labels: NDArray[np.int64], units: NDArray[np.int64], fold: NDArray[np.int64]) -> None:
    """Take the groups of a class out of the folds where all its images came into one."""
    while True:
        low, high = (np.full(int(labels.max(initial=0)) + 1, fill, np.int64) for fill in (_MOST_FOLDS, -1))
        np.minimum.at(low, labels, fold)
        np.maximum.at(high, labels, fold)
        together = (low == high) & (low >= 0)
        if not together.any():
            return
        fold[np.isin(units, units[together[labels]])] = -1


def _units(labels: ArrayLike, groups: Sequence[str] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the labels, and for every row the first row of its group, which stands for it."""
    array = _checks.class_labels("labels", labels)
    units = np.arange(len(array))
    if groups is None:
        return array, units
    if len(groups) != len(array):
        raise ValueError(f"groups must have one entry per label ({len(array)}), got {len(groups)}")
    first: dict[str, int] = {}
    for row, name in enumerate(groups):
        if name:
            units[row] = first.setdefault(name, row)
    return array, units


def _numbers(seed: int, stream: int, epoch: int, rows: int) -> NDArray[np.float64]:
    return _rust.uniform(seed, stream, epoch, 0, rows)


def _members(units: NDArray[np.int64], rows: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Return the rows of every group among ``rows``."""
    order = rows[np.argsort(units[rows], kind="stable")]
    found, starts = np.unique(units[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, starts[1:]), strict=True)) if len(rows) else {}


def _groups_by_class(
    labels: NDArray[np.int64], units: NDArray[np.int64], rows: NDArray[np.int64], numbers: NDArray[np.float64]
) -> Iterator[tuple[int, list[int]]]:
    """Yield every class, the rarest first, with its groups in the order of the random number of their first row."""
    present, counts = np.unique(labels[rows], return_counts=True)
    by_class = dict(
        zip(
            present.tolist(),
            np.split(rows[np.argsort(labels[rows], kind="stable")], np.cumsum(counts)[:-1]),
            strict=True,
        )
    )
    for label in present[np.argsort(counts, kind="stable")].tolist():
        found = np.unique(units[by_class[label]])
        yield label, found[np.argsort(numbers[found], kind="stable")].tolist()


def _part(
    labels: NDArray[np.int64],
    units: NDArray[np.int64],
    rows: NDArray[np.int64],
    share: float,
    numbers: NDArray[np.float64],
    *,
    of: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return the rows among ``rows`` that are drawn for a part of ``share`` of each class of ``of``."""
    if not share or not rows.size:
        return np.empty(0, np.int64)
    size = int(labels.max()) + 1
    left = np.bincount(labels[rows], minlength=size)
    whole = left if of is None else np.bincount(of, minlength=size)
    wanted = np.maximum(np.floor(share * whole + 0.5), 1).astype(np.int64)
    taken, members = np.zeros(size, np.int64), _members(units, rows)
    chosen: dict[int, NDArray[np.int64]] = {}
    for label, own in _groups_by_class(labels, units, rows, numbers):
        for unit in own:
            if taken[label] >= wanted[label]:
                break
            classes, counts = np.unique(labels[members[unit]], return_counts=True)
            if unit not in chosen and _fits(counts, taken[classes], wanted[classes], left[classes]):
                chosen[unit] = members[unit]
                taken[classes] += counts
                left[classes] -= counts
    return np.sort(np.concatenate([*chosen.values()])) if chosen else np.empty(0, np.int64)


def _fits(
    counts: NDArray[np.int64], taken: NDArray[np.int64], wanted: NDArray[np.int64], left: NDArray[np.int64]
) -> bool:
    """Whether a group leaves each of its classes an image, and brings them together nearer to what is wanted."""
    nearer = np.abs(taken + counts - wanted).sum() < np.abs(taken - wanted).sum()
    return bool(nearer and np.all(left > counts))


# --- the table --------------------------------------------------------------------------------------------------------


class ImageRow(NamedTuple):
    """One row of ``images.csv``; the path is relative to the data's root, fold and group may be ""."""

    path: str
    class_name: str
    split: str
    fold: str = ""
    group: str = ""


def write_images(folder: Path, rows: Iterable[ImageRow]) -> None:
    """Write ``images.csv`` into ``folder``: the rows of the training set in order, then validation, then test.

    Raises:
        DataError: if the folder cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    replace_file(folder / IMAGES, text.getvalue().encode(), next_step=FOR_RUN)


def read_images(folder: str | Path) -> list[ImageRow]:
    """Return the rows of ``images.csv`` of the run in ``folder``.

    Raises:
        DataError: if it is missing or damaged; names the line.
    """
    path = Path(folder) / IMAGES
    if not path.exists():
        raise DataError(f"{path} is missing: it says which image was in which split; restore it, or train again")
    try:
        reader = csv.reader(io.StringIO(read_bytes(path).decode("utf-8"), newline=""), strict=True)
        lines = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is damaged: {error}; restore it, or train again") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise DataError(f"{path} must begin with {','.join(COLUMNS)}; restore it, or train again")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(COLUMNS) or line[2] not in SPLITS or not line[0]:
            raise DataError(f"{path} is damaged: line {number} is no path,class,split,fold,group; restore it")
    return [ImageRow(*line) for line in lines[1:]]
