"""Places in a training and the cosine curve: what schedules, mixers and second stages share."""

import math


def epoch_at(fraction: float, epochs: int) -> int:
    """Return the epoch boundary nearest to ``fraction * epochs``, halves rounded up: 0.8 of 200 is 160.

    Nearest rather than down, so that a run of one epoch does not start behind its last milestone.

    >>> epoch_at(0.8, 200), epoch_at(0.5, 7), epoch_at(0.9, 1)
    (160, 4, 1)
    """
    return math.floor(fraction * epochs + 0.5)


def half_cosine(start: float, end: float, angle: float) -> float:
    """Return the point at ``angle``, in [0, pi], of half a cosine from ``start`` to ``end``.

    The formula, 0 and pi being the angles of ``start`` and ``end``::

        end + (start - end) * (1 + cos(angle)) / 2

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5.

    >>> half_cosine(0.1, 0.0, 0.0), half_cosine(0.1, 0.0, math.pi)
    (0.1, 0.0)
    """
    return end + (start - end) * (1 + math.cos(angle)) / 2
