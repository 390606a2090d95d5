"""Splits: stratified, seeded, groups whole, one image of every class for training; folds; ``images.csv``."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lt_fast.datasets.splits import ImageRow, folds, read_images, split, without_test, write_images
from lt_fast.errors import DataError

LABELS = np.repeat([0, 1, 2, 3], [100, 40, 6, 1])

sets = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), min_size=1, max_size=60)


def as_set(pairs):
    labels = np.unique([label for label, _ in pairs], return_inverse=True)[1]
    return labels, [str(group) if group else "" for _, group in pairs]


def test_the_shares_are_those_of_every_class():
    parts = split(LABELS, test=0.2, validation=0.1, seed=0)
    assert [np.bincount(LABELS[part], minlength=4).tolist() for part in parts] == [
        [70, 28, 4, 1],
        [10, 4, 1, 0],
        [20, 8, 1, 0],
    ]


def test_a_class_with_one_image_is_trained_on_and_told():
    assert without_test(LABELS, split(LABELS).test).tolist() == [3]


def test_the_seed_alone_decides():
    one, other, again = split(LABELS, seed=0), split(LABELS, seed=1), split(LABELS, seed=0)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one.test, other.test)


def test_the_test_set_does_not_depend_on_the_validation_set():
    assert np.array_equal(split(LABELS, validation=0).test, split(LABELS, validation=0.3).test)


@settings(max_examples=40)
@given(sets, st.integers(0, 5))
def test_every_row_is_in_one_part_groups_are_whole_and_every_class_is_trained(pairs, seed):
    labels, groups = as_set(pairs)
    parts = split(labels, groups=groups, test=0.3, validation=0.2, seed=seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    where = {int(row): number for number, part in enumerate(parts) for row in part}
    for name in {group for group in groups if group}:
        assert len({where[row] for row, group in enumerate(groups) if group == name}) == 1
    assert set(labels[parts.train]) == set(labels)


@settings(max_examples=40)
@given(sets, st.integers(2, 5))
def test_folds_keep_groups_whole_and_leave_every_class_for_training(pairs, count):
    labels, groups = as_set(pairs)
    try:
        fold = folds(labels, count, groups=groups)
    except DataError:  # fewer groups than folds, or a class that one group holds: nothing to share out
        return
    for name in {group for group in groups if group}:
        assert len({int(fold[row]) for row, group in enumerate(groups) if group == name}) == 1
    for each in range(count):
        assert set(labels[fold != each]) == set(labels)
        assert (fold == each).any()


def test_folds_share_every_class_out():
    fold = folds(LABELS, 5, seed=3)
    counts = np.array([np.bincount(LABELS[fold == each], minlength=4) for each in range(5)])
    assert counts[:, 0].tolist() == [20] * 5
    assert counts[:, 1].tolist() == [8] * 5
    assert sorted(counts[:, 2].tolist()) == [1, 1, 1, 1, 2]
    assert fold[-1] == -1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"test": 1.0}, "test must lie in"),
        ({"test": 0.6, "validation": 0.4}, "must leave images for training"),
        ({"groups": ["a"]}, r"groups must have one entry per label \(147\), got 1"),
        ({"seed": -1}, "seed must"),
    ],
)
def test_a_wrong_argument_is_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        split(LABELS, **arguments)


def test_more_folds_than_groups_are_refused():
    with pytest.raises(DataError, match="lower --folds"):
        folds([0, 0, 1, 1], 9)


ROWS = [ImageRow("a/1, 2.jpg", 'the "a"', "train", "", "burst"), ImageRow("b/ü.jpg", "b", "test", "3", "")]


def test_the_table_is_read_as_it_was_written(tmp_path):
    write_images(tmp_path, ROWS)
    assert read_images(tmp_path) == ROWS


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "must begin with path,class,split,fold,group"),
        (b"path,class,split,fold,group\na,b,nowhere,,\n", "line 2 is no path,class,split,fold,group"),
        (b"path,class,split,fold,group\na,b,test\n", "line 2"),
        (b"path,class,split,fold,group\n\xff", "is damaged"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, content, words):
    (tmp_path / "images.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_images(tmp_path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(DataError, match=r"images.csv is missing"):
        read_images(tmp_path)
