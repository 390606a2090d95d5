"""Average precision: the reference, scikit-learn, groups and refusals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

import reference
from lt_fast.errors import DataError
from lt_fast.metrics import average_precision, mean_average_precision


def case(rows, classes, seed, levels):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, levels, (rows, classes)).astype(np.float64)  # few levels: ties
    return scores, generator.random((rows, classes)) < 0.4


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 12), seed=st.integers(0, 10**6), levels=st.sampled_from([1, 3, 10**6]))
def test_average_precision_is_the_reference(rows, seed, levels):
    scores, target = case(rows, 3, seed, levels)
    for label, found in enumerate(average_precision(scores, target)):
        expected = reference.average_precision(scores[:, label].tolist(), target[:, label].tolist())
        assert math.isnan(found) if expected is None else found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("levels", [4, 10**6])
def test_average_precision_is_that_of_scikit_learn(levels):
    scores, target = case(300, 6, 1, levels)
    np.testing.assert_allclose(average_precision(scores, target), average_precision_score(target, scores, average=None))


def test_any_form_of_scores_and_targets():
    scores, target = case(50, 4, 2, 10**6)
    expected = average_precision(scores, target)
    logits = torch.from_numpy(scores).float()
    for same in (logits, (logits / 1e6).sigmoid(), logits.double(), scores.tolist()):
        np.testing.assert_allclose(average_precision(same, torch.from_numpy(target).float()), expected)
    np.testing.assert_array_equal(average_precision(scores, target.astype(int)), expected)


def test_the_mean_is_over_the_classes_of_each_group():
    scores, target = case(80, 5, 3, 10**6)
    target[:, 2] = False
    of_class = average_precision(scores, target)
    found = mean_average_precision(scores, target, [500, 101, 100, 20, 19])
    assert math.isnan(of_class[2])
    assert found == {
        "all": pytest.approx(of_class[[0, 1, 3, 4]].mean()),
        "many": pytest.approx(of_class[:2].mean()),
        "medium": pytest.approx(of_class[3]),
        "few": pytest.approx(of_class[4]),
    }
    of_paper = mean_average_precision(scores, target, [500, 101, 100, 20, 19], few=21)
    assert of_paper["few"] == pytest.approx(of_class[3:].mean())
    assert of_paper["medium"] is None


@pytest.mark.parametrize(
    ("scores", "target", "kind", "message"),
    [
        ([0.5, 1.0], [0, 1], ValueError, r"scores must have shape \(N, C\)"),
        (np.zeros((0, 3)), np.zeros((0, 3)), ValueError, "with N >= 1 and C >= 1"),
        ([[1, 2]], [[0, 1]], TypeError, "scores must be floats, got dtype int64"),
        ([[1, 2]], [[0.5, 1.0]], TypeError, "got dtype int64; scores come first, then the target"),
        ([[1.0, 2.0]], [0], ValueError, "lt_fast.losses.multi_hot makes it from lists of labels"),
        ([[1.0, 2.0], [1.0]], [[0, 1]], ValueError, "scores must have rows of one length, got"),
        (np.ma.masked_greater([[1.0, 2.0]], 1), [[0, 1]], ValueError, "scores must have no masked entry, got 1"),
        (torch.ones(1, 2).to_sparse(), [[0, 1]], TypeError, "scores must be a dense tensor"),
        ([[1.0, 2.0]], [[0], [1]], ValueError, r"target must have the shape of the scores, \(1, 2\), got \(2, 1\)"),
        ([[1.0, 2.0]], [["a", "b"]], TypeError, "target must be numbers, got dtype <U1"),
        ([[1.0, 2.0]], [[0, 2]], ValueError, "target must be 0 or 1, got 2 in row 0, class 1"),
        ([[1.0, math.nan]], [[0, 1]], DataError, "scores must not be NaN, got nan in row 0, class 1"),
    ],
)
def test_bad_input_is_refused(scores, target, kind, message):
    with pytest.raises(kind, match=message):
        average_precision(scores, target)


def test_counts_of_other_classes_are_refused():
    with pytest.raises(ValueError, match=r"counts must have one number per class \(2\), got 3"):
        mean_average_precision([[0.1, 0.2]], [[0, 1]], [3, 2, 1])
