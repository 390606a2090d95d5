"""Class-balanced streams: microseconds per sample given, and how far the classes are from equal, one core.

A stream of (number, label) in random order, which costs nothing to read: the counts of CIFAR-10-LT and CIFAR-100-LT at
imbalance ratio 100. Each line is an epoch through a buffer of 1,000 samples. "off by" is half the sum over the classes
of how far their shares are from equal; 0 % is balanced. "read per sample given" tells what a sample costs where reading
is not free. Rivals: the algorithms of ``benches.rivals.streams``; the NumPy one reads whole blocks at once.
"""

from collections import deque
from collections.abc import Callable, Iterable

import numpy as np
from benches.harness import best_of, print_table, write_csv
from benches.rivals import streams as rivals
from numpy.typing import NDArray

from lt_fast import datasets
from lt_fast.sampling import ClassBalancedStream

CSV = "streams.csv"
BUFFER, REPEATS = 1000, 5
OURS = "lt-fast"
SETS = {
    "cifar10-lt": datasets.long_tailed_counts(5000, 10, imbalance_ratio=100),
    "cifar100-lt": datasets.long_tailed_counts(500, 100, imbalance_ratio=100),
}


def main() -> None:
    """Print the table and write ``results/streams.csv``."""
    rows = [row for name in SETS for row in rows_of(name, np.asarray(SETS[name]))]
    print_table(rows)
    print(write_csv(CSV, rows))


def rows_of(name: str, counts: NDArray[np.int64], repeats: int = REPEATS) -> list[dict[str, object]]:
    """Return the lines of one set of counts."""
    samples = stream_of(counts)
    lines = {who: line_of(make, samples, counts, repeats) for who, make in ways(samples, counts).items()}
    ours = float(lines[OURS]["us per sample"])
    return [
        {"counts": name, "sampler": who, **line, "times lt-fast": round(float(line["us per sample"]) / ours, 2)}
        for who, line in lines.items()
    ]


def stream_of(counts: NDArray[np.int64]) -> list[rivals.Sample]:
    """Return (number, label) in random order."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    return list(enumerate(labels.tolist()))


def ways(samples: list[rivals.Sample], counts: NDArray[np.int64]) -> dict[str, Callable[[], Iterable[rivals.Sample]]]:
    """Return what makes one epoch of each line."""
    given = ClassBalancedStream(samples, counts, buffer_size=BUFFER)
    thinned = ClassBalancedStream(samples, counts, rate="under", buffer_size=BUFFER)
    estimated = ClassBalancedStream(samples, num_classes=len(counts), buffer_size=BUFFER)
    return {
        OURS: lambda: given,
        "lt-fast, estimated counts": lambda: estimated,
        "Poisson, estimated counts": lambda: rivals.shuffled(rivals.poisson_copies(samples, len(counts)), BUFFER),
        "NumPy in blocks": lambda: rivals.numpy_blocks(samples, counts, BUFFER),
        "lt-fast, under": lambda: thinned,
        "rejection": lambda: rivals.shuffled(rivals.rejected(samples, counts), BUFFER),
        "shuffle alone": lambda: rivals.shuffled(samples, BUFFER),
    }


def line_of(
    make: Callable[[], Iterable[rivals.Sample]], samples: list[rivals.Sample], counts: NDArray[np.int64], repeats: int
) -> dict[str, object]:
    """Return time and distribution of one way."""
    drawn = np.bincount([label for _, label in make()], minlength=len(counts))
    seconds = best_of(lambda: deque(make(), maxlen=0), repeats)
    return {
        "us per sample": round(seconds / drawn.sum() * 1e6, 3),
        "off by, %": round(50 * float(abs(drawn / drawn.sum() - 1 / len(counts)).sum()), 1),
        "read per sample given": round(len(samples) / drawn.sum(), 2),
    }


if __name__ == "__main__":
    main()
