"""``Evaluation``: the numbers of ``evaluate``, bit for bit, from batches and from several processes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forked import run
from lt_fast import metrics
from lt_fast.errors import DataError


def draw(seed, rows, classes):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, classes)).astype(np.float32)
    if classes > 2:
        logits[::3, 1] = logits[::3, 2]  # ties
        logits[::4, 0] = -np.inf
    return logits, generator.integers(0, classes, rows), generator.integers(1, 200, classes)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 9), st.data())
def test_batches_give_what_all_rows_give(seed, rows, classes, data):
    logits, labels, counts = draw(seed, rows, classes)
    cuts = sorted(data.draw(st.sets(st.integers(1, rows - 1), max_size=5)))
    evaluation = metrics.Evaluation(counts, bins=7, groups=(50, 10))
    for part in np.split(np.arange(rows), cuts):
        evaluation.update(torch.from_numpy(logits[part]), labels[part])
    assert len(evaluation) == rows
    assert evaluation.compute() == metrics.evaluate(logits, labels, counts, bins=7, groups=(50, 10))


def test_several_processes_are_one():
    logits, labels, counts = draw(0, 40, 6)
    ranks = [metrics.Evaluation(counts).update(logits[rows], labels[rows]) for rows in (slice(25), slice(25, 40))]
    merged = metrics.Evaluation(counts)
    for rank in ranks:
        merged.merge(rank.answers)
    assert merged.compute() == metrics.evaluate(logits, labels, counts)


def test_more_rows_may_follow():
    logits, labels, counts = draw(1, 30, 4)
    evaluation = metrics.Evaluation(counts).update(logits[:10], labels[:10])
    assert evaluation.compute() == metrics.evaluate(logits[:10], labels[:10], counts)
    assert evaluation.update(logits[10:], labels[10:]).compute() == metrics.evaluate(logits, labels, counts)


def test_each_number_is_the_metric_of_its_name():
    logits, labels, counts = draw(2, 50, 5)
    found = metrics.Evaluation(counts).update(logits, labels).compute()
    assert {name: found[name] for name in metrics.METRICS} == {
        name: metric(logits, labels) for name, metric in metrics.METRICS.items()
    }


def test_probabilities_are_refused_where_all_batches_are():
    share = np.array([[0.75, 0.25], [0.5, 0.5]])
    evaluation = metrics.Evaluation([5, 5]).update(share, [0, 1]).update(np.eye(2), [0, 1])
    with pytest.raises(ValueError, match="pass the logits"):
        evaluation.compute()
    assert evaluation.update([[3.0, -1.0]], [0]).compute()["images"] == 5
    assert metrics.Evaluation([5, 5]).update(np.eye(2), [0, 1]).compute()["top1"] == 1.0


def test_bad_input_is_refused_and_leaves_nothing():
    evaluation = metrics.Evaluation([5, 5])
    with pytest.raises(ValueError, match="the evaluation must hold a row, got none; call update first"):
        evaluation.compute()
    with pytest.raises(ValueError, match=r"train_counts must have one entry a column of logits \(3\), got 2"):
        evaluation.update(np.zeros((1, 3)), [0])
    with pytest.raises(DataError, match="logits must be finite"):
        evaluation.update([[np.nan, 1.0]], [0])
    with pytest.raises(ValueError, match="label"):
        evaluation.merge(metrics.Evaluation([1, 1, 1]).update(np.eye(3), [0, 1, 2]).answers)
    with pytest.raises(ValueError, match="bins"):
        metrics.Evaluation([5, 5], bins=0)
    assert len(evaluation) == 0


STREAMED = """
import re
from pathlib import Path

import torch

from lt_fast import metrics

def peak():
    return int(re.search(r"VmHWM:\\s*([0-9]+)", Path("/proc/self/status").read_text())[1])


torch.set_num_threads(1)
evaluation = metrics.Evaluation([3] * 20_000)
logits, labels = torch.zeros(256, 20_000), torch.arange(256)
evaluation.update(logits, labels)
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = peak()
for start in range(256, 2048, 256):
    evaluation.update(logits, labels + start)
found = evaluation.compute()
assert found["images"] == 2048 and found["classes"] == 20_000
print((peak() - before) // 1024)
"""


def test_memory_does_not_grow_with_rows_times_classes():
    done = run(["-c", STREAMED])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 60  # MiB; the logits of these batches would take 137, and 274 in float64
