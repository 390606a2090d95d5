"""Samplers beside what people use, ns an index, one core: kernels, arrays, lists, construction, a whole DataLoader.

Counts of CIFAR-100-LT and ImageNet-LT, and a Pareto profile with the classes, the largest and the smallest class of
iNaturalist 2018 (445,901 samples for its 437,513). An epoch is N draws, batches are of 128. Rivals: torch's
``WeightedRandomSampler`` with weights 1 / n_c, ``RandomSampler`` and ``DistributedSampler``, alone and under
``BatchSampler``; NumPy, a class and then an offset, vectorised over the whole epoch, cut into views or lists; the
fastest NumPy that we know, which writes in place; torchsampler, pytorch-metric-learning and grain where they are
installed (``pip install torchsampler pytorch-metric-learning grain``); the algorithms of ``benches.rivals.sampling``,
ClassAwareSampler's twice: with iterator objects, as its authors have it, and with generators, which is faster. Rivals
that take microseconds an index draw fewer of them. Kernels are timed without Python, by ``cargo bench``, where cargo is
found. The column "times faster" compares with the fastest line of lt-fast that gives the same output. Python's integers
are the limit of every list, whoever makes them.
"""

import itertools
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from benches import rust_kernels
from benches.harness import best_of, installed, print_table, write_csv
from benches.rivals.sampling import (
    class_aware,
    class_aware_by_generators,
    confusion_pairs,
    confusion_pairs_numpy,
    numpy_by_weight,
    numpy_in_place,
    numpy_two_level,
)
from numpy.typing import NDArray
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from lt_fast import datasets, sampling
from lt_fast.sampling import ClassBalancedBatchSampler, ShuffledBatchSampler

BATCH = 128
REPEATS = 10
FEW = 5000  # draws of a rival that takes microseconds for each
SETS = {  # classes, largest class, imbalance ratio, profile; the kernels' bench has them, too
    "cifar100-lt": (100, 500, 100, "exp"),
    "imagenet-lt": (1000, 1280, 256, "pareto"),
    "inaturalist-2018": (8142, 1000, 500, "pareto"),
}
Row = dict[str, Any]
# What a call gives -> who -> a call, and how many indices it makes.
Calls = dict[str, dict[str, tuple[Callable[[], Any], int]]]


def main() -> None:
    """Time everything, print the table, write ``results/sampling.csv``."""
    torch.set_num_threads(1)
    kernels = KernelRows() if rust_kernels.can_run() else None
    if kernels is None:
        print("cargo was not found: no row of a kernel", file=sys.stderr)
    rows = []
    for counts, shape in SETS.items():
        labels = make_labels(*shape)
        for draw, calls in tasks(labels).items():
            for output, rivals in calls.items():
                found = timed(counts, draw, output, rivals)
                rows += kernels.beside(found, len(labels)) if kernels and output == "kernel" else found
    for classes in (100, 1000):
        labels = make_labels(classes, 500, 100, "exp")
        for output, rivals in pairs(labels, classes).items():
            rows += timed(f"{classes} classes", "confusion pairs", output, rivals)
    rows += timed("1 M labels", "construction", "sampler", construction())
    rows += kernels.others() if kernels else []
    print_table(rows)
    print(write_csv("sampling.csv", rows))


def tasks(labels: NDArray[np.int64]) -> dict[str, Calls]:
    """Return what is compared on one set of counts."""
    return {
        "class-balanced": class_balanced(labels),
        "shuffled": shuffled(labels),
        "weighted": weighted(labels),
        "weighted, distinct": distinct(labels),
        "m per class": m_per_class(labels),
        "whole loader": whole_loader(labels),
        "seek": seek(labels),
    }


def timed(counts: str, draw: str, output: str, rivals: dict[str, tuple[Callable[[], Any], int]]) -> list[Row]:
    """Return a row for each of ``rivals``: a call, and how many indices it gives."""
    costs = {name: best_of(call, REPEATS) / draws * 1e9 for name, (call, draws) in rivals.items()}
    return compared(counts, draw, output, costs)


