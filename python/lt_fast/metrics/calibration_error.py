"""Calibration error: the difference of confidence and accuracy, over bins of equal width."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks
from lt_fast.metrics.answers import Answers
from lt_fast.metrics.inputs import Labels, Scores, checked_scores, require_distributions

_MOST_BINS = 1_000_000


@dataclass(frozen=True, eq=False)
class Reliability:
    """One row of numbers per bin, ``(bins,)`` each: the data of a reliability diagram.

    Attributes:
        confidence: mean largest probability in the bin; NaN in an empty bin.
        accuracy: fraction of right predictions in the bin; NaN in an empty bin.
        count: samples in the bin, int64.

    >>> found = reliability([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]], [0, 1, 0], bins=5)
    >>> isinstance(found, Reliability), found.count
    (True, array([0, 0, 1, 1, 1]))
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]


def reliability(probabilities: Scores, labels: Labels, *, bins: int = 15) -> Reliability:
    """Sort the samples by confidence, their largest probability, into ``bins`` bins of equal width.

    Bin ``k`` of ``0 .. bins - 1`` contains the confidences in ``(k / bins, (k + 1) / bins]``; the first also contains
    0, so every sample is in a bin, and a confidence of exactly 1 is in the last. An edge is rounded to the dtype of
    the probabilities: float32(0.2) is on the edge 3/15, not above it.

    Args:
        probabilities: ``(N, C)`` float, rows that sum to 1.
        labels: ``(N,)`` integers in [0, C).
        bins: from 1 to 1,000,000.

    Raises:
        TypeError: if a dtype is wrong or ``bins`` is not an integer.
        ValueError: if a shape or a label is wrong, ``bins`` is outside its range, or a row is not a distribution (its
            number is named).
        DataError: if a probability is not finite.

    Source: Guo et al. 2017, arXiv:1706.04599, equations 2 and 3.
    Differs from torchmetrics (issue 3510), which closes the bins on the left and puts a confidence of exactly 1 into a
    bin of its own behind the last.

    >>> found = reliability([[0.95, 0.05], [0.85, 0.15], [0.65, 0.35]], [0, 1, 0], bins=5)
    >>> found.count, found.confidence.round(2), found.accuracy
    (array([0, 0, 0, 1, 2]), array([ nan,  nan,  nan, 0.65, 0.9 ]), array([nan, nan, nan, 1. , 0.5]))
    """
    array, target = checked_scores(probabilities, labels, name="probabilities")
    bins = checked_bins(bins)
    require_distributions(array)
    return _binned(array.max(axis=1), array.argmax(axis=1) == target, bins)


def expected_calibration_error(probabilities: Scores, labels: Labels, *, bins: int = 15) -> float:
    """Mean over the samples of ``|accuracy - confidence|`` of their bin, in [0, 1].

    Equals ``sum_k count_k / N * |accuracy_k - confidence_k|`` over the bins of ``reliability``.

    Args, Raises: as ``reliability``.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3, which leaves the confidence 0 and the number of bins open:
    0 is in the first bin, and 15 is what its experiments and most long-tailed code use.

    >>> round(expected_calibration_error([[0.95, 0.05], [0.85, 0.15], [0.65, 0.35]], [0, 1, 0], bins=5), 3)
    0.383
    """
    return _mean_gap(reliability(probabilities, labels, bins=bins))


def ece15(logits: Scores, labels: Labels) -> float:
    """Expected calibration error of ``softmax(logits)`` over 15 bins.

    Raises:
        TypeError, ValueError: if shapes, dtypes or labels are wrong, or the logits are probabilities.
        DataError: if a logit is NaN or +inf, or a row is all -inf.
    """
    return error_of_logits(logits, labels, bins=15)


def error_of_logits(logits: Scores, labels: Labels, *, bins: int) -> float:
    """Return ``expected_calibration_error`` of ``softmax(logits)`` in float64, without a second matrix of (N, C).

    Raises:
        TypeError, ValueError, DataError: as ``ece15``; if ``bins`` is outside its range.
    """
    bins = checked_bins(bins)
    answers = Answers.of(logits, labels)
    answers.refuse_probabilities()
    return error_of_answers(answers, bins)


def error_of_answers(answers: Answers, bins: int) -> float:
    """Return the expected calibration error of answers that have been compared with their labels."""
    return _mean_gap(reliability_by_confidence(answers.confidence, answers.likeliest == answers.label, bins=bins))


def checked_bins(bins: int) -> int:
    """Return ``bins`` if it is an integer from 1 to 1,000,000.

    Raises:
        TypeError, ValueError: otherwise.
    """
    return _checks.integer("bins", bins, least=1, most=_MOST_BINS)


def reliability_by_confidence(confidence: ArrayLike, right: ArrayLike, *, bins: int = 15) -> Reliability:
    """Sort answers by their confidence into bins, as ``reliability`` does, of answers that have been compared.

    Args:
        confidence: ``(N,)`` float, the largest probability of each answer.
        right: ``(N,)`` whether it is right.
        bins: from 1 to 1,000,000.

    >>> reliability_by_confidence([0.9, 0.8], [True, False], bins=1).accuracy.tolist()
    [0.5]
    """
    return _binned(np.asarray(confidence), np.asarray(right), checked_bins(bins))


def _binned(confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int) -> Reliability:
    which = _bin_of(confidence, bins)
    count = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of an empty bin
        mean_confidence = np.bincount(which, weights=confidence, minlength=bins) / count
        accuracy = np.bincount(which, weights=right, minlength=bins) / count
    return Reliability(mean_confidence, accuracy, count)


def _mean_gap(drawn: Reliability) -> float:
    gap = np.abs(drawn.accuracy - drawn.confidence)
    return float(np.nansum(drawn.count * gap) / drawn.count.sum())


def _bin_of(confidence: NDArray[np.floating], bins: int) -> NDArray[np.int64]:
    edges = (np.arange(1, bins) / bins).astype(confidence.dtype)
    return np.searchsorted(edges, confidence, side="left")
