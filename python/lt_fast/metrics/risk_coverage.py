"""Risk against coverage: how many errors remain when the least confident predictions are left to a person."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast.metrics.inputs import Labels, Scores, checked_scores, require_distributions


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """One row of numbers per distinct confidence, the highest first, ``(K,)`` each.

    Attributes:
        coverage: fraction of the samples whose confidence is at least the threshold, float64 in (0, 1].
        risk: fraction of these samples that are predicted wrong, float64 in [0, 1].
        threshold: the confidence, float64 in [0, 1].
        count: these samples, int64.

    >>> curve = risk_coverage([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]], [0, 1, 0])
    >>> isinstance(curve, RiskCoverage), curve.coverage.round(2), curve.risk.round(2), curve.threshold
    (True, array([0.33, 0.67, 1.  ]), array([0.  , 0.5 , 0.33]), array([0.9, 0.8, 0.6]))
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
    return risk_by_confidence(array.max(axis=1), array.argmax(axis=1) == target)


def risk_by_confidence(confidence: ArrayLike, right: ArrayLike, *, weight: ArrayLike | None = None) -> RiskCoverage:
    """Error rate among the most confident answers, for every fraction of them, of answers that have been compared.

    Args:
        confidence: ``(N,)`` of each answer, N >= 1, finite.
        right: ``(N,)`` whether it is right.
        weight: ``(N,)`` > 0 of each sample, for other class frequencies than those of the samples; 1 when left out.
            Coverage and risk are then shares of the weight; ``count`` stays a number of samples.

    Complexity: O(N log N).

    >>> risk_by_confidence([0.9, 0.8, 0.8], [True, True, False]).risk.round(2).tolist()
    [0.0, 0.33]
    """
    values, wrong = np.asarray(confidence), 1.0 - np.asarray(right, dtype=np.float64)
    weights = np.ones(len(values)) if weight is None else np.asarray(weight, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    covered, errors = np.cumsum(weights[order]), np.cumsum((weights * wrong)[order])
    last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # ends of runs of equal confidence
    return RiskCoverage(
        covered[last] / covered[-1], errors[last] / covered[last], ordered[last].astype(np.float64), last + 1
    )
