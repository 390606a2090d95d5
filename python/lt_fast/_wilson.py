"""Wilson's score interval of a proportion."""

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray


def wilson_ends(share: ArrayLike, samples: ArrayLike, level: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and the upper end of Wilson's interval.

    Args:
        share: proportions in [0, 1].
        samples: how many samples each is of; where there is none, the ends are 0 and 1: nothing is known.
        level: confidence level in (0, 1).

    Source: Wilson 1927, Journal of the American Statistical Association 22(158).
    """
    p, counts = np.asarray(share, dtype=np.float64), np.asarray(samples)
    z, n = NormalDist().inv_cdf((1 + level) / 2), np.maximum(counts, 1)
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # At 0 and 1 the end is exact in the formula, but not in floating point.
    low = np.where((p == 0) | (counts == 0), 0.0, centre - half)
    high = np.where((p == 1) | (counts == 0), 1.0, centre + half)
    return low, high
