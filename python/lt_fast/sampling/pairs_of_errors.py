"""Pairs of samples by all errors of a model at once: an error is drawn, then a sample of each of its two classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_STREAM = 0x6572726F72
"""Changes the seed, so that these draws share no numbers with others of the same run."""


class PairsOfErrors:
    """Draw ``2 n`` is a sample of the true class of an error, draw ``2 n + 1`` one of the class that was predicted.

    An error ``(c, d)`` has probability ``C[c, d] ** (1 / temperature)`` over their sum, with ``C`` the counts. With
    probability ``uniform_fraction``, and always where there is no error, ``c`` and ``d`` are any two classes.

    Pair ``n`` uses four numbers, block ``n`` of a Philox generator keyed by (seed, epoch): O(log cells) at any
    position.

    Args:
        ids: ``(N,)`` class of each sample.
        num_classes: C.
        target: ``(cells,)`` true class of each cell.
        predicted: ``(cells,)`` predicted class, another one.
        weight: ``(cells,)`` counts or other weights, finite and >= 0.
        temperature: > 0.
        uniform_fraction: in [0, 1].
        draws_per_epoch: samples in an epoch, two per pair.
        seed: in [0, 2**64).
    """

    def __init__(
        self,
        ids: NDArray[np.int64],
        num_classes: int,
        temperature: float,
        uniform_fraction: float,
        draws_per_epoch: int,
        seed: int,
        target: NDArray[np.int64],
        predicted: NDArray[np.int64],
        weight: NDArray[np.float64],
    ) -> None:
        self.draws_per_epoch = draws_per_epoch
        self._seed = seed ^ _STREAM
        self._rows = np.argsort(ids, kind="stable")
        self._sizes = np.bincount(ids, minlength=num_classes)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._present = np.flatnonzero(self._sizes)
        if len(self._present) < 2:  # noqa: PLR2004
            rule = "labels must have at least 2 classes with samples to make pairs"
            raise ValueError(f"{rule}, got {len(self._present)}")
        used = (self._sizes[target] > 0) & (self._sizes[predicted] > 0) & (weight > 0)
        self._target, self._predicted = target[used], predicted[used]
        powers = (weight[used] / weight.max(initial=0, where=used)) ** (1 / temperature) if used.any() else weight[used]
        self._cumulative = np.cumsum(powers)
        self._total = self._cumulative[-1] if used.any() else 0.0
        self._uniform_fraction = uniform_fraction if used.any() else 1.0

    def array(self, epoch: int, first: int, step: int, count: int, batch_size: int) -> NDArray[np.int64]:
        """Return the draws of batches ``first, first + step, ...``, one after the other."""
        return np.concatenate([np.zeros(0, np.int64), *self._each(epoch, first, step, count, batch_size)])

    def lists(self, epoch: int, first: int, step: int, count: int, batch_size: int) -> list[list[int]]:
        """Return the same, a list for each batch."""
        return [drawn.tolist() for drawn in self._each(epoch, first, step, count, batch_size)]

    def _each(self, epoch: int, first: int, step: int, count: int, batch_size: int) -> Sequence[NDArray[np.int64]]:
        starts = [(first + at * step) * batch_size for at in range(count)]
        return [self._between(epoch, start, min(start + batch_size, self.draws_per_epoch)) for start in starts]

    def _between(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        pair = start // 2
        generator = np.random.Philox(key=[self._seed, epoch], counter=[pair, 0, 0, 0])
        numbers = np.random.Generator(generator).random((-(-stop // 2) - pair, 4))
        classes = self._classes(numbers[:, 0], numbers[:, 1])
        offsets = (numbers[:, 2:] * self._sizes[classes]).astype(np.int64)
        drawn: NDArray[np.int64] = self._rows[self._starts[classes] + offsets].ravel()
        return drawn[start - 2 * pair : stop - 2 * pair]

    def _classes(self, choice: NDArray[np.float64], mode: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return true and predicted class of each pair, (pairs, 2)."""
        any_two = mode < self._uniform_fraction
        found = np.empty((len(choice), 2), np.int64)
        found[any_two] = self._any_two(choice[any_two], mode[any_two] / (self._uniform_fraction or 1.0))
        cell = np.searchsorted(self._cumulative, choice[~any_two] * self._total, side="right")
        found[~any_two] = np.stack([self._target[cell], self._predicted[cell]], axis=1)
        return found

    def _any_two(self, choice: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.int64]:
        first = (choice * len(self._present)).astype(np.int64)
        second = np.minimum((other * (len(self._present) - 1)).astype(np.int64), len(self._present) - 2)
        found: NDArray[np.int64] = self._present[np.stack([first, second + (second >= first)], axis=1)]
        return found
