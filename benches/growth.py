"""How the cost of an index grows with classes (10 to 10^5) and samples (10^4 to 10^9): CSV and a picture for the docs.

Classes vary at a million samples, samples at 1,000 classes, both with counts that fall exponentially by a factor of
100. Indices come as arrays, as ``epoch_indices`` gives them: an epoch, or its first million draws where it is longer.
What must draw its whole epoch at once (``RandomSampler``, ``WeightedRandomSampler``, NumPy's permutation, draws without
replacement) does so. Rivals that take microseconds an index draw fewer. A line ends where it would need more than about
4 GB (a shuffle needs none), seconds an epoch, or more weights than torch takes (2^24). Best of ten; of three where a
run takes more than a second.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benches.harness import DOCS, best_of, installed, print_table, read_csv, write_csv
from benches.rivals.sampling import class_aware, numpy_two_level
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from torch.utils.data import RandomSampler, WeightedRandomSampler

from lt_fast import sampling

CSV, PICTURE = "growth.csv", "sampling_growth.png"
CLASSES = [10, 10**2, 10**3, 10**4, 10**5]
SAMPLES = [10**4, 10**5, 10**6, 10**7, 10**8, 10**9]
FIXED_SAMPLES, FIXED_CLASSES = 10**6, 10**3
DRAWS, BATCH, FEW = 10**6, 1000, 2000
GROUPS = 512  # draws of a rival that shuffles all samples of a class for four of them
RATIO = 100.0
Line = tuple[Callable[[], Any], int]  # a call, and how many indices it makes
OURS = {  # colour, marker
    "class-balanced": ("tab:blue", "o"),
    "every image before any repeats": ("tab:green", "s"),
    "strata": ("tab:purple", "^"),
    "4 of each of 8 classes": ("tab:red", "D"),
    "confusion pairs": ("tab:orange", "v"),
    "shuffled": ("tab:cyan", "P"),
    "by weight": ("tab:brown", "X"),
    "by weight, distinct": ("tab:pink", "*"),
}
RIVALS = {
    "NumPy two-level": "o",
    "WeightedRandomSampler": "X",
    "ClassAwareSampler": "s",
    "MPerClassSampler": "D",
    "RandomSampler": "P",
    "NumPy permutation": "v",
    "grain": "^",
}


def main() -> None:
    """Time everything, print the table, write ``results/growth.csv`` and the picture."""
    torch.set_num_threads(1)
    rows = [
        row
        for axis, sizes, lines in (("classes", CLASSES, over_classes), ("samples", SAMPLES, over_samples))
        for size in sizes
        for row in timed(axis, size, lines(size))
    ]
    print_table(rows)
    print(write_csv(CSV, rows))
    draw()


def timed(axis: str, size: int, lines: Iterator[tuple[str, Line]]) -> Iterator[dict[str, Any]]:
    """Yield a row for each line; one at a time, so that its tables are gone before the next one's are built."""
    for name, (call, draws) in lines:
        yield {"axis": axis, "size": size, "sampler": name, "ns per index": round(seconds(call) / draws * 1e9, 2)}


def seconds(call: Callable[[], Any]) -> float:
    """Return the best of ten runs, or of three where the first one, which warms up, takes more than a second."""
    first = once(call)
    return best_of(call, 10) if first < 1 else min(first, once(call), once(call))


