"""Validation split: stratified, seeded, with at least one image of each class that has two."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_fast.data import ArraySource, FileSource
from lt_fast.datasets import ImageFiles, ImageSet, Paths, validation_split

LABELS = st.lists(st.integers(0, 6), max_size=60)
FRACTIONS = st.floats(0, 1, exclude_min=True, exclude_max=True)
SEEDS = st.integers(0, 2**64 - 1)


@given(labels=LABELS, fraction=FRACTIONS, seed=SEEDS)
def test_every_row_is_in_one_set_and_every_class_in_training(labels, fraction, seed):
    train, held = validation_split(labels, fraction, seed)
    assert train.dtype == held.dtype == np.int64
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(len(labels)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(held) > 0).all()
    for label in set(labels):
        size, kept = labels.count(label), sum(labels[row] == label for row in held)
        assert kept == min(max(math.floor(fraction * size + 0.5), 1), size - 1)


@given(labels=LABELS, fractions=st.tuples(FRACTIONS, FRACTIONS), seed=SEEDS)
def test_a_smaller_validation_set_is_part_of_a_larger_one(labels, fractions, seed):
    small, large = (set(validation_split(labels, fraction, seed)[1]) for fraction in sorted(fractions))
    assert small <= large


def test_a_pure_function_of_labels_fraction_and_seed():
    labels = np.repeat(np.arange(5), [200, 90, 40, 10, 2])
    first, again, other = (validation_split(labels, 0.2, seed)[1] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert len(first) == len(other) == 40 + 18 + 8 + 2 + 1
    assert set(first) != set(other)
    renamed = validation_split(4 - labels, 0.2, 3)[1]
    np.testing.assert_array_equal(renamed, first)  # the names of the classes do not matter


def test_every_row_is_equally_likely():
    labels, chosen = np.zeros(10, int), np.zeros(10)
    for seed in range(2000):
        chosen[validation_split(labels, 0.3, seed)[1]] += 1
    assert chosen.sum() == 6000
    assert (((chosen - 600) ** 2) / 600 * 9 / 7).sum() < 27.9  # 9 degrees of freedom, p = 0.001


def test_a_million_rows_of_a_thousand_classes():
    labels = np.random.default_rng(0).zipf(1.3, 1_000_000).clip(max=1000) - 1
    train, held = validation_split(labels)
    counts = np.bincount(labels, minlength=1000)
    assert (np.bincount(labels[train], minlength=1000) >= np.minimum(counts, 1)).all()
    assert (np.bincount(labels[held], minlength=1000)[counts >= 2] >= 1).all()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"labels": [[0, 1]]}, ValueError, "labels must be one-dimensional, got shape (1, 2)"),
        ({"labels": [0.5]}, TypeError, "labels must be integers, got dtype float64; map the classes to 0..C-1 first"),
        ({"labels": [0, -1]}, ValueError, "labels must lie in [0, 2**24), got -1 at position 1"),
        ({"labels": [1 << 60]}, ValueError, "labels must lie in [0, 2**24), got 1152921504606846976"),
        ({"fraction": 0}, ValueError, "fraction must lie in (0, 1), got 0"),
        ({"fraction": 1.0}, ValueError, "fraction must lie in (0, 1), got 1.0"),
        ({"fraction": math.nan}, ValueError, "fraction must lie in (0, 1), got nan"),
        ({"fraction": "0.1"}, TypeError, "fraction must be a number, got '0.1'"),
        ({"seed": -1}, ValueError, "seed must lie in [0, 2**64), got -1"),
        ({"seed": 0.5}, TypeError, "seed must be an integer, got 0.5"),
    ],
)
def test_refused(arguments, error, text):
    with pytest.raises(error, match=re.escape(text)):
        validation_split(**{"labels": [0, 0, 1], **arguments})


def test_rows_select_from_every_source_and_set():
    labels = np.repeat(np.arange(3), [6, 3, 1])
    images = np.random.default_rng(1).integers(0, 256, (10, 4, 4, 1), dtype=np.uint8)
    paths = Paths(f"{at}.png" for at in range(10))
    everything = [
        ArraySource(images, labels, ("a", "b", "c")),
        FileSource(paths, labels, ("a", "b", "c")),
        ImageSet(images, labels, ("a", "b", "c"), {"name": "test"}, np.arange(10) + 100),
        ImageFiles(paths, labels, ("a", "b", "c")),
    ]
    rows = validation_split(labels, fraction=0.3)
    for whole in everything:
        for chosen in rows:
            part = whole.subset(chosen)
            assert type(part) is type(whole)
            assert part.classes == whole.classes
            np.testing.assert_array_equal(part.labels, labels[chosen])
            if hasattr(part, "images"):
                np.testing.assert_array_equal(part.images, images[chosen])
            else:
                assert list(part.paths) == [f"{at}.png" for at in chosen]
            if hasattr(part, "indices"):
                np.testing.assert_array_equal(part.indices, chosen + 100)
    for source in everything[:2]:
        with pytest.raises(IndexError, match=r"rows must lie in \[0, 10\), got 10 at position 1"):
            source.subset([0, 10])
