"""Accuracy: overall, by class, and averaged over classes.

The prediction of a row is its largest score; among equal scores, the lowest index. scikit-learn counts.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lt_fast._extras import require
from lt_fast.metrics.inputs import Labels, Scores, checked_scores


class PerClassScores(NamedTuple):
    """``(C,)`` arrays; NaN where a ratio has no denominator.

    Attributes:
        recall: fraction of the class's samples that were found; NaN for a class without test samples.
        precision: fraction of the predictions of the class that were right; NaN for a class never predicted.
        f1: ``2 tp / (2 tp + fp + fn)``; NaN for a class neither present nor predicted.
        support: test samples, int64.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]


def confusion_matrix(logits: Scores, labels: Labels) -> NDArray[np.int64]:
    """Count ``(C, C)``: row = true class, column = predicted class; the sum is N.

    Args:
        logits: any scores, ``(N, C)`` float.
        labels: ``(N,)`` integers in [0, C).

    Raises:
        TypeError, ValueError: if shapes, dtypes or labels are wrong.
        DataError: if a score is NaN or +inf, or a row is all -inf.
        MissingExtraError: if scikit-learn is not installed.

    >>> logits = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.5]])
    >>> confusion_matrix(logits, [0, 1, 1])  # of two images of class 1, one is predicted as class 0
    array([[1, 0],
           [1, 1]])
    """
    scores, target = checked_scores(logits, labels)
    classes = range(scores.shape[1])
    counted: NDArray[np.int64] = _sklearn().confusion_matrix(target, scores.argmax(axis=1), labels=classes)
    return counted


def per_class_scores(logits: Scores, labels: Labels) -> PerClassScores:
    """Recall, precision, F1 and number of test samples of every class.

    Args, Raises: as ``confusion_matrix``.

    >>> scores = per_class_scores(np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.5]]), [0, 1, 1])
    >>> scores.recall, scores.precision
    (array([1. , 0.5]), array([0.5, 1. ]))
    """
    scores, target = checked_scores(logits, labels)
    return scores_by_class(target, scores.argmax(axis=1), scores.shape[1])


def scores_by_class(target: NDArray[np.int64], predicted: NDArray[np.int64], num_classes: int) -> PerClassScores:
    """Return ``per_class_scores`` of labels and predictions, ``(N,)`` integers in [0, num_classes)."""
    precision, recall, f1, support = _sklearn().precision_recall_fscore_support(
        target, predicted, labels=range(num_classes), average=None, zero_division=np.nan
    )
    return PerClassScores(recall, precision, f1, support)


def top1_accuracy(logits: Scores, labels: Labels) -> float:
    """Fraction of the rows whose largest score is at the label; needs numpy alone.

    >>> top1_accuracy(np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.5], [4.0, 1.0]]), [0, 1, 1, 0])
    0.75
    """
    scores, target = checked_scores(logits, labels)
    return float((scores.argmax(axis=1) == target).mean())


def balanced_accuracy(logits: Scores, labels: Labels) -> float:
    """Mean recall over the classes that have test samples; equals top-1 accuracy on a balanced test set.

    >>> logits = np.array([[2.0, 1.0]] * 9 + [[1.0, 0.5]])  # always class 0
    >>> labels = [0] * 9 + [1]
    >>> top1_accuracy(logits, labels), balanced_accuracy(logits, labels)
    (0.9, 0.5)
    """
    return float(np.nanmean(per_class_scores(logits, labels).recall))


def macro_f1(logits: Scores, labels: Labels) -> float:
    """Mean F1 over the classes that are present or predicted, as scikit-learn's ``f1_score(average="macro")``.

    >>> round(macro_f1(np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.5]]), [0, 1, 1]), 4)
    0.6667
    """
    return float(np.nanmean(per_class_scores(logits, labels).f1))


def worst_class_recall(logits: Scores, labels: Labels) -> float:
    """Smallest recall of a class that has test samples.

    >>> worst_class_recall(np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.5]]), [0, 1, 1])
    0.5
    """
    return float(np.nanmin(per_class_scores(logits, labels).recall))


def _sklearn() -> Any:
    return require("sklearn.metrics", extra="train", purpose="scoring by class")
