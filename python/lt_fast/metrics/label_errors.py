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
    confident = np.where(values >= _thresholds(own, target, values.shape[1]), values, -1.0)
    return _errors(confident.argmax(axis=1), confident.max(axis=1), own, target)


def likely_label_errors_among(
    classes: NDArray[np.integer], probabilities: NDArray[np.float64], own: NDArray[np.float64],
    labels: NDArray[np.integer], *, num_classes: int,
) -> LabelErrors:  # fmt: skip
    """``likely_label_errors`` where only the most probable classes of each sample are known.

    The thresholds need nothing else. A sample is missed where none of these classes reaches its threshold and a less
    probable one does.

    Args:
        classes: ``(N, K)``, the most probable classes of each sample.
        probabilities: ``(N, K)``, theirs.
        own: ``(N,)``, the probability of each sample's label.
        labels: ``(N,)`` in [0, num_classes).
        num_classes: C.

    Complexity: O(N K + C).
    """
    target = np.asarray(labels, dtype=np.int64)
    confident = np.where(probabilities >= _thresholds(own, target, num_classes)[classes], probabilities, -1.0)
    best = confident.argmax(axis=1)[:, None]
    suggested = np.take_along_axis(classes, best, axis=1)[:, 0].astype(np.int64)
    return _errors(suggested, confident.max(axis=1), own, target)


def _errors(
    suggested: NDArray[np.int64], confidence: NDArray[np.float64], own: NDArray[np.float64], target: NDArray[np.int64]
) -> LabelErrors:
    """Return the samples whose most probable confident class, of ``confidence`` >= 0, is another one than the label."""
    rows = np.flatnonzero((confidence >= 0) & (suggested != target))
    rows = rows[np.argsort(own[rows], kind="stable")]
    return LabelErrors(rows, target[rows], suggested[rows], own[rows])


def _thresholds(own: NDArray[np.float64], target: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Mean probability of each class over its own samples; infinite for a class without samples."""
    total = np.bincount(target, weights=own, minlength=classes)
    count = np.bincount(target, minlength=classes)
    # A class of equal probabilities must reach its own mean, whatever the rounding of the sum.
    mean = total / np.maximum(count, 1) - 1e-9
    return np.where(count > 0, mean, np.inf)
