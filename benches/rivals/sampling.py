"""The rivals that no package on PyPI gives: algorithms as their authors tell them, and the best of NumPy."""

import random
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray


class Cycle:
    """Endless turns through ``entries``, shuffled anew at the start of each: an object with a position of its own."""

    def __init__(self, entries: list[int], generator: random.Random) -> None:
        self.entries, self.generator = entries, generator
        self.position = len(entries) - 1

    def __iter__(self) -> "Cycle":
        return self

    def __next__(self) -> int:
        self.position += 1
        if self.position == len(self.entries):
            self.position = 0
            self.generator.shuffle(self.entries)
        return self.entries[self.position]


def class_aware(labels: NDArray[np.int64], draws: int, samples_per_class: int = 1) -> Callable[[], Iterator[int]]:
    """Return an epoch of ClassAwareSampler as its authors build it: iterator objects, and a generator that zips them.

    A shuffled cycle of classes, in each a shuffled cycle of its samples, of which it takes so many at a time.
    Source: ``data/ClassAwareSampler.py`` of facebookresearch/classifier-balancing, the structure.
    """
    generator = random.Random(0)
    samples = [Cycle(entries, generator) for entries in by_class(labels)]
    classes = Cycle(list(range(len(samples))), generator)

    def epoch() -> Iterator[int]:
        for draw in range(draws):
            turn = draw % samples_per_class
            if turn == 0:
                taken = next(zip(*[samples[next(classes)]] * samples_per_class, strict=False))
            yield taken[turn]

    return epoch


def class_aware_by_generators(labels: NDArray[np.int64], draws: int) -> Callable[[], list[int]]:
    """Return the same algorithm as fast as plain Python makes it: generators in place of objects, an epoch as a list.

    Source: as ``class_aware``, the algorithm.
    """
    generator = random.Random(0)

    def cycle(entries: list[int]) -> Iterator[int]:
        while True:
            generator.shuffle(entries)
            yield from entries

    samples = [cycle(entries) for entries in by_class(labels)]
    classes = cycle(list(range(len(samples))))
    return lambda: [next(samples[next(classes)]) for _ in range(draws)]


def by_class(labels: NDArray[np.int64]) -> list[list[int]]:
    """Return the samples of each class as lists."""
    members: list[list[int]] = [[] for _ in range(int(labels.max()) + 1)]
    for sample, label in enumerate(labels.tolist()):
        members[label].append(sample)
    return members


def numpy_two_level(labels: NDArray[np.int64], draws: int | None = None) -> Callable[[], NDArray[np.int64]]:
    """Return the class-balanced draw of an epoch as one would write it with NumPy: a class, then an offset in it.

    So many ``draws``, by default one for each sample.
    """
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels)
    starts, generator = np.cumsum(counts) - counts, np.random.default_rng(0)
    size = len(labels) if draws is None else draws

    def draw() -> NDArray[np.int64]:
        classes = generator.integers(len(counts), size=size)
        offsets = (generator.random(size) * counts[classes]).astype(np.int64)
        return order[starts[classes] + offsets]

    return draw


def numpy_in_place(labels: NDArray[np.int64]) -> Callable[[], NDArray[np.int64]]:
    """Return the fastest way of NumPy that we know: no new array, one random number for class and offset.

    Blocks of 8,192 draws stay in the cache; ``mode="clip"`` spares ``np.take`` a copy that it makes to check first.
    """
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels)
    starts, sizes, generator = np.cumsum(counts) - counts, counts.astype(np.float64), np.random.default_rng(0)
    epoch, block = np.empty(len(labels), np.int64), 8192
    numbers, factors, places = np.empty(block), np.empty(block), np.empty(block, np.int64)

    def fill(out: NDArray[np.int64]) -> None:
        number, factor, place = numbers[: len(out)], factors[: len(out)], places[: len(out)]
        generator.random(out=number)
        np.multiply(number, len(counts), out=number)
        place[:] = number
        number -= place
        np.take(sizes, place, out=factor, mode="clip")
        number *= factor
        np.take(starts, place, out=out, mode="clip")
        number += out
        place[:] = number
        np.take(order, place, out=out, mode="clip")

    def draw() -> NDArray[np.int64]:
        for start in range(0, len(epoch), block):
            fill(epoch[start : start + block])
        return epoch

    return draw


def numpy_by_weight(weights: NDArray[np.float64]) -> Callable[[], NDArray[np.int64]]:
    """Return draws by weight with replacement: a binary search in the cumulative weights for the whole epoch."""
    cumulative, generator = np.cumsum(weights), np.random.default_rng(0)

    def draw() -> NDArray[np.int64]:
        numbers = generator.random(len(weights)) * cumulative[-1]
        return np.minimum(np.searchsorted(cumulative, numbers, side="right"), len(weights) - 1)

    return draw


def confusion_pairs(labels: NDArray[np.int64], confusion: NDArray[np.float64], pairs: int) -> Callable[[], object]:
    """Return one batch of CP-Mix's Algorithm 1 in plain Python: a class, one it is taken for, an image of either."""
    generator, members = random.Random(0), by_class(labels)
    classes, rows = range(len(confusion)), confusion.tolist()

    def batch() -> list[tuple[int, int]]:
        drawn = []
        for _ in range(pairs):
            true = generator.randrange(len(rows))
            predicted = generator.choices(classes, rows[true])[0]
            drawn.append((generator.choice(members[true]), generator.choice(members[predicted])))
        return drawn

    return batch


def confusion_pairs_numpy(
    labels: NDArray[np.int64], confusion: NDArray[np.float64], pairs: int
) -> Callable[[], NDArray[np.int64]]:
    """Return the same with NumPy, all that can be done once done before: one binary search for the whole batch."""
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels, minlength=len(confusion))
    starts, generator, num_classes = np.cumsum(counts) - counts, np.random.default_rng(0), len(confusion)
    shares = confusion / confusion.sum(axis=1, keepdims=True)
    cumulative = np.minimum(np.cumsum(shares, axis=1), 1).ravel() + np.repeat(np.arange(num_classes), num_classes)

    def batch() -> NDArray[np.int64]:
        true = generator.integers(num_classes, size=pairs)
        cells = np.searchsorted(cumulative, true + generator.random(pairs), side="right")
        classes = np.stack([true, np.minimum(cells - true * num_classes, num_classes - 1)], axis=1)
        return order[starts[classes] + (generator.random((pairs, 2)) * counts[classes]).astype(np.int64)]

    return batch
