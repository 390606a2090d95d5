"""Confusion and recall of groups of classes of similar size, and how an error is spread over the wrong classes."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks


class ConfusionSpread(NamedTuple):
    """How the errors of a class are spread over the other classes.

    Attributes:
        share: ``(C - 1,)``, mean over the classes of the share of their errors that goes to the wrong class that is
            predicted most, second most, and so on; sums to 1.
        effective: ``(C,)``, number of wrong classes that would give each class's errors if all were equally likely, the
            exponential of the entropy of its errors; NaN for a class without errors.

    >>> spread = confusion_spread(np.array([[8, 2, 0], [1, 8, 1], [0, 0, 10]]))
    >>> isinstance(spread, ConfusionSpread), spread.effective
    (True, array([ 1.,  2., nan]))
    """

    share: NDArray[np.float64]
    effective: NDArray[np.float64]


def size_groups(n_train: ArrayLike, groups: int = 10) -> list[NDArray[np.int64]]:
    """Return the classes in ``groups`` groups of as equal a number as can be, the largest classes first.

    Args:
        n_train: ``(C,)`` training samples per class; of equal ones the lower index is first.
        groups: number of groups, at most C.

    Raises:
        ValueError: if there are fewer classes than groups.

    >>> [group.tolist() for group in size_groups([5, 50, 20, 2], groups=2)]
    [[1, 2], [0, 3]]
    """
    counts = _checks.index_array("n_train", n_train)
    groups = _checks.integer("groups", groups, least=1)
    if groups > len(counts):
        raise ValueError(f"groups must be <= the number of classes ({len(counts)}), got {groups}")
    return np.array_split(np.argsort(-counts, kind="stable"), groups)


def grouped_confusion(
    confusion: ArrayLike, n_train: ArrayLike, *, groups: int = 10, correct: bool = False
) -> NDArray[np.float64]:
    """Return the confusion of groups of classes, ``(groups, groups)``: true group by row, the largest classes first.

    Entry (a, b) is the share of the test samples of group a that are predicted as a class of group b, and wrongly:
    ``sum_{i in a, j in b, i != j} C[i, j] / sum_{i in a, j} C[i, j]``. A row sums to the error rate of its group.

    Args:
        confusion: ``(C, C)`` counts, true class by row, as of ``confusion_matrix``.
        n_train: ``(C,)`` training samples per class, which order the classes.
        groups: number of groups; see ``size_groups``.
        correct: count right predictions, too: a row then sums to 1, and the diagonal has the recall.

    Returns:
        float64; NaN in the row of a group without test samples.

    Raises:
        TypeError, ValueError: if the matrix is not square, negative, or of another number of classes.

    Source: CP-Mix, arXiv:2411.07621, equation (5) and Figures 3 to 6, ten groups; its counts are of 100 test images per
    class, which are the percentages of these shares. Whether the diagonal has right predictions is not known.

    >>> grouped_confusion([[8, 2, 0], [1, 8, 1], [4, 0, 6]], [50, 20, 5], groups=3)
    array([[0. , 0.2, 0. ],
           [0.1, 0. , 0.1],
           [0.4, 0. , 0. ]])
    """
    counts = _counts(confusion)
    members = _members(counts, n_train, groups)
    wrong = counts if correct else counts - np.diag(np.diag(counts))
    sums = members @ wrong @ members.T
    return _ratio(sums, (members @ counts.sum(1))[:, None])


def grouped_recall(confusion: ArrayLike, n_train: ArrayLike, *, groups: int = 10) -> NDArray[np.float64]:
    """Return the mean recall of the classes of each group, ``(groups,)``, the largest classes first.

    A class without test samples is left out; NaN for a group of such classes. Args, Raises: as ``grouped_confusion``.

    >>> grouped_recall([[8, 2, 0], [1, 8, 1], [4, 0, 6]], [50, 20, 5], groups=3)
    array([0.8, 0.8, 0.6])
    """
    counts = _counts(confusion)
    members = _members(counts, n_train, groups)
    tested = counts.sum(1) > 0
    recall = np.where(tested, np.diag(counts) / np.maximum(counts.sum(1), 1), 0.0)
    return _ratio(members @ recall, members @ tested.astype(np.float64))


def confusion_spread(confusion: ArrayLike) -> ConfusionSpread:
    """Return how the errors of a class are spread over the wrong classes.

    With ``p[i, j] = C[i, j] / sum_{k != i} C[i, k]`` for ``j != i``: ``share[r]`` is the mean over the classes with
    errors of their r-th largest ``p[i, .]``, ``effective[i] = exp(-sum_j p[i, j] log p[i, j])``.

    Args:
        confusion: ``(C, C)`` counts, true class by row, at least two classes.

    Raises:
        TypeError, ValueError: if the matrix is not square, negative or of one class.

    Source: CP-Mix, arXiv:2411.07621, Figure 3, compares the confusions of a balanced and a long-tailed training set. In
    which numbers is not known; these are ours.

    >>> confusion_spread([[7, 2, 1], [0, 5, 0], [4, 4, 2]]).share
    array([0.58333333, 0.41666667])
    """
    counts = _counts(confusion)
    if len(counts) < 2:  # noqa: PLR2004
        raise ValueError(f"confusion must have at least 2 classes, got {len(counts)}")
    others = counts[~np.eye(len(counts), dtype=bool)].reshape(len(counts), -1)
    p = _ratio(others, others.sum(1, keepdims=True))
    with_errors = others.sum(1) > 0
    ordered = -np.sort(-p[with_errors], axis=1)
    share = ordered.mean(0) if with_errors.any() else np.full(len(counts) - 1, np.nan)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    return ConfusionSpread(share, np.exp(-(p * logs).sum(1)))


def _counts(confusion: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(confusion)
    if found.dtype.kind not in "iuf":
        raise TypeError(f"confusion must be a matrix of numbers, got dtype {found.dtype}")
    if found.ndim != 2 or found.shape[0] != found.shape[1] or not found.size:  # noqa: PLR2004
        raise ValueError(f"confusion must be square, one row and one column per class, got shape {found.shape}")
    if not (np.isfinite(found) & (found >= 0)).all():
        raise ValueError("confusion must be finite and >= 0; it has counts of predictions")
    return found.astype(np.float64)


def _members(counts: NDArray[np.float64], n_train: Any, groups: int) -> NDArray[np.float64]:
    """Return (groups, C) with a 1 where the class is in the group."""
    found = size_groups(n_train, groups)
    if sum(map(len, found)) != len(counts):
        raise ValueError(f"n_train must have an entry per class ({len(counts)}), got {sum(map(len, found))}")
    members = np.zeros((groups, len(counts)))
    for row, classes in zip(members, found, strict=True):
        row[classes] = 1
    return members


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    below = np.broadcast_to(below, above.shape)
    found: NDArray[np.float64] = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
    return found
