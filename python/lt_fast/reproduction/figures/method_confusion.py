"""The test predictions of finished runs as a confusion matrix, of one seed or of several."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lt_fast.counts import ClassCounts
from lt_fast.errors import UsageError
from lt_fast.experiment.predictions import read_answers
from lt_fast.training.run_files import read_result

Runs: TypeAlias = str | Path | Sequence[str | Path]
"""One run directory, or those of several seeds of one method."""


class MethodConfusion(NamedTuple):
    """What one method predicts on its test images, summed over its seeds.

    Attributes:
        confusion: ``(C, C)`` counts, true class by row.
        n_train: ``(C,)`` training images per class.
        names: of the classes.
        data: name of the data set.
        seeds: number of runs.

    >>> found = MethodConfusion(np.array([[9, 1], [2, 2]]), np.array([90, 4]), ("oak", "beech"), "mine", seeds=1)
    >>> found.error  # of each class
    array([0.1, 0.5])
    """

    confusion: NDArray[np.int64]
    n_train: NDArray[np.int64]
    names: tuple[str, ...]
    data: str
    seeds: int

    @property
    def error(self) -> NDArray[np.float64]:
        """Error rate of each class, (C,); NaN for a class without test images."""
        total = self.confusion.sum(1)
        wrong = total - np.diag(self.confusion)
        found: NDArray[np.float64] = np.divide(wrong, total, out=np.full(len(total), np.nan), where=total > 0)
        return found


def read_confusion(runs: Runs) -> MethodConfusion:
    """Read one finished run, or those of several seeds of a method.

    Raises:
        UsageError: if there is none, or their training sets have other classes or class sizes.
        DataError: if a run has not finished, or a file is missing or damaged.

    >>> found = read_confusion("runs/ce-0")  # of lt-fast train --method ce --data digits-lt
    >>> found.confusion.shape, found.confusion.sum(), found.n_train[:3]
    ((10, 10), np.int64(240), array([120,  78,  50]))
    """
    folders = [runs] if isinstance(runs, str | Path) else list(runs)
    if not folders:
        raise UsageError("runs must name at least one run directory, got none")
    found = [_one(Path(folder)) for folder in folders]
    for folder, other in zip(folders, found, strict=True):
        if other.names != found[0].names or not np.array_equal(other.n_train, found[0].n_train):
            raise UsageError(
                f"runs of one method must have the same class sizes, and {folder} has others than the first"
            )
    return found[0]._replace(confusion=_sum(each.confusion for each in found), seeds=len(found))


def _one(folder: Path) -> MethodConfusion:
    result = read_result(folder)
    counts = ClassCounts(result["data"]["class_counts"], names=result["data"]["class_names"])
    saved = read_answers(folder, num_classes=len(counts))
    confusion = np.zeros((len(counts), len(counts)), np.int64)
    np.add.at(confusion, (np.asarray(saved.labels), np.asarray(saved.final.predicted)), 1)
    return MethodConfusion(confusion, np.asarray(counts.counts), counts.names, result["config"]["data"], 1)


def _sum(matrices: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.sum(list(matrices), axis=0)
    return found
