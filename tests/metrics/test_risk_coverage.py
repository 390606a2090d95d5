"""Risk and coverage threshold by threshold, against counting the accepted rows one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast import metrics
from lt_fast.errors import DataError


def drawn(num_classes, rows, seed, step=0.05):
    """Coarse probabilities, so that confidences are equal now and then, and labels."""
    draw = np.random.default_rng(seed)
    probabilities = np.round(draw.dirichlet(np.full(num_classes, 0.5), size=rows) / step) * step + 1e-3
    return probabilities / probabilities.sum(axis=1, keepdims=True), draw.integers(0, num_classes, rows)


@given(st.integers(2, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_equals_the_reference(num_classes, rows, seed):
    probabilities, labels = drawn(num_classes, rows, seed)
    curve = metrics.risk_coverage(probabilities, labels)
    assert (np.diff(curve.threshold) < 0).all()
    assert curve.threshold.tolist() == sorted({float(row.max()) for row in probabilities}, reverse=True)
    for coverage, risk, threshold in zip(curve.coverage, curve.risk, curve.threshold, strict=True):
        assert (coverage, risk) == pytest.approx(reference.risk_at(probabilities.tolist(), labels.tolist(), threshold))


@given(st.integers(2, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_full_coverage_has_the_error_rate_and_the_area_is_a_mean_over_samples(num_classes, rows, seed):
    probabilities, labels = drawn(num_classes, rows, seed)
    curve = metrics.risk_coverage(probabilities, labels)
    assert (curve.coverage[-1], curve.count[-1]) == (1.0, rows)
    assert curve.risk[-1] == pytest.approx(1 - metrics.top1_accuracy(probabilities, labels))
    risks = [reference.risk_at(probabilities.tolist(), labels, row.max())[1] for row in probabilities]
    assert curve.area == pytest.approx(np.mean(risks))


def test_equal_confidences_are_accepted_together():
    curve = metrics.risk_coverage(torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]]), [0, 1, 0])
    assert curve.count.tolist() == [1, 3]
    assert curve.risk.tolist() == [0.0, pytest.approx(1 / 3)]


def test_a_weight_of_two_is_the_sample_twice():
    confidence, right = np.array([0.9, 0.7, 0.7, 0.4]), np.array([True, False, True, False])
    weight = np.array([1, 2, 1, 3])
    weighted = metrics.risk_by_confidence(confidence, right, weight=weight)
    repeated = metrics.risk_by_confidence(np.repeat(confidence, weight), np.repeat(right, weight))
    for name in ("coverage", "risk", "threshold"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name))
    assert weighted.count.tolist() == [1, 3, 4]


def test_the_position_of_a_coverage():
    curve = metrics.risk_coverage([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]], [0, 1, 1, 0])
    assert [curve.at(coverage) for coverage in (0, 0.25, 0.26, 0.5, 1)] == [0, 0, 1, 1, 3]
    with pytest.raises(ValueError, match=r"coverage must lie in \[0, 1\], got 90"):
        curve.at(90)


def test_rows_that_are_no_distribution_are_named():
    with pytest.raises(DataError, match=r"got the sum 3 and the smallest 1 in row 1; pass softmax\(logits\)"):
        metrics.risk_coverage([[0.5, 0.5], [1.0, 2.0]], [0, 1])
