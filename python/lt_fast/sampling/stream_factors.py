"""Repeat factors of a stream's classes, and how often each sample is given by them."""

import hashlib
import math
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from lt_fast import _checks, _rust

Rate: TypeAlias = float | Literal["under", "over"]

_DRAWS_A_CALL = 1024
_LARGEST_RATE = 1e6


class Factors(Protocol):
    """The repeat factor of each sample of a stream, in its order."""

    def of(self, label: int) -> float:
        """Return the factor of the next sample, which has this label; count it where counts are estimated."""

    def state(self) -> list[int]:
        """Return what the factors of later samples depend on."""


class GivenFactors:
    """One factor per class, from class counts that are known before the stream is read."""

    def __init__(self, factors: NDArray[np.float64]) -> None:
        self._factors: list[float] = factors.tolist()

    def of(self, label: int) -> float:
        """Return the factor of a class."""
        return self._factors[label]

    def state(self) -> list[int]:
        """Return nothing: the factors do not change."""
        return []


class EstimatedFactors:
    """Factors from the labels seen so far in the epoch: ``rate * p(class) * n / n_c``, the sample itself counted.

    In a stream of independent samples, ``n / n_c`` at an occurrence of class c is on average one over its frequency,
    from its first sample on. Classes that have not been seen yet have no share of p.

    Args:
        num_classes: C.
        q: ``p(class)`` is proportional to ``n_c ** q``; unused with ``weights``.
        weights: ``(C,)`` instead of ``q``.
        rate: samples given for each one read, on average.
        max_repeats: bound of the factors.
        seen: counts to continue from, as ``state`` returned them.
    """

    def __init__(
        self,
        num_classes: int,
        q: float,
        weights: NDArray[np.float64] | None,
        rate: float,
        max_repeats: float | None = None,
        seen: list[int] | None = None,
    ) -> None:
        self._q, self._rate = q, rate
        self._most = math.inf if max_repeats is None else max_repeats
        self._weights: list[float] | None = None if weights is None else weights.tolist()
        self._seen = [0] * num_classes if not seen else list(seen)
        self._total = sum(self._seen)
        self._sum = sum(self._weight(label, count) for label, count in enumerate(self._seen) if count)

    def of(self, label: int) -> float:
        """Return the factor of the next sample, which has this label, and count it."""
        count = self._seen[label]
        self._seen[label] = count + 1
        self._total += 1
        weight = self._weight(label, count + 1)
        self._sum += weight - (self._weight(label, count) if count else 0.0)
        factor = self._rate * weight / self._sum * self._total / (count + 1) if weight else 0.0
        return min(factor, self._most)

    def state(self) -> list[int]:
        """Return the samples of each class seen so far."""
        return list(self._seen)

    def _weight(self, label: int, count: int) -> float:
        return self._weights[label] if self._weights is not None else float(count) ** self._q


class Rounding:
    """Round repeat factors to numbers of copies: down or up by chance, right on average for every sample.

    The lead of a class is by how much its copies exceed the sum of its factors; it stays in (-1, 1). Where rounding
    down and up both keep it there, the factor is rounded up with this probability::

        lead <= 0:  fraction / (1 + lead)
        lead > 0:   (fraction - lead) / (1 - lead)

    With x the sum of the factors, the copies are then ``floor(x) + 1`` with probability ``x - floor(x)``, else
    ``floor(x)``, from one sample to the next. So each sample is rounded up with the probability of its fraction.

    Args:
        key: seed of the random numbers, in [0, 2**64).
        leads: of each class, as ``state`` returned them.
    """

    def __init__(self, key: int, leads: list[float]) -> None:
        self._key, self._leads = key, list(leads)
        self._block = (-1, -1)
        self._drawn: list[float] = []

    def copies(self, label: int, factor: float, iteration: int, at: int) -> int:
        """Return how often the sample at position ``at`` of an iteration of the stream is given."""
        least = math.floor(factor)
        fraction = factor - least
        lead = self._leads[label]
        if lead - fraction <= -1:
            extra = 1
        elif lead - fraction > 0 or not fraction:
            extra = 0
        else:
            chance = fraction / (1 + lead) if lead <= 0 else (fraction - lead) / (1 - lead)
            extra = int(self._uniform(iteration, at) < chance)
        self._leads[label] = lead - fraction + extra
        return least + extra

    def state(self) -> list[float]:
        """Return the lead of each class."""
        return list(self._leads)

    def _uniform(self, iteration: int, at: int) -> float:
        number, place = divmod(at, _DRAWS_A_CALL)
        if self._block != (iteration, number):
            self._block, first = (iteration, number), number * _DRAWS_A_CALL
            drawn = _rust.uniform(self._key, _rust.STREAM_SAMPLER, iteration, first, _DRAWS_A_CALL)
            self._drawn = drawn.tolist()
        return self._drawn[place]


def key_of(*parts: int) -> int:
    """Return a seed in [0, 2**64) from a seed, an epoch and a number of a stream."""
    digest = hashlib.sha256(repr(("class-balanced stream", *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little")


def rate_of(rate: Any, *, estimated: bool) -> Rate:
    """Return a checked rate.

    Raises:
        TypeError: if it is neither a number nor a string.
        ValueError: if it is another string, not positive, or a string where the counts are estimated.
    """
    if not isinstance(rate, str):
        number = _checks.number("rate", rate, above=0)
        if number > _LARGEST_RATE:
            raise ValueError(
                f"rate must be at most {_LARGEST_RATE:g}, got {number:g}; 1 keeps the length of the stream"
            )
        return number
    _checks.choice("rate", rate, get_args(get_args(Rate)[1]))
    if estimated:
        raise ValueError(
            f"rate must be a number where class_counts are estimated, got {rate!r}, which depends on the class with "
            "the extreme frequency; pass class_counts, or rate=1.0"
        )
    return "under" if rate == "under" else "over"


def given_factors(
    frequency: NDArray[np.float64], probs: NDArray[np.float64], rate: Rate, max_repeats: float | None
) -> NDArray[np.float64]:
    """Return ``rate * probs / frequency`` per class, 0 for classes without samples, at most ``max_repeats``.

    Args:
        frequency: ``(C,)``, sum 1.
        probs: ``(C,)``, sum 1, 0 wherever the frequency is.
        rate: samples given for each one read; ``"under"`` makes the largest factor 1, ``"over"`` the smallest.
        max_repeats: bound of the factors.
    """
    ratio = np.divide(probs, frequency, out=np.zeros(len(probs)), where=frequency > 0)
    if rate == "under":
        ratio = ratio / ratio.max()
    elif rate == "over":
        ratio = ratio / ratio[ratio > 0].min()
    else:
        ratio = ratio * rate
    return ratio if max_repeats is None else np.minimum(ratio, max_repeats)
