"""Margins and logits of each class: how much a classifier favours its large classes, in numbers."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.metrics.inputs import Labels, Scores, as_array, checked_scores, row_blocks


class ClassMargins(NamedTuple):
    """Means over the test images of each class; float64 ``(C,)``, NaN for a class without images.

    Attributes:
        logit: of the logit of the true class, ``z_y``.
        margin: of ``z_y - max(z_j for j != y)``, above 0 where the prediction is right; NaN for one class alone.
        distance: of ``z_y / ||w_y||``, the distance of the features from the boundary of the class, which margin
            calibration corrects; None where no row lengths were given.
        images: test images of the class, int64.

    >>> found = margins_by_class(np.array([[3.0, 1.0], [0.0, 0.5]]), [0, 1])
    >>> isinstance(found, ClassMargins), found.margin
    (True, array([2. , 0.5]))
    """

    logit: NDArray[np.float64]
    margin: NDArray[np.float64]
    distance: NDArray[np.float64] | None
    images: NDArray[np.int64]


def margins_by_class(logits: Scores, labels: Labels, *, weight_norm: ArrayLike | None = None) -> ClassMargins:
    """Return the mean logit, margin and distance of each class over its own images.

    A classifier that is trained on long-tailed data has larger logits and margins for its frequent classes; margin
    calibration is to make them alike. ``slope_by_count`` tells by how much they differ.

    Args:
        logits: ``(N, C)`` float.
        labels: ``(N,)`` integers in [0, C).
        weight_norm: ``(C,)`` row lengths of the classifier, for ``distance``.

    Raises:
        TypeError, ValueError: if a shape or dtype is wrong.
        DataError: if a logit is not finite.

    >>> found = margins_by_class(np.array([[3.0, 1.0], [2.0, 1.5]]), [0, 1])
    >>> found.logit.tolist(), found.margin.tolist()
    ([3.0, 1.5], [2.0, -0.5])

    Source: Wang et al. 2022, arXiv:2112.07225, whose equation of the margin is ``distance``; the figures of the paper
    show its mean by class.
    """
    scores, checked = checked_scores(logits, labels)
    classes = scores.shape[1]
    own, margin = np.empty(len(scores)), np.full(len(scores), np.nan)
    for rows in row_blocks(scores):
        block = scores[rows].astype(np.float64)
        places = np.arange(len(block)), checked[rows]
        own[rows] = block[places]
        block[places] = -np.inf
        if classes > 1:
            margin[rows] = own[rows] - block.max(axis=1)
    count = np.bincount(checked, minlength=classes)
    logit, mean = (_means(values, checked, count) for values in (own, margin))
    return ClassMargins(logit, mean, None if weight_norm is None else logit / _lengths(weight_norm, classes), count)


def slope_by_count(values: ArrayLike, class_counts: CountsLike) -> float | None:
    """Return by how much a number of the classes grows where a class has ten times as many training images.

    The slope of the least-squares line over ``log10`` of the counts, of the classes that have both a finite value and
    images; None where there are less than two sizes of classes.

    >>> slope_by_count([5.0, 3.0, 1.0], [1000, 100, 10])
    2.0
    """
    numbers, sizes = np.asarray(values, dtype=np.float64), ClassCounts(class_counts).counts
    if numbers.shape != sizes.shape:
        raise ValueError(f"values must have shape {sizes.shape}, one per class, got {numbers.shape}")
    chosen = np.isfinite(numbers) & (sizes > 0)
    x, y = np.log10(np.maximum(sizes[chosen], 1)), numbers[chosen]
    if len(np.unique(x)) < 2:  # noqa: PLR2004
        return None
    x = x - x.mean()
    return round(float((x * (y - y.mean())).sum() / (x * x).sum()), 12)


def _means(values: NDArray[np.float64], labels: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    total = np.bincount(labels, weights=values, minlength=len(count))
    means = np.full(len(count), np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means


def _lengths(weight_norm: Any, classes: int) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = as_array(weight_norm).astype(np.float64)
    if lengths.shape != (classes,) or not (lengths > 0).all():
        raise ValueError(f"weight_norm must have shape ({classes},) and be > 0, got {lengths.tolist()}")
    return lengths
