"""Metrics before and after a change of the logits."""

import numpy as np
import pytest
import torch

from lt_fast.errors import DataError, UsageError
from lt_fast.metrics import METRICS, before_and_after

LOGITS = torch.randn(60, 4, generator=torch.Generator().manual_seed(3))
LABELS = torch.arange(60) % 4


def test_each_metric_is_that_of_its_function():
    found = before_and_after(LOGITS.bfloat16(), (5 * LOGITS).numpy(), LABELS.tolist(), metrics=list(METRICS))
    assert list(found) == list(METRICS)
    for name, metric in METRICS.items():
        assert found[name] == (metric(LOGITS.bfloat16(), LABELS), metric(5 * LOGITS, LABELS))
    assert found["ece15"].after > found["ece15"].before


def test_what_is_wrong_is_named():
    assert list(before_and_after(LOGITS, LOGITS, LABELS)) == ["top1", "nll", "ece15"]
    with pytest.raises(ValueError, match=r"calibrated must have the shape of logits, \(60, 4\), got \(60, 3\)"):
        before_and_after(LOGITS, LOGITS[:, :3], LABELS)
    with pytest.raises(UsageError, match=r"metric must be one of .*, got 'ece'"):
        before_and_after(LOGITS, LOGITS, LABELS, metrics=["ece"])
    with pytest.raises(ValueError, match=r"^calibrated must be what the softmax takes, .*probabilities"):
        before_and_after(LOGITS, np.full((60, 4), 0.25), LABELS)
    with pytest.raises(DataError, match=r"^calibrated must be finite, got nan in row 0"):
        before_and_after(LOGITS, LOGITS * np.nan, LABELS)
    with pytest.raises(TypeError, match=r"metrics must be a list of names, got 'top1'; pass \['top1'\]"):
        before_and_after(LOGITS, LOGITS, LABELS, metrics="top1")
    masked = np.ma.masked_greater(LOGITS.numpy(), 1)
    with pytest.raises(ValueError, match=r"logits must have no masked entry, got \d+, the first at position \d"):
        before_and_after(masked, LOGITS, LABELS)
    with pytest.raises(ValueError, match=r"logits must have rows of one length, got \[\[1.0, 2.0\], \[3.0\]\]"):
        before_and_after([[1.0, 2.0], [3.0]], LOGITS, LABELS)
