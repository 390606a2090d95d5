"""Samplers of 10^9 labels: seconds to build, the memory that takes and keeps, and a batch from the end of an epoch.

A hundred classes fall exponentially by a factor of 100; the labels are of one byte, 1 GB. Each sampler is built in a
process of its own, which counts its memory. What needs a number per sample beside its label is not here:
``WeightedRandomSampler`` takes 24 bytes a sample, and its draws by class are ``ClassBalancedBatchSampler(q=...)``.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from benches.harness import print_table, write_csv
from numpy.typing import NDArray

from lt_fast import ClassCounts, sampling

CSV = "labels.csv"
SAMPLES, CLASSES, RATIO, BATCH = 10**9, 100, 100.0, 256
KINDS: dict[str, Callable[[NDArray[np.uint8]], Any]] = {
    "counts": ClassCounts.from_labels,
    "shuffled": lambda labels: sampling.ShuffledBatchSampler(labels, batch_size=BATCH),
    "class-balanced": lambda labels: sampling.ClassBalancedBatchSampler(labels, batch_size=BATCH),
    "strata": lambda labels: sampling.StratifiedBatchSampler(labels, batch_size=BATCH),
    "4 of each of 64 classes": lambda labels: sampling.MPerClassBatchSampler(labels, m=4, classes_per_batch=64),
    "confusion pairs": lambda labels: sampling.ConfusionPairBatchSampler(
        labels, np.ones((CLASSES, CLASSES)), pairs_per_batch=BATCH // 2
    ),
}


def main() -> None:
    """Build every sampler, print the table and write ``results/labels.csv``."""
    rows = []
    for kind in KINDS:
        command = [sys.executable, "-m", "benches.labels", "--kind", kind, str(SAMPLES)]
        done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True)
        rows.append({"sampler": kind, "labels": SAMPLES, **json.loads(done.stdout)})
    print_table(rows)
    print(write_csv(CSV, rows))


def built(kind: str, samples: int) -> dict[str, float]:
    """Build a sampler in this process; return its time and memory, without the labels'."""
    labels = make_labels(samples)
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory so far is forgotten
    before, began = memory("VmRSS"), time.perf_counter()
    sampler = KINDS[kind](labels)
    seconds = time.perf_counter() - began
    peak, kept = memory("VmHWM") - before, memory("VmRSS") - before
    return {
        "seconds to build": round(seconds, 2),
        "GB while it is built": round(peak / 1e9, 2),
        "GB kept": round(kept / 1e9, 2),
        "bytes per label kept": round(kept / samples, 2),
        "ms for the last batch of epoch 3": round(last_batch(sampler) * 1e3, 3),
    }


def last_batch(sampler: Any) -> float:
    """Return the seconds of a batch after another one has been drawn; nothing for counts."""
    if not hasattr(sampler, "batch"):
        return 0.0
    sampler.batch(0, 0)
    began = time.perf_counter()
    sampler.batch(3, sampler.num_batches - 1)
    return time.perf_counter() - began


def make_labels(samples: int) -> NDArray[np.uint8]:
    """Return labels of one byte, in an order in which neighbours are of different classes."""
    shares = RATIO ** (-np.arange(CLASSES) / (CLASSES - 1))
    counts = np.maximum(1, (1000 * shares / shares.sum()).round().astype(np.int64))
    block = np.random.default_rng(0).permutation(np.repeat(np.arange(CLASSES, dtype=np.uint8), counts))
    return np.resize(block, samples)


def memory(name: str) -> int:
    """Return a line of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--kind"]:
        print(json.dumps(built(sys.argv[2], int(sys.argv[3]))))
    else:
        main()
