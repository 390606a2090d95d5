"""Student's intervals against tabulated quantiles; the bootstrap against the binomial it must converge to."""

import math

import numpy as np
import pytest

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
