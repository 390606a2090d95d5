"""Confusion and recall of groups of classes, and the spread of errors, against loops over the cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast.metrics import confusion_matrix, confusion_spread, grouped_confusion, grouped_recall, size_groups

matrices = st.integers(2, 7).flatmap(
    lambda size: st.tuples(
        st.lists(st.lists(st.integers(0, 6), min_size=size, max_size=size), min_size=size, max_size=size),
        st.lists(st.integers(0, 9), min_size=size, max_size=size),
        st.integers(1, size),
        st.booleans(),
    )
)


@given(matrices)
def test_groups_are_the_sums_of_their_cells(case):
    matrix, sizes, groups, correct = case
    wanted, members = reference.grouped_confusion(matrix, sizes, groups, correct=correct)
    found = grouped_confusion(matrix, sizes, groups=groups, correct=correct)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert [group.tolist() for group in size_groups(sizes, groups)] == members
    recall = [
        np.mean(of) if (of := [matrix[i][i] / sum(matrix[i]) for i in group if sum(matrix[i])]) else np.nan
        for group in members
    ]
    np.testing.assert_allclose(grouped_recall(matrix, sizes, groups=groups), recall, rtol=1e-12)


@given(matrices)
def test_the_spread_is_that_of_the_sorted_shares(case):
    matrix = case[0]
    share, effective = reference.spread_of_errors(matrix)
    found = confusion_spread(matrix)
    np.testing.assert_allclose(found.share, share, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found.effective, effective, rtol=1e-12)


def test_rows_sum_to_the_error_of_the_group():
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(100), 20)
    logits = draw.normal(size=(2000, 100)) + 3 * np.eye(100)[labels]
    matrix = confusion_matrix(logits, labels)
    sizes = np.arange(100)[::-1] + 5
    grouped = grouped_confusion(matrix, sizes)
    assert grouped.shape == (10, 10)
    np.testing.assert_allclose(grouped.sum(1), 1 - grouped_recall(matrix, sizes))
    np.testing.assert_allclose(grouped_confusion(matrix, sizes, correct=True).sum(1), 1)


def test_errors_that_all_go_to_one_class_have_one_effective_class():
    found = confusion_spread([[5, 5, 0], [0, 9, 0], [3, 3, 4]])
    np.testing.assert_allclose(found.effective, [1, np.nan, 2])
    np.testing.assert_allclose(found.share, [0.75, 0.25])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: grouped_confusion([[1, 2]], [1, 2]), ValueError, r"confusion must be square, .* got shape \(1, 2\)"),
        (
            lambda: grouped_confusion(np.eye(3), [1, 2], groups=2),
            ValueError,
            r"n_train must have an entry per class \(3",
        ),
        (lambda: grouped_confusion(np.eye(3), [3, 1, 2]), ValueError, r"groups must be <= the number of classes \(3\)"),
        (
            lambda: grouped_confusion([[1, -1], [0, 1]], [1, 2], groups=2),
            ValueError,
            "confusion must be finite and >= 0",
        ),
        (lambda: grouped_recall([["a"]], [1], groups=1), TypeError, "confusion must be a matrix of numbers"),
        (lambda: confusion_spread([[4]]), ValueError, "confusion must have at least 2 classes, got 1"),
        (lambda: size_groups([3, 2], groups=0), ValueError, "groups must be >= 1, got 0"),
    ],
)
def test_what_is_no_confusion_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
