"""Confident learning against its formula row by row, and on digits whose labels were changed on purpose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

import reference
from lt_fast import metrics
from lt_fast.errors import DataError


@given(st.integers(2, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_equals_the_reference(num_classes, rows, seed):
    draw = np.random.default_rng(seed)
    probabilities = draw.dirichlet(np.full(num_classes, 0.5), size=rows)
    labels = draw.integers(0, num_classes, rows)
    found = metrics.likely_label_errors(probabilities, labels)
    triples = list(zip(found.rows.tolist(), found.given.tolist(), found.suggested.tolist(), strict=True))
    assert triples == reference.likely_label_errors(probabilities.tolist(), labels.tolist())
    assert found.self_confidence.tolist() == probabilities[found.rows, labels[found.rows]].tolist()
    assert len(found) == len(triples)


def test_changed_labels_come_first():
    images, labels = load_digits(return_X_y=True)
    changed = np.random.default_rng(0).choice(len(labels), 40, replace=False)
    noisy = labels.copy()
    noisy[changed] = (noisy[changed] + 1 + changed % 9) % 10
    model = LogisticRegression(max_iter=60, tol=1e-2)
    probabilities = cross_val_predict(model, images / 16, noisy, cv=3, method="predict_proba")
    found = metrics.likely_label_errors(probabilities, noisy)
    assert np.isin(found.rows[:15], changed).all()
    assert np.isin(changed, found.rows).mean() > 0.6
    right = np.isin(found.rows, changed)
    assert (found.suggested[right] == labels[found.rows[right]]).mean() > 0.85


def test_equal_probabilities_reach_their_own_mean():
    found = metrics.likely_label_errors(np.full((7, 3), 1 / 3, np.float32), [0] * 7)
    assert len(found) == 0  # class 0 reaches its threshold everywhere, and the others have no sample


def test_a_class_without_samples_is_never_suggested():
    found = metrics.likely_label_errors([[0.1, 0.0, 0.9], [0.6, 0.4, 0.0], [0.1, 0.9, 0.0]], [0, 0, 1])
    assert 2 not in found.suggested


def test_rows_that_are_no_distribution_are_named():
    with pytest.raises(DataError, match="in row 0"):
        metrics.likely_label_errors([[1.0, 2.0]], [0])
