"""Partners from the whole data set, drawn by the sizes of their classes, rather than from the batch itself."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast import _rust
from lt_fast._checks import number
from lt_fast._checks import seed as checked_seed
from lt_fast.batch import BatchPlan
from lt_fast.counts import ClassCounts, numbered_labels
from lt_fast.mixing.draws import checked_key

_PARTNERS = 0x706172746E6572
"""Changes the seed of the run into one for partners: those of a sampler with the run's seed are independent of them."""

_DRAWS_PER_EPOCH = 1 << 40
AFTER_THE_EPOCH = 1 << 40
"""What is added to the augmentation key of an image to get that of its partner: above every key of an epoch."""


class ClassDrawnPartners:
    """One partner for each image, a pure function of (seed, epoch, position of the image in the epoch).

    The class of a partner has probability proportional to ``n_c ** q``, and the partner is any image of that class:
    independent draws with replacement, as ``WeightedRandomSampler`` makes them with the weight ``n_c ** (q - 1)`` of
    an image. O(1) for each image, O(N + C) to build.

    Args:
        labels: the class of every image of the data set, as samplers take them.
        q: exponent of the class sizes, finite: 0 is class-balanced, 1 instance-balanced, -1 reverse.
        seed: key of the run, in [0, 2^64).

    Raises:
        TypeError: if labels are neither integers nor strings, or ``q`` is not a number.
        ValueError: if a label is negative, or ``q`` or ``seed`` out of range.
    """

    def __init__(self, labels: Any, *, q: float, seed: int) -> None:
        numbers = numbered_labels(labels).numbers
        self.q, self.seed = number("q", q, hint="; 0 draws every class equally often"), checked_seed(seed)
        counts = ClassCounts.from_labels(numbers).counts
        probabilities = _powers(counts, self.q)
        self._labels = hashlib.sha256(numbers.astype("<i8").tobytes()).hexdigest()[:16]
        self._draw_arguments = (numbers.astype(np.uint32), probabilities)
        self._draws: Any = None

    def of(self, batch: BatchPlan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the partner of every image, rows of the data set, and the partners' augmentation keys; both (B,).

        Raises:
            TypeError: if the epoch or step is not an integer.
            ValueError: if one is out of range.
        """
        checked_key(epoch=batch.epoch, step=batch.step)
        if len(batch.position) == 0:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        first, last = int(batch.position.min()), int(batch.position.max())
        drawn = self._made().array(batch.epoch, first, 1, last - first + 1, 1)
        return drawn[batch.position - first], batch.position + AFTER_THE_EPOCH

    def _made(self) -> Any:
        if self._draws is None:
            self._draws = _rust.class_balanced(*self._draw_arguments, False, _DRAWS_PER_EPOCH, self.seed ^ _PARTNERS)
        return self._draws

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of: not the table, which is built again from it."""
        return {**vars(self), "_draws": None}

    def __repr__(self) -> str:
        """Show the labels by the first digits of their hash."""
        return f"labels={self._labels}, q={self.q!r}"


def _powers(counts: NDArray[np.int64], q: float) -> NDArray[np.float64]:
    """Return ``n_c ** q`` relative to the largest, which no q overflows; 0 for a class without images."""
    logs = np.where(counts > 0, q * np.log(np.maximum(counts, 1)), -np.inf)
    return np.asarray(np.exp(logs - logs.max()))
