"""Counts by class against a slow reference, and the numbers made of them."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from lt_fast import metrics
from lt_fast.errors import DataError


@st.composite
def cases(draw):
    num_classes = draw(st.integers(1, 6))
    rows = draw(st.integers(1, 30))
    # few distinct values: ties are common
    scores = draw(
        st.lists(
            st.lists(st.sampled_from([-2.0, 0.0, 0.5, 3.0]), min_size=num_classes, max_size=num_classes),
            min_size=rows,
            max_size=rows,
        ),
    )
    labels = draw(st.lists(st.integers(0, num_classes - 1), min_size=rows, max_size=rows))
    return scores, labels, num_classes


@settings(deadline=None)
@given(cases())
def test_class_scores_equal_the_reference(case):
    scores, labels, num_classes = case
    expected = reference.class_scores(scores, labels, num_classes)
    got = metrics.per_class_scores(np.array(scores), labels)
    for column, name in enumerate(("recall", "precision", "f1")):
        wanted = [np.nan if row[column] is None else row[column] for row in expected]
        np.testing.assert_allclose(getattr(got, name), wanted, rtol=1e-12, err_msg=name)
    assert got.support.tolist() == [row[3] for row in expected]
    assert metrics.balanced_accuracy(np.array(scores), labels) == pytest.approx(
        reference.mean_present([row[0] for row in expected])
    )
    assert metrics.macro_f1(np.array(scores), labels) == pytest.approx(
        reference.mean_present([row[2] for row in expected])
    )
    assert metrics.worst_class_recall(np.array(scores), labels) == min(row[0] for row in expected if row[0] is not None)
    right = [p == y for p, y in zip(reference.predictions(scores), labels, strict=True)]
    assert metrics.top1_accuracy(np.array(scores), labels) == pytest.approx(sum(right) / len(right))


def test_confusion_matrix_has_true_rows_and_every_class():
    scores = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    counted = metrics.confusion_matrix(scores, torch.tensor([0, 1, 0]))
    assert counted.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_ties_go_to_the_lowest_index():
    assert metrics.top1_accuracy(np.zeros((4, 3)), [0, 0, 1, 2]) == 0.5


def test_top1_equals_balanced_accuracy_on_a_balanced_test_set_only():
    scores = np.eye(2)[[0, 0, 0, 0, 1, 0]]
    assert metrics.top1_accuracy(scores, [0, 0, 0, 0, 1, 1]) == pytest.approx(5 / 6)
    assert metrics.balanced_accuracy(scores, [0, 0, 0, 0, 1, 1]) == pytest.approx(3 / 4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_float_type_is_read(dtype):
    scores = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], dtype=dtype, requires_grad=True)
    assert metrics.top1_accuracy(scores, torch.tensor([1, 0, 1], dtype=torch.int32)) == pytest.approx(2 / 3)


def test_half_precision_arrays_are_read():
    assert metrics.top1_accuracy(np.array([[0, 1]], dtype=np.float16), np.array([1], dtype=np.uint8)) == 1.0


BAD = [
    (np.zeros(3), [0], ValueError, r"logits must have shape \(N, C\) with N >= 1 and C >= 1, got \(3,\)"),
    (np.zeros((0, 3)), [], ValueError, r"N >= 1 and C >= 1, got \(0, 3\)"),
    (np.zeros((2, 0)), [0, 0], ValueError, r"got \(2, 0\)"),
    (np.zeros((2, 3), dtype=np.int64), [0, 0], TypeError, "logits must be floats, got dtype int64"),
    (np.zeros((2, 3)), [0], ValueError, r"labels must have shape \(2,\), one per row of logits, got \(1,\)"),
    (np.zeros((2, 3)), [0.0, 1.0], TypeError, "labels must be integers, got dtype float64"),
    (np.zeros((2, 3)), [True, False], TypeError, "labels must be integers, got dtype bool"),
    (np.zeros((2, 3)), [0, 3], ValueError, r"labels must lie in \[0, 3\), got 3 at position 1"),
    (np.zeros((2, 3)), [-1, 0], ValueError, r"labels must lie in \[0, 3\), got -1 at position 0"),
    (
        np.array([[0.0, 1.0], [0.0, np.nan]]),
        [0, 1],
        DataError,
        r"logits must be finite, got nan in row 1 \(1 of 2 rows\)",
    ),
    (
        np.array([[0.0, -np.inf], [0.0, np.nan]]),
        [0, 1],
        DataError,
        r"got nan in row 1 \(1 of 2 rows\), class 1; the model",
    ),
    (np.array([[0.0, 1.0], [np.inf, 0.0]]), [0, 1], DataError, r"got inf in row 1 \(1 of 2 rows\), class 0; the model"),
    (np.full((2, 2), -np.inf), [0, 1], DataError, r"leave a class possible in every row, got -inf for every .* row 0"),
    (np.zeros((2, 3)), [0, None], ValueError, "labels must have no missing entry, got one at position 1"),
    (np.zeros((2, 3)), [np.nan, 1.0], ValueError, "labels must have no missing entry, got one at position 0"),
    (np.zeros((2, 3)), ["a", "b"], TypeError, "labels must be integers, got dtype <U1"),
    (
        np.zeros((2, 3)),
        [[0, 1, 0], [1, 0, 0]],
        ValueError,
        r"got \(2, 3\); pass labels.argmax\(1\) where they are one-hot",
    ),
]


@pytest.mark.parametrize(("scores", "labels", "kind", "message"), BAD)
@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_bad_input_is_named(name, scores, labels, kind, message):
    with pytest.raises(kind, match=message):
        metrics.METRICS[name](scores, labels)


def test_an_unknown_metric_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"metric must be one of .*, got 'top_1'; did you mean 'top1'\?"):
        metrics.METRICS["top_1"]


class WithoutSklearn:
    """An import finder for a machine on which scikit-learn is not installed."""

    @staticmethod
    def find_spec(name, *_):
        if name == "sklearn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_only_what_needs_scikit_learn_asks_for_it(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [WithoutSklearn, *sys.meta_path])
    scores, labels = np.eye(3), [0, 1, 2]
    assert metrics.top1_accuracy(scores, labels) == 1.0
    assert metrics.expected_calibration_error(scores, labels) == 0.0
    assert metrics.negative_log_likelihood(scores, labels) > 0
    assert metrics.bootstrap_interval([1, 0])
    with pytest.raises(ImportError, match=r"scoring by class needs scikit-learn.*pip install 'lt-fast\[train\]'"):
        metrics.balanced_accuracy(scores, labels)
