"""Wrong labels: as many as asked for, in the classes asked for, and where they may fall."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast.datasets import noisy_labels

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda labels: [*labels, 0, 1])


@given(LABELS, st.lists(st.floats(0, 1), min_size=5, max_size=5), st.integers(0, 2**64 - 1))
def test_changes_the_share_of_every_class(labels: list[int], rates: list[float], seed: int) -> None:
    clean = np.array(labels)
    for toward in ("uniform", "prior"):
        noisy = noisy_labels(clean, rates, toward=toward, num_classes=5, seed=seed)
        assert clean.tolist() == labels
        for label in range(5):
            members = clean == label
            assert (noisy[members] != label).sum() == np.floor(rates[label] * members.sum() + 0.5)
        assert set(noisy.tolist()) <= set(range(5) if toward == "uniform" else labels)


@given(LABELS, st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_smaller_rates_change_a_part(labels: list[int], one: float, other: float, seed: int) -> None:
    low, high = sorted((one, other))
    few, many = (noisy_labels(labels, rate, num_classes=5, seed=seed) for rate in (low, high))
    changed = few != np.array(labels)
    assert np.array_equal(few[changed], many[changed])


def test_a_class_does_not_feel_the_others() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    alone = noisy_labels(labels, [0.5, 0, 0], seed=3)
    assert np.array_equal(alone[:50], noisy_labels(labels, [0.5, 1, 1], seed=3)[:50])
    shuffled = np.concatenate([labels[50:], labels[:50]])
    assert np.array_equal(alone[:50], noisy_labels(shuffled, [0.5, 1, 1], seed=3)[50:])


def test_seeds_differ_and_repeat() -> None:
    labels = np.zeros(200, np.int64)
    first, again, other = (noisy_labels(labels, 0.5, num_classes=9, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first != 0, other != 0)


@pytest.mark.parametrize("toward", ["uniform", "prior"])
def test_where_wrong_labels_fall(toward: str) -> None:
    counts = [40_000, 6000, 3000, 1000]
    noisy = np.split(noisy_labels(np.repeat(range(4), counts), 0.5, toward=toward, seed=5), np.cumsum(counts)[:-1])
    transition = np.array(reference.noise_transition(counts, 0.5, toward))
    for old, labels in enumerate(noisy):
        found, expected = np.bincount(labels, minlength=4), counts[old] * transition[old]
        assert found[old] == expected[old]
        chi_square = ((found - expected) ** 2 / expected).sum()
        assert chi_square < 18.4  # 1 in 10,000 with two degrees of freedom


def test_rate_zero_and_one() -> None:
    labels = [0, 1, 1, 2]
    assert noisy_labels(labels, 0).tolist() == labels
    assert noisy_labels([0, 0, 1], 1, seed=4).tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("labels", "rate", "options", "message"),
    [
        ([0, 1], 1.1, {}, r"rate must lie in \[0, 1\], got 1.1 for class 0"),
        ([0, 1], [0, float("nan")], {}, r"rate must lie in \[0, 1\], got nan for class 1"),
        ([0, 1], [0.1] * 3, {}, r"rate must be one number or one per class \(2\), got shape \(3,\)"),
        ([0, 1], 0.5, {"toward": "pairs"}, "toward must be one of uniform, prior, got 'pairs'"),
        ([0, 0], 0.5, {}, "labels must have a class besides 0 to change into, got none; pass num_classes"),
        ([0, -1], 0.5, {}, r"labels must be >= 0, got -1 at position 1"),
        ([0, 1], 0.5, {"seed": -1}, r"seed must lie in \[0, 2\*\*64\), got -1"),
    ],
)
def test_bad_values(labels: list[int], rate: object, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        noisy_labels(labels, rate, **options)


def test_bad_types() -> None:
    with pytest.raises(TypeError, match="labels must be integers, got dtype float64"):
        noisy_labels([0.5], 0.1)
    with pytest.raises(TypeError, match="rate must be one number or one per class, got 'half'"):
        noisy_labels([0, 1], "half")
