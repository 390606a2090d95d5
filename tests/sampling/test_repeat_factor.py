"""Repeat factors: the formula, the number of repeats, the expectation, every message."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast.sampling import RepeatFactorSampler, repeat_factors


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.floats(0.001, 1), st.booleans())
def test_factors_are_the_oracle(labels, threshold, sqrt):
    labels = [*labels, *range(6)]
    wanted = reference.repeat_factors([[label] for label in labels], threshold, sqrt=sqrt)
    np.testing.assert_allclose(repeat_factors(labels, threshold, sqrt=sqrt), wanted, rtol=1e-12)
    rows = np.arange(len(labels) + 1), np.array(labels)
    np.testing.assert_allclose(repeat_factors(rows, threshold, sqrt=sqrt), wanted, rtol=1e-12)


def test_a_sample_has_the_largest_factor_of_its_labels():
    rows = np.array([0, 2, 3, 3, 4]), np.array([0, 1, 0, 0])
    wanted = reference.repeat_factors([[0, 1], [0], [], [0]], 0.9)
    np.testing.assert_allclose(repeat_factors(rows, 0.9), wanted)


@given(st.lists(st.floats(0, 5), min_size=1, max_size=50).filter(lambda f: sum(f) >= 1), st.integers(0, 2**64 - 1))
def test_repeats_are_rounded_down_or_up(factors, seed):
    sampler = RepeatFactorSampler(factors, seed=seed)
    drawn = sampler.epoch_indices()
    assert len(drawn) == len(sampler) == int(np.floor(sum(factors) + 0.5))
    scaled = np.array(factors) * len(sampler) / sum(factors)
    found = np.bincount(drawn, minlength=len(factors))
    assert (found >= np.floor(scaled - 1e-6)).all()
    assert (found <= np.ceil(scaled + 1e-6)).all()


def test_repeats_are_right_on_average():
    factors, epochs = np.array([1.0, 1.25, 2.5, 0.3, 3.95]), 4000
    sampler = RepeatFactorSampler(factors)
    mean = np.mean([np.bincount(sampler.epoch_indices(epoch), minlength=5) for epoch in range(epochs)], axis=0)
    np.testing.assert_allclose(mean, factors, atol=4 * 0.5 / np.sqrt(epochs))


def test_an_epoch_beyond_the_shuffle_in_memory():
    factors = 1 + (np.arange(60_000) % 10 == 0) * 1.5
    sampler = RepeatFactorSampler(factors)
    drawn = sampler.epoch_indices()
    found = np.bincount(drawn, minlength=len(factors))
    assert set(found[factors == 1]) == {1}
    assert set(found[factors == 2.5]) == {2, 3}
    assert [sampler[at] for at in (0, 1234, 68_999)] == drawn[[0, 1234, 68_999]].tolist()


@pytest.mark.parametrize(
    ("factors", "text"),
    [
        ([1, float("nan")], "repeat_factors must be finite and >= 0, got nan at position 1"),
        ([1, -1], "repeat_factors must be finite and >= 0, got -1.0 at position 1"),
        ([0, 0.2], "repeat_factors must add up to at least one draw and less than"),
        ([2.0**32], "repeat_factors must add up to at least one draw and less than"),
        ([], "repeat_factors must be one-dimensional with at least one entry"),
    ],
)
def test_refused(factors, text):
    with pytest.raises(ValueError, match=text):
        RepeatFactorSampler(factors)


@pytest.mark.parametrize("threshold", [0, -1, 1.5, float("nan")])
def test_threshold_is_a_frequency(threshold):
    with pytest.raises(ValueError, match=r"threshold must lie in \(0, 1\], got"):
        repeat_factors([0, 1], threshold)
    rows = np.array([0, 1, 3])
    with pytest.raises(ValueError, match=r"indices must lie in \[0, 2\*\*24\), got -1"):
        repeat_factors((rows, np.array([0, -1, 2])), 0.5)
    with pytest.raises(TypeError, match="indices must be integers, got dtype float64"):
        repeat_factors((rows, np.array([0, 0.5, 2])), 0.5)
    with pytest.raises(ValueError, match=r"indptr must rise from 0 to the number of indices \(1\)"):
        repeat_factors((np.array([0, 2]), np.array([0])), 0.5)
    with pytest.raises(TypeError, match="threshold must be a number, got 'rare'"):
        repeat_factors([0, 1], "rare")


def test_a_label_that_repeats_within_a_sample_counts_once():
    once = repeat_factors((np.array([0, 1, 2, 4]), np.array([0, 1, 0, 1])), 1.0)
    repeated = repeat_factors((np.array([0, 3, 4, 8]), np.array([0, 0, 0, 1, 1, 0, 1, 0])), 1.0)
    assert repeated.tolist() == once.tolist() == [1.5**0.5] * 3