def compared(counts: str, draw: str, output: str, costs: dict[str, float]) -> list[Row]:
    """Return a row for each cost, beside the fastest of ours."""
    ours = min((cost for name, cost in costs.items() if name.startswith("lt-fast")), default=None)
    return [
        {
            "counts": counts,
            "draw": draw,
            "output": output,
            "sampler": name,
            "ns per index": round(cost, 2),
            "times faster": None if ours is None else round(cost / ours, 2),
        }
        for name, cost in costs.items()
    ]


class KernelRows:
    """What ``cargo bench`` measured, handed out beside the rivals of the same draw."""

    def __init__(self) -> None:
        self.left = rust_kernels.rows()

    def beside(self, rivals: list[Row], samples: int) -> list[Row]:
        """Return ``rivals`` and the kernel's rows of the same draw, compared anew.

        Raises:
            ValueError: if the kernels had another number of samples: then the two benches have different counts.
        """
        about = {name: rivals[0][name] for name in ("counts", "draw", "output")}
        found = [row for row in self.left if all(row[name] == value for name, value in about.items())]
        for row in found:
            if int(row["samples"]) != samples:
                raise ValueError(f"counts must be the same in both benches, got {samples} and {row['samples']} samples")
            self.left.remove(row)
        costs = {row["sampler"]: float(row["ns per index"]) for row in [*rivals, *found]}
        return compared(**about, costs=costs)

    def others(self) -> list[Row]:
        """Return the rows that nobody asked for: draws without a rival that fills a buffer, and fills by batches."""

        def about(row: dict[str, str]) -> tuple[str, str, str]:
            return row["counts"], row["draw"], row["output"]

        grouped: dict[tuple[str, str, str], dict[str, float]] = {}
        for row in self.left:
            grouped.setdefault(about(row), {})[row["sampler"]] = float(row["ns per index"])
        return [row for key, costs in grouped.items() for row in compared(*key, costs)]


def weighted(labels: NDArray[np.int64]) -> Calls:
    """Return what is compared for an epoch of draws by a weight a sample, independent of each other."""
    weights, draws = 1 / np.bincount(labels)[labels], len(labels)
    theirs = WeightedRandomSampler(torch.from_numpy(weights), draws)
    ours, epochs = sampling.WeightedRandomSampler(weights, draws), itertools.count()
    return {
        "kernel": {"NumPy binary search": (numpy_by_weight(weights), draws)},
        "array": {
            "NumPy binary search": (numpy_by_weight(weights), draws),
            "WeightedRandomSampler": (lambda: np.fromiter(theirs, np.int64, draws), draws),
            "lt-fast": (lambda: ours.epoch_indices(next(epochs)), draws),
        },
    }


def distinct(labels: NDArray[np.int64]) -> Calls:
    """Return what is compared for half of the samples by weight, without replacement."""
    weights, draws = 1 / np.bincount(labels)[labels], len(labels) // 2
    theirs = WeightedRandomSampler(torch.from_numpy(weights), draws, replacement=False)
    ours, epochs = sampling.WeightedRandomSampler(weights, draws, replacement=False), itertools.count()
    return {
        "array": {
            "WeightedRandomSampler": (lambda: np.fromiter(theirs, np.int64, draws), draws),
            "lt-fast": (lambda: ours.epoch_indices(next(epochs)), draws),
        }
    }


