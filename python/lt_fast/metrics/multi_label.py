"""Average precision of samples with any number of labels: by class, and averaged over many, medium and few classes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast.counts import FEW_BELOW, MANY_ABOVE, ClassCounts, CountsLike
from lt_fast.errors import DataError
from lt_fast.metrics.inputs import Scores, as_array


def average_precision(scores: Scores, target: Scores) -> NDArray[np.float64]:
    """Average precision of each class: the mean over its positives of the precision at their scores.

    The precision at a score is the fraction of positives among the samples with that score or a higher one. Equals
    scikit-learn's ``average_precision_score(target, scores, average=None)``; needs numpy alone.

    Args:
        scores: logits or probabilities, ``(N, C)`` float; any increasing function of them gives the same result.
        target: ``(N, C)``, 1 for the labels of a sample and 0 for all others.

    Shape:
        returns (C,) float64 in [0, 1]; NaN for a class without positives.

    Complexity: O(C * N log N) time, O(N) memory beyond the arguments.

    Raises:
        TypeError: if the scores are not floats, or the target is not of numbers.
        ValueError: if a shape does not fit, or a target is neither 0 nor 1.
        DataError: if a score is NaN.

    >>> average_precision([[0.9, 0.1], [0.8, 0.9], [0.3, 0.2]], [[1, 0], [0, 0], [1, 0]]).tolist()
    [0.8333333333333333, nan]
    """
    logits, positive = _checked(scores, target)
    return np.array([_of_class(logits[:, label], positive[:, label]) for label in range(logits.shape[1])])


def mean_average_precision(
    scores: Scores,
    target: Scores,
    counts: CountsLike,
    *,
    many: int = MANY_ABOVE,
    few: int = FEW_BELOW,
) -> dict[str, float | None]:
    """Mean average precision (mAP) over all classes, and over those with many, medium and few training samples.

    Args:
        scores: as ``average_precision``.
        target: as ``average_precision``.
        counts: training samples that have each class.
        many: a class is in "many" with more samples than this.
        few: a class is in "few" with fewer.

    Returns:
        ``"all"``, ``"many"``, ``"medium"`` and ``"few"``: the mean over the classes that have positives in ``target``,
        None where there is none.

    Raises:
        ValueError: as ``average_precision``; if there is not one count per class, or the thresholds overlap.

    Source: mAP by groups of classes as Wu et al. 2020, arXiv:2007.09654, report it, with the thresholds of
        ``ClassCounts.groups``.

    >>> scores, target = [[0.9, 0.1], [0.8, 0.9], [0.3, 0.2]], [[1, 0], [0, 1], [1, 0]]
    >>> mean_average_precision(scores, target, [500, 5])
    {'all': 0.9166666666666666, 'many': 0.8333333333333333, 'medium': None, 'few': 1.0}
    """
    of_class = average_precision(scores, target)
    counts = ClassCounts(counts)
    if len(counts) != len(of_class):
        raise ValueError(
            f"counts must have one number per class ({len(of_class)}), got {len(counts)}; they are those of training"
        )
    groups = {"all": np.ones(len(counts), np.bool_), **counts.groups(many=many, few=few)}
    return {name: _mean(of_class[members]) for name, members in groups.items()}


def _mean(values: NDArray[np.float64]) -> float | None:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else None


def _of_class(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked, found = scores[order], np.cumsum(positive[order])
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)  # of the rows with each score
    at_score = np.diff(found[last], prepend=0)
    return float((at_score * found[last] / (last + 1)).sum() / found[-1])


def _checked(scores: Scores, target: Scores) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    logits, labels = as_array(scores, "scores"), as_array(target, "target")
    if logits.ndim != 2 or 0 in logits.shape:  # noqa: PLR2004
        raise ValueError(f"scores must have shape (N, C) with N >= 1 and C >= 1, got {logits.shape}")
    if not np.issubdtype(logits.dtype, np.floating):
        hint = "; scores come first, then the target" if labels.dtype.kind == "f" else ""
        raise TypeError(f"scores must be floats, got dtype {logits.dtype}{hint}")
    if labels.shape != logits.shape:
        raise ValueError(
            f"target must have the shape of the scores, {logits.shape}, got {labels.shape}; "
            "lt_fast.losses.multi_hot makes it from lists of labels"
        )
    if labels.dtype.kind not in "iufb":
        raise TypeError(f"target must be numbers, got dtype {labels.dtype}")
    hint = "; make it of numbers by target > threshold"
    _refuse_entries("target must be 0 or 1", labels, (labels != 0) & (labels != 1), ValueError, hint)
    hint = "; the model has diverged or its weights are damaged"
    _refuse_entries("scores must not be NaN", logits, np.isnan(logits), DataError, hint)
    return logits, labels != 0


def _refuse_entries(rule: str, array: NDArray[Any], wrong: NDArray[np.bool_], kind: type[Exception], hint: str) -> None:
    if wrong.any():
        row, label = (int(at) for at in np.argwhere(wrong)[0])
        raise kind(f"{rule}, got {array[row, label]} in row {row}, class {label}{hint}")
