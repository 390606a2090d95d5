"""A threshold of confidence below which a classifier says that it is not sure, chosen on validation images."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lt_fast import _checks
from lt_fast.errors import UsageError
from lt_fast.metrics import risk_by_confidence


class Threshold(NamedTuple):
    """A threshold and what it gave on the validation images.

    Attributes:
        value: answers with a smaller probability are "not sure".
        error: share of the answers at or above it that are wrong.
        coverage: share of the images at or above it.
        images: number of validation images.
        measured_on: what these images are called: ``validation``, or ``out-of-fold`` of a cross-validation.

    >>> found = threshold_for([0.9, 0.8, 0.7, 0.6], [True, True, False, True], max_error=0.1)
    >>> isinstance(found, Threshold), found.value, found.error, found.coverage
    (True, 0.8, 0.0, 0.5)
    """

    value: float
    error: float
    coverage: float
    images: int
    measured_on: str = "validation"


def threshold_for(
    confidence: ArrayLike,
    right: ArrayLike,
    max_error: float,
    *,
    weight: ArrayLike | None = None,
    measured_on: str = "validation",
) -> Threshold:
    """Return the smallest threshold whose answers are wrong in at most ``max_error`` of the cases.

    Args:
        confidence: ``(N,)`` probability of each answer.
        right: ``(N,)`` whether it is right.
        max_error: in [0, 1).
        weight: ``(N,)`` > 0 of each image, for other class frequencies than those of the validation set.
        measured_on: what the images are called.

    Raises:
        UsageError: if no threshold keeps it; names the smallest error that one keeps.
        TypeError, ValueError: if ``max_error`` is out of its range.

    Source: El-Yaniv and Wiener 2010, JMLR 11 (risk and coverage); Geifman and El-Yaniv 2017, arXiv:1705.08500, which
    also bounds the error on new images. Here it is the error on the validation images themselves.

    >>> threshold_for([0.9, 0.8, 0.7, 0.6], [True, True, False, True], 0.25).value
    0.6
    """
    max_error = _checks.number("max_error", max_error, least=0, below=1)
    curve = risk_by_confidence(np.asarray(confidence, dtype=np.float64), right, weight=weight)
    images = int(curve.count[-1])
    kept = np.flatnonzero(curve.risk <= max_error + 1e-12)
    if not kept.size:
        raise UsageError(
            f"max_error {max_error:g} cannot be kept on the {images} {measured_on} images: the smallest error of any "
            f"threshold is {curve.risk.min():.3f}; allow more, or give a threshold of your own"
        )
    at = kept[-1]
    value, risk, coverage = (float(each[at]) for each in (curve.threshold, curve.risk, curve.coverage))
    return Threshold(value, risk, coverage, images, measured_on)
