"""Weighted draws: frequencies with and without replacement, the tail beyond 2^24 weights, every message."""

import numpy as np
import pytest
import torch
from scipy import stats

import reference
from lt_fast.sampling import WeightedRandomSampler

WEIGHTS = np.array([5.0, 0, 1, 2, 0.5, 3, 0.1, 7e-3])


@pytest.mark.slow
def test_frequencies_of_ten_million_draws():
    sampler = WeightedRandomSampler(WEIGHTS, 10_000_000, seed=3)
    found = np.bincount(sampler.epoch_indices(), minlength=8)
    assert found[1] == 0
    shown = WEIGHTS > 0
    assert stats.chisquare(found[shown], 1e7 * WEIGHTS[shown] / WEIGHTS.sum()).pvalue > 1e-4


def test_any_scale_and_kind_of_weights_draws_the_same():
    wanted = list(WeightedRandomSampler([4, 2, 1, 1], 50))
    four = torch.tensor([4.0, 2, 1, 1])
    arrays = np.array([4, 2, 1, 1]), np.array([4, 2, 1, 1]) * 2.0**1000
    for weights in (*arrays, four, four.bfloat16(), four.clone().requires_grad_()):
        assert list(WeightedRandomSampler(weights, 50)) == wanted


def test_without_replacement_is_the_oracle():
    sampler = WeightedRandomSampler(WEIGHTS, 5, replacement=False, seed=9)
    for epoch in range(20):
        assert sampler.epoch_indices(epoch).tolist() == reference.weighted_distinct(WEIGHTS.tolist(), 9, epoch, 5)


def test_without_replacement_the_order_is_that_of_successive_draws():
    weights, epochs = np.array([4.0, 2, 1]), 20_000
    sampler = WeightedRandomSampler(weights, 2, replacement=False)
    found = np.zeros((3, 3))
    for epoch in range(epochs):
        first, second = sampler.epoch_indices(epoch)
        found[first, second] += 1
    chance = weights / 7
    expected = epochs * np.array([[chance[i] * weights[j] / (7 - weights[i]) for j in range(3)] for i in range(3)])
    off = ~np.eye(3, dtype=bool)
    assert (np.diag(found) == 0).all()
    assert stats.chisquare(found[off], expected[off]).pvalue > 1e-4


@pytest.mark.slow
def test_more_than_two_to_the_24_weights_are_right_in_the_tail():
    count = (1 << 24) + 1000
    weights = np.full(count, 1e-9)
    weights[-3:] = [1.0, 2.0, 3.0]
    drawn = WeightedRandomSampler(weights, 100_000).epoch_indices() - (count - 3)
    tail = np.bincount(drawn[drawn >= 0], minlength=3)
    total = weights.sum()
    expected = 1e5 * np.array([1, 2, 3]) / total
    assert stats.chisquare([*tail, 1e5 - tail.sum()], [*expected, 1e5 - expected.sum()]).pvalue > 1e-4


@pytest.mark.slow
def test_more_than_two_to_the_24_weights_without_replacement():
    count = (1 << 24) + 1000
    weights = np.full(count, 1e-9)
    weights[-3:] = [1e9, 2e9, 3e9]
    drawn = WeightedRandomSampler(weights, 5, replacement=False).epoch_indices()
    assert sorted(drawn[:3]) == [count - 3, count - 2, count - 1]
    assert len(set(drawn.tolist())) == 5


@pytest.mark.parametrize(
    ("weights", "number", "replacement", "error", "text"),
    [
        ([1, float("nan")], 1, True, ValueError, "weights must be finite and >= 0, got NaN at position 1"),
        ([1, -2.5], 1, False, ValueError, "weights must be finite and >= 0, got -2.5 at position 1"),
        ([float("inf")], 1, True, ValueError, "weights must be finite and >= 0, got inf at position 0"),
        ([0.0, 0.0], 1, True, ValueError, "weights must have a positive entry, got 2 zeros"),
        ([], 1, True, (TypeError, ValueError), r"weights must be one-dimensional with at least one entry, got shape"),
        ([[1.0]], 1, True, ValueError, r"weights must be one-dimensional .*got shape \(1, 1\)"),
        ([[1.0], [1, 2]], 1, True, ValueError, "weights must be one-dimensional, got entries of different lengths"),
        (torch.tensor([True]), 1, True, TypeError, "weights must be numbers, got dtype bool"),
        (["a"], 1, True, TypeError, "weights must be numbers, got dtype <U1"),
        ([1.0], 0, True, ValueError, "num_samples must be >= 1, got 0"),
        ([1.0], 1.5, True, TypeError, "num_samples must be an integer, got 1.5"),
        ([1.0, 0], 2, False, ValueError, r"num_samples must be <= the number of positive weights \(1\) .*, got 2"),
        (
            [5e-324, 1e308, 1],
            3,
            False,
            ValueError,
            r"num_samples must be <= .* weights that are not negligible compared with the largest \(2\) .*, got 3",
        ),
        (
            np.ma.array([1.0, 2], mask=[0, 1]),
            1,
            True,
            ValueError,
            "weights must have no masked entry, got 1, the first at",
        ),
        ([1.0], 1, "yes", TypeError, "replacement must be True or False, got 'yes'"),
    ],
)
def test_refused(weights, number, replacement, error, text):
    with pytest.raises(error, match=text):
        WeightedRandomSampler(weights, number, replacement)


def test_its_settings_cannot_be_assigned():
    sampler = WeightedRandomSampler([1, 2, 3], 5)
    for name in ("weights", "num_samples", "replacement", "seed", "num_batches", "class_probs"):
        with pytest.raises(AttributeError, match=f"{name} of WeightedRandomSampler cannot be set"):
            setattr(sampler, name, getattr(sampler, name, None))
