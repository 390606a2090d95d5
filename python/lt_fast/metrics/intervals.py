"""Confidence intervals: over seeds by Student's t, over test samples by the bootstrap."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks
from lt_fast._extras import require

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
        values: one number a test sample: right or wrong gives the interval of the accuracy.
        level: confidence level in (0, 1).
        seed: integer in [0, 2^64).
        resamples: from 1 to 1,000,000.

    Complexity: O(n * resamples) time; memory bounded by 32 MB of indices, or by one resample if that is larger.

    Raises:
        TypeError: if ``seed`` or ``resamples`` is not an integer.
        ValueError: if there is no value, one is not finite, or a setting is outside its range.

    Source: Efron 1979, The Annals of Statistics 7(1); the percentile form.
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


def half_width_of_recall(images: int, level: float = 0.95) -> float:
    """Half the width of Wilson's interval of a recall of one half, the widest, over ``images`` test images.

    Without an image nothing is known: 1.

    Args:
        images: >= 0.
        level: confidence level in (0, 1).

    Raises:
        TypeError, ValueError: if an argument has the wrong type or is out of range.

    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference, JASA 22(158).

    >>> [round(half_width_of_recall(n), 2) for n in (0, 1, 5, 12, 100)]
    [1.0, 0.45, 0.33, 0.25, 0.1]
    """
    n = _checks.integer("images", images, least=0, most=2**53)
    level = _checked_level(level)
    if n == 0:
        return 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    return float(z * (0.25 / n + z**2 / (4 * n**2)) ** 0.5 / (1 + z**2 / n))


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
