"""Risk against coverage: how many errors remain when the least confident predictions are left to a person."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lt_fast.metrics.inputs import Labels, Scores, checked_scores, require_distributions


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """One row of numbers per distinct confidence, the highest first, ``(K,)`` each.

    Attributes:
        coverage: fraction of the samples whose confidence is at least the threshold, float64 in (0, 1].
        risk: fraction of these samples that are predicted wrong, float64 in [0, 1].
        threshold: the confidence, float64 in [0, 1].
        count: these samples, int64.
    """

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    threshold: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def area(self) -> float:
        """Mean risk over the samples, each at the coverage of its own confidence; smaller is better."""
        return float(np.average(self.risk, weights=np.diff(self.count, prepend=0)))

    def at(self, coverage: float) -> int:
        """Return the position of the smallest coverage that is at least ``coverage``, a number in [0, 1].

        Raises:
            ValueError: if it is outside [0, 1].
        """
        if not 0 <= coverage <= 1:
            raise ValueError(f"coverage must lie in [0, 1], got {coverage}")
        return int(np.searchsorted(self.coverage, min(coverage, float(self.coverage[-1]))))


def risk_coverage(probabilities: Scores, labels: Labels) -> RiskCoverage:
    """Error rate among the most confident samples, for every fraction of them.

    The confidence of a sample is its largest probability. Samples of equal confidence are accepted together, because no
    threshold separates them.

    Args:
        probabilities: ``(N, C)`` float, rows that sum to 1.
        labels: ``(N,)`` integers in [0, C).

    Complexity: O(N C + N log N).

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if a shape or a label is wrong.
        DataError: if a row is not a distribution (its number is named).

    Source: El-Yaniv and Wiener 2010, JMLR 11; the area is that of Geifman, Uziel and El-Yaniv 2019, arXiv:1805.08206.

    >>> curve = risk_coverage([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1])
    >>> curve.coverage.round(2).tolist(), curve.risk.round(2).tolist()
    ([0.33, 0.67, 1.0], [0.0, 0.0, 0.33])
    """
    array, target = checked_scores(probabilities, labels, name="probabilities")
    require_distributions(array)
    confidence = array.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence = confidence[order]
    wrong = np.cumsum((array.argmax(axis=1) != target)[order])
    last = np.flatnonzero(np.append(sorted_confidence[1:] != sorted_confidence[:-1], True))
    count = last + 1
    return RiskCoverage(
        count / len(target), wrong[last] / count, sorted_confidence[last].astype(np.float64), count.astype(np.int64)
    )
