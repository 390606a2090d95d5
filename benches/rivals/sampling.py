"""The rivals' algorithms that no package on PyPI gives, written as their authors tell them."""

import random
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray


def class_aware(labels: NDArray[np.int64], draws: int) -> Callable[[], list[int]]:
    """Return an epoch of ClassAwareSampler: a shuffled cycle of classes, in each a shuffled cycle of its samples.

    Source: ``data/ClassAwareSampler.py`` of facebookresearch/classifier-balancing, the algorithm.
    """
    generator = random.Random(0)

    def cycle(entries: list[int]) -> Iterator[int]:
        while True:
            generator.shuffle(entries)
            yield from entries

    members: list[list[int]] = [[] for _ in range(int(labels.max()) + 1)]
    for sample, label in enumerate(labels.tolist()):
        members[label].append(sample)
    classes = cycle(list(range(len(members))))
    samples = [cycle(entries) for entries in members]
    return lambda: [next(samples[next(classes)]) for _ in range(draws)]


def confusion_pairs(labels: NDArray[np.int64], confusion: NDArray[np.float64], pairs: int) -> Callable[[], object]:
    """Return one batch of CP-Mix's Algorithm 1 in plain Python: a class, one it is taken for, an image of either."""
    generator = random.Random(0)
    members: list[list[int]] = [[] for _ in range(len(confusion))]
    for sample, label in enumerate(labels.tolist()):
        members[label].append(sample)
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
