"""Bins by hand, at their edges, and against a reference that tests both inequalities of every bin."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from lt_fast import metrics
from lt_fast.errors import DataError


def two_class(confidences, dtype=np.float64):
    """Rows (confidence, rest): the prediction is class 0."""
    confidence = np.asarray(confidences, dtype=dtype)
    return np.stack([confidence, 1 - confidence], axis=1)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(2, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_equals_the_reference(bins, num_classes, rows, seed):
    draw = np.random.default_rng(seed)
    probabilities = draw.dirichlet(np.full(num_classes, 0.3), size=rows)
    labels = draw.integers(0, num_classes, rows)
    expected = reference.calibration_error(probabilities.tolist(), labels.tolist(), bins)
    assert metrics.expected_calibration_error(probabilities, labels, bins=bins) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(st.integers(1, 30), st.data())
def test_edges_equal_the_reference(bins, data):
    edges = data.draw(st.lists(st.integers((bins + 1) // 2, bins), min_size=1, max_size=8))
    probabilities = two_class([edge / bins for edge in edges])
    labels = data.draw(st.lists(st.integers(0, 1), min_size=len(edges), max_size=len(edges)))
    expected = reference.calibration_error(probabilities.tolist(), labels, bins)
    assert metrics.expected_calibration_error(probabilities, labels, bins=bins) == pytest.approx(expected, abs=1e-12)


def test_a_confidence_of_one_is_in_the_last_bin():
    drawn = metrics.reliability(two_class([0.95, 1.0]), [0, 1])
    assert drawn.count.tolist() == [0] * 14 + [2]
    # in one bin: |1/2 - 0.975|; with a phantom bin behind the last it would be (0.05 + 1) / 2 = 0.525
    assert metrics.expected_calibration_error(two_class([0.95, 1.0]), [0, 1]) == pytest.approx(0.475)


def test_bins_are_closed_on_the_right():
    drawn = metrics.reliability(two_class([0.8, np.nextafter(0.8, 1)]), [0, 0], bins=5)
    assert drawn.count.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("edge", range(8, 16))
def test_an_edge_is_an_edge_in_every_dtype(dtype, edge):
    drawn = metrics.reliability(two_class([edge / 15], dtype), [0])
    assert int(drawn.count.argmax()) == edge - 1


def test_one_class_is_perfectly_calibrated():
    assert metrics.expected_calibration_error(np.ones((3, 1)), [0, 0, 0]) == 0.0


def test_hand_made_diagram():
    drawn = metrics.reliability(two_class([0.6, 0.7, 0.9, 1.0]), [0, 1, 0, 0], bins=4)
    assert drawn.count.tolist() == [0, 0, 2, 2]
    np.testing.assert_allclose(drawn.confidence, [np.nan, np.nan, 0.65, 0.95])
    np.testing.assert_allclose(drawn.accuracy, [np.nan, np.nan, 0.5, 1.0])
    error = metrics.expected_calibration_error(two_class([0.6, 0.7, 0.9, 1.0]), [0, 1, 0, 0], bins=4)
    assert error == pytest.approx((2 * 0.15 + 2 * 0.05) / 4)


def test_the_diagram_is_frozen():
    with pytest.raises(FrozenInstanceError):
        metrics.reliability(two_class([0.6]), [0]).count = None


def test_bfloat16_probabilities_pass_as_distributions():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(50, 10, generator=generator).softmax(1)
    labels = torch.arange(50) % 10
    half = metrics.expected_calibration_error(probabilities.bfloat16(), labels)
    assert half == pytest.approx(metrics.expected_calibration_error(probabilities, labels), abs=0.05)


def test_ece15_takes_logits():
    logits = np.array([[0.0, 2.0], [3.0, 0.0], [0.0, 0.0]])
    probabilities = [reference.softmax(row) for row in logits.tolist()]
    assert metrics.METRICS["ece15"](logits, [1, 1, 0]) == pytest.approx(
        reference.calibration_error(probabilities, [1, 1, 0], 15)
    )


@pytest.mark.parametrize(
    ("probabilities", "kwargs", "kind", "message"),
    [
        (
            [[2.0, 3.0]],
            {},
            DataError,
            r"probabilities must be >= 0 with rows that sum to 1, got the sum 5 .* in row 0; pass softmax",
        ),
        ([[0.5, 0.5], [1.5, -0.5]], {}, DataError, r"smallest -0.5 in row 1"),
        ([[np.nan, 0.5]], {}, DataError, "probabilities must be finite, got nan in row 0"),
        ([[0.5, 0.5]], {"bins": 0}, ValueError, "bins must be >= 1, got 0"),
        ([[0.5, 0.5]], {"bins": 1.5}, TypeError, "bins must be an integer, got 1.5"),
        ([[0.5, 0.5]], {"bins": True}, TypeError, "bins must be an integer, got True"),
    ],
)
def test_bad_input_is_named(probabilities, kwargs, kind, message):
    with pytest.raises(kind, match=message):
        metrics.expected_calibration_error(np.array(probabilities), [0] * len(probabilities), **kwargs)