def once(call: Callable[[], Any]) -> float:
    """Return the time of one run."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# --- what is measured -------------------------------------------------------------------------------------------------


def over_classes(classes: int) -> Iterator[tuple[str, Line]]:
    """Yield what depends on the number of classes, over a million samples."""
    labels = make_labels(classes, FIXED_SAMPLES)
    yield from by_class(labels)
    yield "strata", epochs(sampling.StratifiedBatchSampler, labels, batch_size=128, num_batches=DRAWS // 128)
    groups = {"m": 4, "classes_per_batch": 8, "num_batches": DRAWS // 32}
    yield "4 of each of 8 classes", epochs(sampling.MPerClassBatchSampler, labels, **groups)
    pairs = {"pairs_per_batch": 64, "num_batches": DRAWS // 128}
    yield "confusion pairs", epochs(sampling.ConfusionPairBatchSampler, labels, some_confusions(classes), **pairs)
    learning = installed("pytorch_metric_learning.samplers")
    if learning is not None:
        theirs = learning.MPerClassSampler(labels, 4, 32, length_before_new_iter=GROUPS)
        yield "MPerClassSampler", (lambda: list(theirs), GROUPS)
    yield "ClassAwareSampler", python_loop(labels)
    yield "WeightedRandomSampler", weighted_by_torch(labels)


def over_samples(samples: int) -> Iterator[tuple[str, Line]]:
    """Yield what depends on the number of samples, with 1,000 classes."""
    yield "shuffled", epochs(sampling.ShuffledBatchSampler, samples, batch_size=BATCH, num_batches=batches(samples))
    grain = installed("grain.python")
    if grain is not None:
        index = grain.IndexSampler(samples, grain.NoSharding(), shuffle=True, num_epochs=None, seed=0)
        yield "grain", (lambda: [index[at].record_key for at in range(FEW // 10)], FEW // 10)
    if samples <= 10**8:
        labels, generator = make_labels(FIXED_CLASSES, samples), np.random.default_rng(0)
        yield from by_class(labels)
        yield "NumPy permutation", (lambda: generator.permutation(samples), samples)
    if samples <= 10**7:
        yield from by_weight(1 / np.bincount(labels)[labels])
        yield "WeightedRandomSampler", weighted_by_torch(labels)
        theirs = RandomSampler(range(samples), generator=torch.Generator().manual_seed(0))
        yield "RandomSampler", (lambda: np.fromiter(theirs, np.int64, samples), samples)
    if samples <= 10**6:
        yield "ClassAwareSampler", python_loop(labels)


def by_class(labels: NDArray[np.int64]) -> Iterator[tuple[str, Line]]:
    """Yield the class-balanced draws."""
    settings = {"batch_size": BATCH, "num_batches": batches(len(labels))}
    kind = sampling.ClassBalancedBatchSampler
    yield "class-balanced", epochs(kind, labels, within_class="replace", **settings)
    yield "every image before any repeats", epochs(kind, labels, within_class="cycle", **settings)
    yield "NumPy two-level", (numpy_two_level(labels, draws(len(labels))), draws(len(labels)))


def by_weight(weights: NDArray[np.float64]) -> Iterator[tuple[str, Line]]:
    """Yield the draws by a weight a sample."""
    yield "by weight", epochs(sampling.WeightedRandomSampler, weights, draws(len(weights)))
    yield "by weight, distinct", epochs(sampling.WeightedRandomSampler, weights, len(weights) // 2, replacement=False)


def epochs(kind: type, *arguments: Any, **options: Any) -> Line:
    """Return the call that draws another epoch each time, and the length of one."""
    output = {"output": "numpy"} if kind.__name__.endswith("BatchSampler") else {}
    sampler, numbers = kind(*arguments, **options, **output), itertools.count()
    return lambda: sampler.epoch_indices(next(numbers)), np.size(sampler.epoch_indices(0))


def python_loop(labels: NDArray[np.int64]) -> Line:
    """Return ClassAwareSampler as its authors have it."""
    aware = class_aware(labels, FEW)
    return lambda: list(aware()), FEW


def weighted_by_torch(labels: NDArray[np.int64]) -> Line:
    """Return torch's sampler, whose draw of an epoch is one call over all of its weights."""
    weights = torch.from_numpy(1 / np.bincount(labels)[labels])
    theirs = WeightedRandomSampler(weights, len(labels), generator=torch.Generator().manual_seed(0))
    return lambda: np.fromiter(theirs, np.int64, len(labels)), len(labels)


def draws(samples: int) -> int:
    """Return how many draws of an epoch are made."""
    return min(samples, DRAWS)


def batches(samples: int) -> int:
    """Return how many batches that is."""
    return draws(samples) // BATCH


def make_labels(classes: int, samples: int) -> NDArray[np.int64]:
    """Return so many labels in order (a table of classes has them so anyway), none without a sample."""
    shares = RATIO ** (-np.arange(classes) / (classes - 1))
    counts = np.maximum(1, (samples * shares / shares.sum()).astype(np.int64))
    counts[0] += samples - counts.sum()
    return np.repeat(np.arange(classes), counts)


def some_confusions(classes: int) -> sampling.ConfusionCounts:
    """Return a table in which every class was taken for ten others (nine, of ten classes)."""
    counts = sampling.ConfusionCounts(classes)
    target = np.repeat(np.arange(classes), 10)
    counts.update(target, (target + np.tile(np.arange(1, 11), classes) ** 2) % classes)
    return counts


# --- the picture ------------------------------------------------------------------------------------------------------


def draw(target: Path = DOCS / PICTURE) -> None:
    """Draw the picture from the CSV."""
    _, rows = read_csv(CSV)
    figure = Figure(figsize=(12, 6.6))
    panels = (
        ("classes", "More classes, in a million samples", "classes"),
        ("samples", "More samples, in 1,000 classes", "samples"),
    )
    for axes, (axis, title, unit) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        panel(axes, [row for row in rows if row["axis"] == axis])
        axes.set(title=title, xlabel=unit)
    figure.axes[0].set_ylabel("nanoseconds an index, as an array")
    figure.subplots_adjust(left=0.06, right=0.99, top=0.94, bottom=0.3, wspace=0.05)
    figure.savefig(target, dpi=110)


def panel(axes: Axes, rows: list[dict[str, str]]) -> None:
    """Draw one panel: ours in colours and solid, rivals in grey and dashed, the legends below."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        lines.setdefault(row["sampler"], []).append((float(row["size"]), float(row["ns per index"])))
    ours = [
        plot(axes, name, lines[name], "-", color=colour, marker=marker)
        for name, (colour, marker) in OURS.items()
        if name in lines
    ]
    rivals = [
        plot(axes, name, lines[name], "--", color="0.4", marker=marker, markerfacecolor="white")
        for name, marker in RIVALS.items()
        if name in lines
    ]
    axes.grid(which="major", alpha=0.3)
    axes.add_artist(legend_below(axes, ours, "lt-fast", 0.0))
    legend_below(axes, rivals, "others", 0.55)


def legend_below(axes: Axes, handles: list[Line2D], title: str, place: float) -> Legend:
    """Return a legend that starts at this share of the panel's width."""
    return axes.legend(
        handles=handles, title=title, loc="upper left", bbox_to_anchor=(place, -0.12), frameon=False, fontsize=9,
        alignment="left",
    )  # fmt: skip


def plot(axes: Axes, name: str, points: list[tuple[float, float]], style: str, **look: Any) -> Line2D:
    """Draw one line on logarithmic axes."""
    (line,) = axes.loglog(*zip(*points, strict=True), style, markersize=6, label=name, **look)
    return line


if __name__ == "__main__":
    main()
