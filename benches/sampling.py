"""Batches of a sampler beside what people use: class-balanced and shuffled, ns an index, one core.

Counts of CIFAR-100-LT, ImageNet-LT and iNaturalist 2018 in size and imbalance (exponential profiles). An epoch is N
draws, batches are of 128. Rivals: torch's ``WeightedRandomSampler`` with weights 1 / n_c and ``RandomSampler``, alone
and under ``BatchSampler``; NumPy, a class and then an offset, vectorised over the whole epoch, cut into views or lists.
The column "times faster" compares with the fastest line of lt-fast that gives the same output.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from benches.harness import best_of, print_table, write_csv
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, RandomSampler, WeightedRandomSampler

from lt_fast.sampling import ClassBalancedBatchSampler, ShuffledBatchSampler

BATCH = 128
REPEATS = 10
SIZES = {  # classes, largest class, imbalance ratio
    "cifar100-lt": (100, 500, 100),
    "imagenet-lt": (1000, 1280, 256),
    "inaturalist-2018": (8142, 1000, 500),
}
# What a call gives -> who -> a call that makes one epoch.
Calls = dict[str, dict[str, Callable[[], Any]]]


def main() -> None:
    """Time everything, print the table, write ``results/sampling.csv``."""
    torch.set_num_threads(1)
    rows = []
    for size, profile in SIZES.items():
        labels = make_labels(*profile)
        for task, calls in (("class-balanced", class_balanced(labels)), ("shuffled", shuffled(labels))):
            for output, rivals in calls.items():
                rows += timed({"counts": size, "draw": task, "output": output}, rivals, len(labels))
    print_table(rows)
    print(write_csv("sampling.csv", rows))


def timed(about: dict[str, Any], rivals: dict[str, Callable[[], Any]], draws: int) -> list[dict[str, Any]]:
    """Return a row for each of ``rivals``."""
    costs = {name: best_of(call, REPEATS) / draws * 1e9 for name, call in rivals.items()}
    ours = min(cost for name, cost in costs.items() if name.startswith("lt-fast"))
    return [
        {**about, "sampler": name, "ns per index": round(cost, 2), "times faster": round(cost / ours, 2)}
        for name, cost in costs.items()
    ]


def make_labels(classes: int, largest: int, ratio: float) -> NDArray[np.int64]:
    """Return shuffled labels with exponentially falling counts."""
    counts = np.maximum(1, (largest * ratio ** (-np.arange(classes) / (classes - 1))).astype(np.int64))
    return np.random.default_rng(0).permutation(np.repeat(np.arange(classes), counts))


def class_balanced(labels: NDArray[np.int64]) -> Calls:
    """Return what is compared for p_c = 1 / C."""
    weights = torch.from_numpy(1 / np.bincount(labels)[labels])
    weighted = WeightedRandomSampler(weights, len(labels), generator=torch.Generator().manual_seed(0))
    calls = numpy_and_torch(numpy_two_level(labels), "NumPy two-level", weighted, len(labels))
    for within in ("replace", "cycle"):
        settings: dict[str, Any] = {"batch_size": BATCH, "within_class": within, "drop_last": False}
        add_ours(calls, f"lt-fast {within}", ClassBalancedBatchSampler, labels, settings)
    return calls


def shuffled(labels: NDArray[np.int64]) -> Calls:
    """Return what is compared for a plain shuffle."""
    generator = np.random.default_rng(0)
    random = RandomSampler(range(len(labels)), generator=torch.Generator().manual_seed(0))
    calls = numpy_and_torch(lambda: generator.permutation(len(labels)), "NumPy permutation", random, len(labels))
    add_ours(calls, "lt-fast", ShuffledBatchSampler, labels, {"batch_size": BATCH, "drop_last": False})
    return calls


def numpy_and_torch(draw: Callable[[], NDArray[np.int64]], name: str, sampler: Iterable[int], draws: int) -> Calls:
    """Return the rivals, each as it is used."""
    batches = BatchSampler(sampler, BATCH, drop_last=False)
    who = type(sampler).__name__
    return {
        "array": {name: draw, who: lambda: np.fromiter(sampler, np.int64, draws)},
        "array batches": {name: lambda: consume(cut(draw()))},
        "list batches": {
            name: lambda: consume(batch.tolist() for batch in cut(draw())),
            f"{who} + BatchSampler": lambda: consume(batches),
        },
    }


def add_ours(calls: Calls, name: str, sampler: type, labels: NDArray[np.int64], settings: dict[str, Any]) -> None:
    """Add our sampler to the rivals; each call draws another epoch, as training does."""
    arrays, lists = sampler(labels, output="numpy", **settings), sampler(labels, **settings)
    epochs = iter(range(1 << 30))
    calls["array"][name] = lambda: arrays.epoch_indices(next(epochs))
    calls["array batches"][name] = lambda: consume(arrays)
    calls["list batches"][name] = lambda: consume(lists)


def numpy_two_level(labels: NDArray[np.int64]) -> Callable[[], NDArray[np.int64]]:
    """Return the class-balanced draw of an epoch as one would write it with NumPy."""
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels)
    starts, generator = np.cumsum(counts) - counts, np.random.default_rng(0)

    def draw() -> NDArray[np.int64]:
        classes = generator.integers(len(counts), size=len(labels))
        offsets = (generator.random(len(labels)) * counts[classes]).astype(np.int64)
        return order[starts[classes] + offsets]

    return draw


def cut(indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the batches as views."""
    return [indices[at : at + BATCH] for at in range(0, len(indices), BATCH)]


def consume(batches: Iterable[Any]) -> None:
    """Iterate to the end, keeping nothing."""
    for _ in batches:
        pass


if __name__ == "__main__":
    main()
