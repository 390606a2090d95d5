"""Student's intervals against tabulated quantiles; the bootstrap against the binomial it must converge to."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast import metrics


@pytest.mark.parametrize(
    ("values", "level", "quantile"),
    [
        ([1.0, 2.0, 3.0], 0.95, 4.302652729911275),
        ([1.0, 2.0, 3.0], 0.99, 9.924843200918),
        ([4.0, 8.0], 0.95, 12.706204736),
    ],
)
def test_half_width_is_tabulated_t(values, level, quantile):
    mean, half = metrics.mean_interval(values, level)
    sd = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    assert mean == sum(values) / len(values)
    assert half == pytest.approx(quantile * sd / math.sqrt(len(values)), rel=1e-6)


def test_one_seed_has_no_interval():
    assert metrics.mean_interval([0.7]) == (0.7, None)


def test_equal_seeds_have_the_width_zero():
    assert metrics.mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.0)


def test_bootstrap_is_a_function_of_its_arguments():
    values = np.arange(20) % 3
    first = metrics.bootstrap_interval(values, seed=1)
    assert first == metrics.bootstrap_interval(list(values), seed=1)
    assert first != metrics.bootstrap_interval(values, seed=2, level=0.9)


def test_bootstrap_of_a_proportion_is_binomial():
    correct = np.arange(400) < 300
    low, high = metrics.bootstrap_interval(correct, resamples=4000)
    sd = math.sqrt(0.75 * 0.25 / 400)
    assert low == pytest.approx(0.75 - 1.96 * sd, abs=0.006)
    assert high == pytest.approx(0.75 + 1.96 * sd, abs=0.006)


def test_bootstrap_in_chunks_uses_every_resample(monkeypatch):
    whole = metrics.bootstrap_interval(np.arange(50) % 2, resamples=333)
    monkeypatch.setattr("lt_fast.metrics.intervals._CHUNK", 700)
    assert metrics.bootstrap_interval(np.arange(50) % 2, resamples=333) == whole


def test_bootstrap_of_a_constant_is_a_point():
    assert metrics.bootstrap_interval([1.0, 1.0]) == (1.0, 1.0)


def test_a_narrower_level_lies_inside():
    values = np.arange(100) % 7
    low, high = metrics.bootstrap_interval(values)
    inner_low, inner_high = metrics.bootstrap_interval(values, 0.5)
    assert low < inner_low < inner_high < high


@pytest.mark.parametrize("interval", [metrics.mean_interval, metrics.bootstrap_interval])
@pytest.mark.parametrize(
    ("values", "level", "message"),
    [
        ([], 0.95, r"values must be one-dimensional with at least one number, got shape \(0,\)"),
        ([[1.0]], 0.95, r"got shape \(1, 1\)"),
        ([1.0, math.nan], 0.95, "values must be finite, got nan at position 1"),
        ([1.0], 95, r"level must lie in \(0, 1\), got 95; did you mean 0.95\?"),
        ([1.0], 0.0, r"level must lie in \(0, 1\), got 0.0$"),
        ([1.0], 1, r"level must lie in \(0, 1\), got 1$"),
    ],
)
def test_bad_input_is_named(interval, values, level, message):
    with pytest.raises(ValueError, match=message):
        interval(values, level)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"resamples": 0}, "resamples must be >= 1, got 0"), ({"seed": -1}, r"seed must lie in \[0, 2\*\*64\), got -1")],
)
def test_bad_bootstrap_settings_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        metrics.bootstrap_interval([1.0], **kwargs)


Z95 = 1.959963984540054  # normal quantile at 0.975, as tabulated


@given(st.integers(1, 5000), st.data())
def test_wilsons_ends_solve_his_equation(total, data):
    right = data.draw(st.integers(0, total))
    assert metrics.wilson_interval(right, total) == pytest.approx(
        np.clip(reference.wilson_ends(right, total, Z95), 0, 1), abs=1e-9
    )


def test_wilsons_published_example():
    # Newcombe 1998, Statistics in Medicine 17(8), table I: 81 of 263, 15 of 148, 0 of 20 and 1 of 29
    found = metrics.wilson_interval([81, 15, 0, 1], [263, 148, 20, 29])
    expected = [(0.2553, 0.3662), (0.0624, 0.1605), (0.0000, 0.1611), (0.0061, 0.1718)]
    assert found == pytest.approx(np.array(expected), abs=5e-5)


def test_a_class_without_samples_can_have_any_recall():
    assert metrics.wilson_interval([0, 3], [0, 3])[0].tolist() == [0.0, 1.0]
    assert metrics.mean_recall_interval([0, 3], [0, 3]) == metrics.mean_recall_interval([3], [3])
    assert metrics.mean_recall_interval([0], [0]) is None


def test_the_ends_are_exact_where_all_or_none_are_right():
    low, high = metrics.wilson_interval(np.arange(1, 200), np.arange(1, 200)).T
    assert (high == 1).all()
    assert (low < 1).all()
    assert (metrics.wilson_interval(0, np.arange(1, 200))[:, 0] == 0).all()


@given(st.lists(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=9))
def test_the_interval_of_a_mean_recall_equals_the_reference(classes):
    right, total = zip(*classes, strict=True)
    expected = np.clip(reference.mean_recall_ends(right, total, Z95), 0, 1)
    assert metrics.mean_recall_interval(right, total) == pytest.approx(expected, abs=1e-9)


def test_the_interval_of_a_mean_recall_covers_the_truth():
    draw = np.random.default_rng(0)
    truth, total = np.array([0.99, 0.9, 0.6, 0.3]), np.array([50, 40, 12, 6])
    found = [metrics.mean_recall_interval(draw.binomial(total, truth), total) for _ in range(1000)]
    covered = np.mean([low <= truth.mean() <= high for low, high in found])
    assert 0.93 <= covered <= 0.985


@pytest.mark.parametrize(
    ("right", "total", "error", "message"),
    [
        (3, 2, ValueError, r"right must lie in \[0, total\], got 3 of 2"),
        ([1, -1], 2, ValueError, "got -1 of 2"),
        (0.5, 2, TypeError, "right must be integers, got dtype float64"),
        (1, [2.0], TypeError, "total must be integers, got dtype float64"),
    ],
)
def test_bad_counts_are_named(right, total, error, message):
    for interval in (metrics.wilson_interval, metrics.mean_recall_interval):
        with pytest.raises(error, match=message):
            interval(right, total)


def test_a_bad_level_is_named():
    with pytest.raises(ValueError, match=r"did you mean 0\.95"):
        metrics.wilson_interval(1, 2, 95)
