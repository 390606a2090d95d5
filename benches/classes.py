"""Many classes, 1,000 to 100,000: seconds and peak memory of counts, losses, metrics, calibrators and the report.

Each row is measured in a process of its own, a copy of this one, after the same work on a few classes; its peak is what
it needs in addition to its input. "whole" is the same work on a matrix of all logits: what there is without streaming.
Rows and features are few, so that the table takes a minute; time grows with the rows, and the peak of what is streamed
does not.
"""

import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benches.harness import print_table, write_csv
from torch import Tensor, nn

from lt_fast import ClassCounts, losses, metrics
from lt_fast.calibration import MarginCalibration, outputs
from lt_fast.data import ArraySource
from lt_fast.datasets import long_tailed_counts
from lt_fast.experiment import resolve
from lt_fast.experiment.build import Data
from lt_fast.experiment.predictions import Best, predictions
from lt_fast.experiment.protocol import SELECTION, data_summary, protocol_of
from lt_fast.experiment.results import measure
from lt_fast.report.page import write_page
from lt_fast.training import History, RunDirectory
from lt_fast.versions import versions

CLASSES, FEW = (1000, 8142, 100_000), 16
BATCH, BATCHES = 64, 16
ROWS, FEATURES = BATCH * BATCHES, 64
LARGEST, RATIO = 500, 500
Work = Callable[[], Any]


def main() -> None:
    """Measure everything and write ``results/classes.csv``."""
    torch.set_num_threads(1)
    rows = [
        {"what": what, "classes": classes, **measured(make, classes)}
        for what, make in TASKS.items()
        for classes in CLASSES
    ]
    print_table(rows)
    write_csv("classes.csv", rows)


def measured(make: Callable[[int], Work], classes: int) -> dict[str, float]:
    """Return seconds and peak of the work that ``make`` prepares, in a process of its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(make, classes, sender))
    process.start()
    sender.close()
    seconds, peak = receiver.recv()
    process.join()
    return {"seconds": seconds, "MiB": peak}


def _measure(make: Callable[[int], Work], classes: int, sender: Any) -> None:
    make(FEW)()  # imports what it needs
    work = make(classes)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, start = _peak(), time.perf_counter()
    work()
    sender.send((time.perf_counter() - start, (_peak() - before) / 1024))


def _peak() -> int:
    found = re.search(r"VmHWM:\s*([0-9]+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def counts_of(classes: int) -> ClassCounts:
    """Return a long tail of ``classes``."""
    return ClassCounts(long_tailed_counts(LARGEST, classes, imbalance_ratio=RATIO))


def _batch(classes: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (BATCH,), generator=draw)
    logits = torch.randn(BATCH, classes, generator=draw)
    logits[torch.arange(BATCH), labels] += 5
    return logits, labels


def counting(classes: int) -> Work:
    """Counts and groups."""
    counted = long_tailed_counts(LARGEST, classes, imbalance_ratio=RATIO).tolist()
    return lambda: ClassCounts(counted).groups()


def loss_of(name: str, **options: Any) -> Callable[[int], Work]:
    """Forward and backward pass of one batch."""

    def make(classes: int) -> Work:
        criterion = getattr(losses, name)(counts_of(classes), **options)
        logits, labels = _batch(classes)
        logits.requires_grad_()
        return lambda: criterion(logits, labels).backward()

    return make


def streamed(classes: int) -> Work:
    """The metrics, batch by batch."""
    counts, (logits, labels) = counts_of(classes), _batch(classes)

    def work() -> None:
        evaluation = metrics.Evaluation(counts)
        for _ in range(BATCHES):
            evaluation.update(logits, labels)
        evaluation.compute()

    return work


def whole(classes: int) -> Work:
    """The metrics of one matrix that holds all logits."""
    counts, (logits, labels) = counts_of(classes), _batch(classes)
    return lambda: metrics.evaluate(logits.repeat(BATCHES, 1), labels.repeat(BATCHES), counts)


def fitting(kept: int) -> Callable[[int], Work]:
    """Margin calibration, one epoch; ``kept`` logits at most are computed once for all steps."""

    def make(classes: int) -> Work:
        labels = torch.arange(ROWS) % min(classes, ROWS)
        counts = np.bincount(labels.numpy(), minlength=classes)
        features, head = torch.randn(ROWS, FEATURES), nn.Linear(FEATURES, classes)
        calibrator = MarginCalibration(ClassCounts(counts), epochs=1, batch_size=BATCH, empty="ignore")
        outputs.MOST_KEPT = kept
        return lambda: calibrator.fit(features, labels, head=head)

    return make


def reporting(classes: int) -> Work:
    """The page of a run: reading its files and writing it."""
    folder = Path(tempfile.mkdtemp()) / "run"
    _write_run(folder, classes)
    return lambda: write_page(folder)


def _write_run(folder: Path, classes: int) -> None:
    """Write a finished run of ``ROWS`` test images, without a training."""
    counts, (logits, labels) = counts_of(classes), _batch(classes)
    names, test = counts.names, labels.repeat(BATCHES)
    sources = [
        ArraySource(np.zeros((len(each), 1, 1, 1), np.uint8), each, names)
        for each in (np.repeat(np.arange(classes), counts.counts), test.numpy())
    ]
    data, config = Data(*sources), resolve("ce", "digits-lt", {"epochs": 1})
    short = Best(*(column.repeat(BATCHES, *[1] * (column.ndim - 1)) for column in Best.of(logits, labels)))
    found = predictions(short, test, None)
    result = {"config": config, **measure(data, found), "method": {}, "tables": [], "data": data_summary(data)}
    result |= {"selection": SELECTION, "seconds": {"train": 1.0, "calibrate_and_measure": 1.0}, "device": "cpu"}
    row = {"epoch": 1, "learning_rate": 0.1, "train_loss": 2.0, "seconds": 1.0, "test_top1": 0.5}
    with RunDirectory(folder, config) as directory:
        directory.write_protocol(protocol_of(config, data))
        directory.write_metrics(History([row]))
        found.save(folder)
        directory.write_result(result | {"ranks": 1, "versions": versions()})


TASKS: dict[str, Callable[[int], Work]] = {
    "class counts and groups": counting,
    f"LDAM, forward and backward, {BATCH} rows": loss_of("LDAMLoss", scale=1.0),
    f"balanced softmax, forward and backward, {BATCH} rows": loss_of("BalancedSoftmaxLoss"),
    f"seesaw, forward and backward, {BATCH} rows": loss_of("SeesawLoss"),
    f"metrics of {ROWS:,} rows, streamed": streamed,
    f"metrics of {ROWS:,} rows, whole": whole,
    f"margin calibration, {ROWS:,} rows, an epoch, streamed": fitting(0),
    f"margin calibration, {ROWS:,} rows, an epoch, whole": fitting(1 << 40),
    f"report of a run, {ROWS:,} test images": reporting,
}


if __name__ == "__main__":
    main()
