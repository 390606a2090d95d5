"""The record of confusions: what is counted, its state, and what waits on a device."""

import numpy as np
import pytest
import torch

from lt_fast.methods import confusion_record
from lt_fast.methods.confusion_record import ConfusionRecord, ConfusionTable

CLASSES = 3


def problem(rows=8, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(CLASSES, (rows,), generator=draw), torch.randn(rows, CLASSES, generator=draw)


def matrix_of(problems):
    matrix = np.zeros((CLASSES, CLASSES), np.int64)
    for labels, logits in problems:
        np.add.at(matrix, (labels.numpy(), logits.argmax(1).numpy()), 1)
    return matrix


@pytest.mark.parametrize("device", ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def test_every_row_is_counted(device):
    record, problems = ConfusionRecord(CLASSES), [problem(seed=seed) for seed in range(70)]
    for labels, logits in problems:
        record.add(labels.to(device), logits.to(device))
    np.testing.assert_array_equal(record.up_to_date().matrix(), matrix_of(problems))


def test_predictions_on_a_device_wait(monkeypatch):
    """On a GPU reading every batch would make the steps wait; the device ``"meta"`` would have nothing to read."""
    monkeypatch.setattr(confusion_record, "_BATCHES_WAITING", 4)
    monkeypatch.setattr(confusion_record, "_reads_at_once", lambda _: False)
    record, problems, counted = ConfusionRecord(CLASSES), [problem(seed=seed) for seed in range(6)], []
    for labels, logits in problems:
        record.add(labels, logits)
        counted.append(record._own.total)
    assert counted == [0, 0, 0, 32, 32, 32]
    np.testing.assert_array_equal(record.up_to_date().matrix(), matrix_of(problems))


def test_a_merge_counts_everything_once():
    record, problems = ConfusionRecord(CLASSES), [problem(seed=seed) for seed in range(3)]
    for at, (labels, logits) in enumerate(problems):
        record.add(labels, logits)
        record.merge_ranks()
        np.testing.assert_array_equal(record.copy().matrix(), matrix_of(problems[: at + 1]))
    np.testing.assert_array_equal(record.up_to_date().matrix(), matrix_of(problems))


@pytest.mark.parametrize("kind", [ConfusionTable, ConfusionRecord])
def test_the_counts_are_part_of_the_state(kind):
    record, restored = ConfusionRecord(CLASSES), kind(CLASSES)
    record.add(*problem())
    state = record.state_dict()
    assert state["_extra_state"].dtype == torch.int64
    if kind is ConfusionRecord:
        restored.add(*problem(seed=1))  # forgotten
    restored.load_state_dict(state)
    assert restored.up_to_date() == record.up_to_date()
    assert torch.equal(restored.entries(), record.entries())
    with pytest.raises(RuntimeError, match="_extra_state"):
        restored.load_state_dict({})
