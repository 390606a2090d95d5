"""Confidence intervals: over seeds by Student's t, over test samples by the bootstrap or, for recalls, by Wilson."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks
from lt_fast._extras import require
from lt_fast._wilson import wilson_ends

_CHUNK = 2**22  # indices drawn at once: 32 MB
_MOST_RESAMPLES = 1_000_000


def mean_interval(values: Sequence[float] | ArrayLike, level: float = 0.95) -> tuple[float, float | None]:
    """Mean of the values and half the width of its Student t interval.

    The half width is ``t(level, n - 1) * sd / sqrt(n)`` with the sample standard deviation (``n - 1`` below). One
    value has no interval: its half width is None.

    Args:
        values: one number per seed, n >= 1, finite.
        level: confidence level in (0, 1).

    Raises:
        ValueError: if there is no value, one is not finite, or ``level`` is outside (0, 1).
        MissingExtraError: if SciPy, which scikit-learn brings, is not installed (for n >= 2).

    >>> mean, half_width = mean_interval([0.78, 0.80, 0.79])  # of three seeds
    >>> round(mean, 3), round(half_width, 3)
    (0.79, 0.025)
    """
    array = _finite_vector(values)
    level = _checked_level(level)
    if len(array) == 1:
        return float(array[0]), None
    stats = require("scipy.stats", extra="train", purpose="an interval over seeds")
    quantile = float(stats.t.ppf((1 + level) / 2, len(array) - 1))
    return float(array.mean()), quantile * float(array.std(ddof=1)) / len(array) ** 0.5


def bootstrap_interval(
    values: Sequence[float] | ArrayLike, level: float = 0.95, *, seed: int = 0, resamples: int = 2000
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean: lower and upper end.

    ``resamples`` times, n values are drawn with replacement and averaged; the ends are the ``(1 - level) / 2`` and
    ``(1 + level) / 2`` quantiles of these means. A pure function of its arguments.

    Args:
        values: one number per test sample: right or wrong gives the interval of the accuracy.
        level: confidence level in (0, 1).
        seed: integer in [0, 2^64).
        resamples: from 1 to 1,000,000.

    Complexity: O(n * resamples) time; memory bounded by 32 MB of indices, or by one resample if that is larger.

    Raises:
        TypeError: if ``seed`` or ``resamples`` is not an integer.
        ValueError: if there is no value, one is not finite, or a setting is outside its range.

    Source: Efron 1979, The Annals of Statistics 7(1); the percentile form.

    >>> low, high = bootstrap_interval([1, 1, 1, 0, 1, 0, 1, 1], seed=0)
    >>> low, high
    (0.375, 1.0)
    """
    array = _finite_vector(values)
    level = _checked_level(level)
    resamples = _checks.integer("resamples", resamples, least=1, most=_MOST_RESAMPLES)
    generator = np.random.default_rng(_checks.seed(seed))
    rows = max(1, _CHUNK // len(array))
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    means = [array[generator.integers(0, len(array), (size, len(array)))].mean(axis=1) for size in sizes]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def wilson_interval(right: ArrayLike, total: ArrayLike, level: float = 0.95) -> NDArray[np.float64]:
    """Wilson's score interval of a proportion: of an accuracy, or of the recall of each class.

    It is never empty and stays in [0, 1]: 24 of 24 right gives 0.862 to 1, where the bootstrap gives the point 1.

    Args:
        right: samples that were predicted right, integers in [0, total], of any shape.
        total: samples, integers >= 0, of the same shape or one that broadcasts to it.
        level: confidence level in (0, 1).

    Returns:
        ``(..., 2)`` float64: lower and upper end; 0 and 1 where ``total`` is 0, because nothing is known.

    Raises:
        TypeError: if a count is not an integer.
        ValueError: if a count or ``level`` is outside its range.

    Source: Wilson 1927, Journal of the American Statistical Association 22(158).

    >>> wilson_interval(24, 24).round(3).tolist()
    [0.862, 1.0]
    """
    hits, counts = _counted(right, total)
    return np.stack(wilson_ends(hits / np.maximum(counts, 1), counts, _checked_level(level)), axis=-1)


def mean_recall_interval(right: ArrayLike, total: ArrayLike, level: float = 0.95) -> tuple[float, float] | None:
    """Interval of the mean of several recalls: of balanced accuracy, or of the recall of a group of classes.

    With ``[l_c, u_c]`` Wilson's interval of class c, of recall ``p_c``, the lower end is ``mean(p) - sqrt(sum_c
    (p_c - l_c)^2) / C``, and the upper end has ``u_c - p_c`` in the same way. For one class it is Wilson's interval.

    Args:
        right: (C,) integers, samples of each class that were predicted right.
        total: (C,) integers, samples of each class; a class without samples is left out.
        level: confidence level in (0, 1).

    Returns:
        Lower and upper end, in [0, 1]; None where no class has a sample.

    Raises:
        TypeError, ValueError: as ``wilson_interval``.

    Source: Zou, Huang and Zhang 2009, Computational Statistics & Data Analysis 53(4), for any weighted sum of
    proportions.

    >>> low, high = mean_recall_interval(right=[90, 6], total=[100, 10])
    >>> round(low, 3), round(high, 3)  # around (0.9 + 0.6) / 2
    (0.602, 0.868)
    """
    hits, counts = (np.atleast_1d(values) for values in _counted(right, total))
    hits, counts = hits[counts > 0], counts[counts > 0]
    low, high = wilson_interval(hits, counts, level).T
    if not counts.size:
        return None
    recall = hits / counts
    below, above = (float(np.sqrt(((recall - end) ** 2).sum())) / len(counts) for end in (low, high))
    return max(0.0, float(recall.mean()) - below), min(1.0, float(recall.mean()) + above)


def _counted(right: ArrayLike, total: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    hits, counts = np.broadcast_arrays(_integers("right", right), _integers("total", total))
    wrong = np.flatnonzero((hits < 0) | (hits > counts))
    if wrong.size:
        first = int(wrong[0])
        raise ValueError(f"right must lie in [0, total], got {hits.flat[first]} of {counts.flat[first]}")
    return hits, counts


def _integers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(values)
    if not (np.issubdtype(array.dtype, np.integer) or not array.size):
        raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
    return array.astype(np.int64)


def _finite_vector(values: Sequence[float] | ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"values must be one-dimensional with at least one number, got shape {array.shape}")
    broken = np.flatnonzero(~np.isfinite(array))
    if broken.size:
        raise ValueError(f"values must be finite, got {array[broken[0]]} at position {int(broken[0])}")
    return array


def _checked_level(level: float) -> float:
    found = _checks.real_number("level", level)
    hint = f"; did you mean {found / 100:g}?" if 1 < found < 100 else ""  # noqa: PLR2004
    return _checks.number("level", level, above=0, below=1, hint=hint)
