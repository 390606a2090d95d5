"""Ways to balance the classes of a stream, as others do it: written here, from what their documentation says."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Sample: TypeAlias = tuple[int, int]


def shuffled(samples: Iterable[Sample], buffer_size: int) -> Iterator[Sample]:
    """Yield the samples through a shuffle buffer: a random one leaves for each one that enters, as in webdataset."""
    generator, buffer = random.Random(0), list[Sample]()
    for sample in samples:
        if len(buffer) < buffer_size:
            buffer.append(sample)
            continue
        place = generator.randrange(buffer_size)
        leaving, buffer[place] = buffer[place], sample
        yield leaving
    generator.shuffle(buffer)
    yield from buffer


def poisson_copies(samples: Iterable[Sample], num_classes: int) -> Iterator[Sample]:
    """Yield each sample a Poisson number of times, by the frequencies so far, for classes of equal probability.

    Source: the hybrid sampler of MaxHalford/pytorch-resample, the algorithm, at a sampling rate of 1.
    """
    generator, seen = random.Random(0), Counter[int]()
    for read, sample in enumerate(samples, 1):
        label = sample[1]
        seen[label] += 1
        for _ in range(poisson(read / seen[label] / num_classes, generator)):
            yield sample


def poisson(mean: float, generator: random.Random) -> int:
    """Return a Poisson number by Knuth's algorithm."""
    limit, product, drawn = math.exp(-mean), generator.random(), 0
    while product > limit:
        product *= generator.random()
        drawn += 1
    return drawn


def rejected(samples: Iterable[Sample], counts: NDArray[np.int64]) -> Iterator[Sample]:
    """Yield a sample with probability ``smallest count / its class's count``: rejection for classes of equal size.

    Source: ``tf.data.Dataset.rejection_resample`` with a known initial distribution, the algorithm.
    """
    generator, chances = random.Random(0), (counts.min() / counts).tolist()
    for sample in samples:
        if generator.random() < chances[sample[1]]:
            yield sample


def numpy_blocks(samples: Iterable[Sample], counts: NDArray[np.int64], buffer_size: int) -> Iterator[Sample]:
    """Yield classes of equal size, a block of samples at a time: factors rounded by chance, repeated and shuffled."""
    generator, factors = np.random.default_rng(0), counts.sum() / len(counts) / counts
    source = iter(samples)
    while block := list(islice(source, buffer_size)):
        labels = np.fromiter((label for _, label in block), np.int64, len(block))
        copies = (factors[labels] + generator.random(len(block))).astype(np.int64)
        for place in generator.permutation(np.repeat(np.arange(len(block)), copies)).tolist():
            yield block[place]