def m_per_class(labels: NDArray[np.int64]) -> Calls:
    """Return what is compared for batches of 32 classes with 4 samples each."""
    calls: Calls = {"list batches": {}}
    learning = installed("pytorch_metric_learning.samplers")
    if learning is not None:
        theirs = learning.MPerClassSampler(labels, 4, BATCH, length_before_new_iter=BATCH * 40)
        calls["list batches"]["MPerClassSampler"] = (lambda: consume(BatchSampler(theirs, BATCH, False)), BATCH * 40)
    ours = sampling.MPerClassBatchSampler(labels, m=4, classes_per_batch=BATCH // 4)
    calls["list batches"]["lt-fast"] = (lambda: consume(ours), len(ours) * BATCH)
    return calls


def pairs(labels: NDArray[np.int64], classes: int) -> Calls:
    """Return what is compared for batches of confusion pairs."""
    confusion = np.random.default_rng(0).random((classes, classes)) ** 4
    np.fill_diagonal(confusion, 0)
    settings: dict[str, Any] = {"pairs_per_batch": BATCH, "num_batches": 500}
    arrays = sampling.ConfusionPairBatchSampler(labels, confusion, output="numpy", **settings)
    lists = sampling.ConfusionPairBatchSampler(labels, confusion, **settings)
    python, vectorised = (make(labels, confusion, BATCH) for make in (confusion_pairs, confusion_pairs_numpy))
    return {
        "array batches": {
            "NumPy": (vectorised, 2 * BATCH),
            "lt-fast": (lambda: consume(arrays), 1000 * BATCH),
        },
        "list batches": {
            "Python": (python, 2 * BATCH),
            "lt-fast": (lambda: consume(lists), 1000 * BATCH),
        },
    }


def whole_loader(labels: NDArray[np.int64]) -> Calls:
    """Return what is compared for a DataLoader in this process over 64 numbers a sample, in memory."""
    data = TensorDataset(torch.zeros(len(labels), 64), torch.from_numpy(labels))
    few = FEW // BATCH * BATCH
    weighted = WeightedRandomSampler(torch.from_numpy(1 / np.bincount(labels)[labels]), few)
    ours = ClassBalancedBatchSampler(labels, batch_size=BATCH, num_batches=few // BATCH)
    return {
        "batches": {
            "WeightedRandomSampler": (lambda: consume(DataLoader(data, BATCH, sampler=weighted)), few),
            "lt-fast cycle": (lambda: consume(DataLoader(data, batch_sampler=ours)), few),
        }
    }


def seek(labels: NDArray[np.int64]) -> Calls:
    """Return what a batch costs at the start of an epoch and a billion draws on."""
    far, calls = 10**9 // BATCH, {}
    for within in ("replace", "cycle"):
        sampler = ClassBalancedBatchSampler(labels, batch_size=BATCH, num_batches=far + 8, within_class=within)
        # To and fro, so that nothing goes on from where it was.
        near, distant = itertools.cycle([0, far // 2]), itertools.cycle([far, far // 2])
        calls[f"{within}, from either end"] = {
            "lt-fast at 0 or 5e8": (lambda s=sampler, at=near: s[next(at)], BATCH),
            "lt-fast at 1e9 or 5e8": (lambda s=sampler, at=distant: s[next(at)], BATCH),
        }
    return calls


def construction() -> dict[str, tuple[Callable[[], Any], int]]:
    """Return what is compared for building a sampler from a million labels: ns a label."""
    labels = np.random.default_rng(0).integers(1000, size=1_000_000)
    data = TensorDataset(torch.zeros(len(labels), 1), torch.from_numpy(labels))
    calls: dict[str, tuple[Callable[[], Any], int]] = {
        "lt-fast": (lambda: ClassBalancedBatchSampler(labels, batch_size=BATCH), len(labels))
    }
    torchsampler = installed("torchsampler")
    if torchsampler is not None:
        listed = labels.tolist()
        calls["torchsampler"] = (
            lambda: torchsampler.ImbalancedDatasetSampler(data, labels=listed),
            len(labels),
        )
    return calls


def make_labels(classes: int, largest: int, ratio: float, profile: str) -> NDArray[np.int64]:
    """Return shuffled labels with counts of that profile."""
    counts = datasets.long_tailed_counts(largest, classes, imbalance_ratio=ratio, profile=profile)
    return np.random.default_rng(0).permutation(np.repeat(np.arange(classes), counts))


def class_balanced(labels: NDArray[np.int64]) -> Calls:
    """Return what is compared for p_c = 1 / C."""
    weights = torch.from_numpy(1 / np.bincount(labels)[labels])
    weighted = WeightedRandomSampler(weights, len(labels), generator=torch.Generator().manual_seed(0))
    calls = numpy_and_torch(numpy_two_level(labels), "NumPy two-level", weighted, len(labels))
    calls["kernel"] = {
        "NumPy two-level": (numpy_two_level(labels), len(labels)),
        "NumPy in place": (numpy_in_place(labels), len(labels)),
    }
    for within in ("replace", "cycle"):
        settings: dict[str, Any] = {"batch_size": BATCH, "within_class": within, "drop_last": False}
        add_ours(calls, f"lt-fast {within}", ClassBalancedBatchSampler, labels, settings)
    aware, by_generators = class_aware(labels, FEW), class_aware_by_generators(labels, FEW)
    calls["list batches"] |= {
        "ClassAwareSampler": (lambda: consume(BatchSampler(aware(), BATCH, False)), FEW),
        "ClassAwareSampler by generators": (lambda: consume(BatchSampler(by_generators(), BATCH, False)), FEW),
    }
    torchsampler = installed("torchsampler")
    if torchsampler is not None:
        data = TensorDataset(torch.zeros(len(labels), 1), torch.from_numpy(labels))
        theirs = torchsampler.ImbalancedDatasetSampler(data, labels=labels.tolist(), num_samples=FEW)
        calls["list batches"]["torchsampler"] = (lambda: consume(BatchSampler(theirs, BATCH, False)), FEW)
    return calls


def shuffled(labels: NDArray[np.int64]) -> Calls:
    """Return what is compared for a plain shuffle."""
    generator = np.random.default_rng(0)
    random = RandomSampler(range(len(labels)), generator=torch.Generator().manual_seed(0))
    calls = numpy_and_torch(lambda: generator.permutation(len(labels)), "NumPy permutation", random, len(labels))
    buffer = np.arange(len(labels))
    calls["kernel"] = {"NumPy shuffle in place": (lambda: generator.shuffle(buffer), len(labels))}
    add_ours(calls, "lt-fast", ShuffledBatchSampler, labels, {"batch_size": BATCH, "drop_last": False})
    spread = BatchSampler(DistributedSampler(range(len(labels)), 1, 0), BATCH, drop_last=False)
    calls["list batches"]["DistributedSampler + BatchSampler"] = (lambda: consume(spread), len(labels))
    grain = installed("grain.python")
    if grain is not None:
        index = grain.IndexSampler(len(labels), grain.NoSharding(), shuffle=True, num_epochs=None, seed=0)
        calls["array"]["grain IndexSampler"] = (lambda: [index[at].record_key for at in range(FEW // 10)], FEW // 10)
    return calls


def numpy_and_torch(draw: Callable[[], NDArray[np.int64]], name: str, sampler: Iterable[int], draws: int) -> Calls:
    """Return the rivals, each as it is used."""
    batches = BatchSampler(sampler, BATCH, drop_last=False)
    who = type(sampler).__name__
    return {
        "array": {name: (draw, draws), who: (lambda: np.fromiter(sampler, np.int64, draws), draws)},
        "array batches": {name: (lambda: consume(cut(draw())), draws)},
        "list batches": {
            name: (lambda: consume(batch.tolist() for batch in cut(draw())), draws),
            f"{who} + BatchSampler": (lambda: consume(batches), draws),
        },
    }


def add_ours(calls: Calls, name: str, sampler: type, labels: NDArray[np.int64], settings: dict[str, Any]) -> None:
    """Add our sampler to the rivals; each call draws another epoch, as training does."""
    arrays, lists = sampler(labels, output="numpy", **settings), sampler(labels, **settings)
    epochs, draws = itertools.count(), len(labels)
    calls["array"][name] = (lambda: arrays.epoch_indices(next(epochs)), draws)
    calls["array batches"][name] = (lambda: consume(arrays), draws)
    calls["list batches"][name] = (lambda: consume(lists), draws)


def cut(indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the batches as views."""
    return [indices[at : at + BATCH] for at in range(0, len(indices), BATCH)]


def consume(batches: Iterable[Any]) -> None:
    """Iterate to the end, keeping nothing."""
    for _ in batches:
        pass


if __name__ == "__main__":
    main()
