"""Labels that are probably wrong, found by confident learning, for a person to check."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lt_fast.metrics.inputs import Labels, Scores, checked_scores, require_distributions


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """Samples whose label is probably wrong, ``(K,)`` arrays; the least likely label first.

    Attributes:
        rows: positions of the samples, int64.
        given: their labels, int64.
        suggested: the class that the model is confident of, int64.
        self_confidence: probability of the given label, float64.

    >>> found = LabelErrors(np.array([7]), np.array([0]), np.array([2]), np.array([0.03]))
    >>> len(found), found.rows, found.suggested
    (1, array([7]), array([2]))
    """

    rows: NDArray[np.int64]
    given: NDArray[np.int64]
    suggested: NDArray[np.int64]
    self_confidence: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)


def likely_label_errors(probabilities: Scores, labels: Labels) -> LabelErrors:
    """Find samples that a model confidently puts into another class than their label.

    The threshold of class j is the mean probability of j over the samples labelled j. A sample counts as class j where
    its probability of j reaches that threshold; of several such classes, it counts as the most probable one. Samples
    that count as another class than their label are returned, ordered by the probability of their label.

    The probabilities must come from a model that was not trained on these samples: a test set, or out-of-fold
    predictions. What is found is a suggestion: it may as well be an error of the model.

    Args:
        probabilities: ``(N, C)`` float, rows that sum to 1.
        labels: ``(N,)`` integers in [0, C).

    Complexity: O(N C).

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if a shape or a label is wrong.
        DataError: if a row is not a distribution (its number is named).

    Source: Northcutt, Jiang and Chuang 2021, JAIR 70, arXiv:1911.00068: the off-diagonal of the confident joint,
    equations 1 and 2, ranked by self-confidence.

    >>> found = likely_label_errors([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.95, 0.05]], [0, 0, 1, 1])
    >>> found.rows.tolist(), found.suggested.tolist(), found.self_confidence.tolist()
    ([3], [0], [0.05])
    """
    array, target = checked_scores(probabilities, labels, name="probabilities")
    require_distributions(array)
    values = array.astype(np.float64)
    own = values[np.arange(len(target)), target]
    suggested, confidence = most_confident(values, class_thresholds(own, target, values.shape[1]))
    return errors_among(suggested, confidence, own, target)


def class_thresholds(own: NDArray[np.float64], labels: NDArray[np.int64], num_classes: int) -> NDArray[np.float64]:
    """Return the mean probability of each class over its own samples, ``(C,)``; infinite for a class without samples.

    Args:
        own: ``(N,)``, the probability of each sample's label.
        labels: ``(N,)`` in [0, num_classes).
        num_classes: C.
    """
    total = np.bincount(labels, weights=own, minlength=num_classes)
    count = np.bincount(labels, minlength=num_classes)
    # A class of equal probabilities must reach its own mean, whatever the rounding of the sum.
    mean = total / np.maximum(count, 1) - 1e-9
    return np.where(count > 0, mean, np.inf)


def most_confident(
    probabilities: NDArray[np.float64], thresholds: NDArray[np.float64], classes: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the most probable class of each sample that reaches its threshold, and its probability, -1 without one.

    Args:
        probabilities: ``(N, K)``.
        thresholds: ``(C,)``.
        classes: ``(N, K)``, whose they are; all classes in their order when left out. Of the most probable K alone a
            sample is missed where none of them reaches its threshold and a less probable one does.
    """
    confident = np.where(probabilities >= (thresholds if classes is None else thresholds[classes]), probabilities, -1.0)
    best = confident.argmax(axis=1)
    suggested = best if classes is None else np.take_along_axis(classes, best[:, None], axis=1)[:, 0]
    return suggested, confident.max(axis=1)


def errors_among(
    suggested: NDArray[np.int64], confidence: NDArray[np.float64], own: NDArray[np.float64], labels: NDArray[np.int64]
) -> LabelErrors:
    """Return the samples that ``most_confident`` puts into another class than their label; all ``(N,)``."""
    rows = np.flatnonzero((confidence >= 0) & (suggested != labels))
    rows = rows[np.argsort(own[rows], kind="stable")]
    return LabelErrors(rows, labels[rows], suggested[rows], own[rows])
