"""Margins and logits by class against loops, classes without images, one class, slopes over class sizes, refusals."""

import math

import numpy as np
import pytest
import torch

import reference
from lt_fast.errors import DataError
from lt_fast.metrics import margins_by_class, slope_by_count


def problem(rows=200, classes=7, seed=0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(rows, classes)), draw.integers(0, classes - 1, rows), draw.random(classes) + 0.5


def test_they_equal_the_loops():
    logits, labels, lengths = problem()
    found = margins_by_class(logits, labels, weight_norm=lengths)
    for label, (logit, margin, distance, count) in enumerate(reference.class_margins(logits, labels, lengths)):
        assert found.images[label] == count
        if not count:
            assert math.isnan(found.logit[label])
            assert math.isnan(found.margin[label])
            continue
        assert found.logit[label] == pytest.approx(logit, abs=1e-12)
        assert found.margin[label] == pytest.approx(margin, abs=1e-12)
        assert found.distance[label] == pytest.approx(distance, abs=1e-12)
    assert found.images[-1] == 0


def test_blocks_tensors_and_arrays_agree(monkeypatch):
    logits, labels, _ = problem()
    whole = margins_by_class(torch.from_numpy(logits), torch.from_numpy(labels))
    monkeypatch.setattr("lt_fast.metrics.inputs._BLOCK", 40)
    parts = margins_by_class(logits, labels.tolist())
    assert whole.distance is None
    for one, other in zip(whole[:2], parts[:2], strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_class_has_a_logit_and_no_margin():
    found = margins_by_class(np.array([[2.0], [4.0]]), [0, 0])
    assert found.logit.tolist() == [3.0]
    assert np.isnan(found.margin).all()


def test_the_slope_is_that_of_a_line():
    counts = [1000, 300, 100, 30, 10, 0]
    values = [2.5 * math.log10(count) - 1 if count else 9.0 for count in counts]
    assert slope_by_count(values, counts) == 2.5
    assert slope_by_count([math.nan, *values[1:]], counts) == 2.5
    assert slope_by_count([1.0, 2.0], [5, 5]) is None
    assert slope_by_count([math.nan, 2.0], [5, 50]) is None
    noisy = np.random.default_rng(0).normal(size=5)
    expected = np.polyfit(np.log10(counts[:5]), noisy, 1)[0]
    assert slope_by_count([*noisy, 0.0], counts) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: margins_by_class(np.zeros((2, 3)), [0, 3]), ValueError, r"labels must lie in \[0, 3\), got 3"),
        (lambda: margins_by_class(np.full((2, 3), np.nan), [0, 1]), DataError, "logits must be finite, got nan"),
        (
            lambda: margins_by_class(np.zeros((2, 3)), [0, 1], weight_norm=[1.0, 2.0]),
            ValueError,
            r"weight_norm must have shape \(3,\) and be > 0",
        ),
        (
            lambda: slope_by_count([1.0], [3, 2]),
            ValueError,
            r"values must have shape \(2,\), one per class, got \(1,\)",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
