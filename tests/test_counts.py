"""``ClassCounts``: what it holds, what it refuses, and in which words."""

import copy
import math
import pickle
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lt_fast import ClassCounts

CIFAR10_100 = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
some_counts = st.lists(st.integers(0, 10**9), min_size=1, max_size=50).filter(any)


@given(some_counts)
def test_what_it_holds(counts):
    held = ClassCounts(counts)
    assert held.counts.tolist() == counts
    assert held.counts.dtype == np.int64
    assert len(held) == held.num_classes == len(counts)
    assert held.total == sum(counts)
    assert held.prior.sum() == pytest.approx(1)
    assert held.imbalance_ratio == (max(counts) / min(counts) if min(counts) else math.inf)
    assert held.empty.tolist() == [index for index, count in enumerate(counts) if count == 0]
    assert held.names == tuple(str(index) for index in range(len(counts)))


@given(some_counts, st.integers(0, 200), st.integers(0, 200))
def test_groups_are_a_partition(counts, many, few):
    if few > many + 1:
        with pytest.raises(ValueError, match=f"few must be <= many \\+ 1, got few={few}, many={many}"):
            ClassCounts(counts).groups(many=many, few=few)
        return
    groups = ClassCounts(counts).groups(many=many, few=few)
    assert list(groups) == ["many", "medium", "few"]
    assert (sum(mask.astype(int) for mask in groups.values()) == 1).all()
    for count, *flags in zip(counts, *groups.values(), strict=True):
        assert flags == [count > many, few <= count <= many, count < few]


def test_groups_of_cifar():
    assert [int(mask.sum()) for mask in ClassCounts(CIFAR10_100).groups().values()] == [8, 2, 0]
    exponential = ClassCounts([int(500 * 0.01 ** (c / 99)) for c in range(100)])
    assert [int(mask.sum()) for mask in exponential.groups().values()] == [35, 35, 30]


@pytest.mark.parametrize(
    "counts",
    [
        (5, 3, 1),
        np.array([5, 3, 1], dtype=np.int32),
        np.array([5.0, 3.0, 1.0]),
        torch.tensor([5, 3, 1]),
        ClassCounts([5, 3, 1]),
        np.array([5, 9, 3, 9, 1])[::2],
    ],
)
def test_any_sequence_will_do(counts):
    assert ClassCounts(counts) == ClassCounts([5, 3, 1])


def test_it_is_frozen_and_owns_its_counts():
    source = np.array([5, 3, 1])
    held = ClassCounts(source)
    source[0] = 99
    assert held.counts.tolist() == [5, 3, 1]
    with pytest.raises(ValueError, match="read-only"):
        held.counts[0] = 7
    with pytest.raises(AttributeError, match="ClassCounts is frozen: cannot set 'counts'; build a new one"):
        held.counts = source
    with pytest.raises(AttributeError, match="ClassCounts is frozen: cannot delete 'names'"):
        del held.names
    assert np.asarray(held).flags.writeable


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda held: pickle.loads(pickle.dumps(held)), ClassCounts]
)
def test_copies_are_equal(copied):
    held = ClassCounts([5, 3, 1], names=["cat", "dog", "owl"])
    other = copied(held)
    assert other == held
    assert hash(other) == hash(held)
    assert other.names == ("cat", "dog", "owl")
    assert not other.counts.flags.writeable


def test_names_that_nobody_gave_are_made_on_demand():
    classes = 1 << 18
    labels = np.array([0, classes - 1])
    tracemalloc.start()
    counts = ClassCounts.from_labels(labels)
    with pytest.raises(ValueError, match=rf"got 0 for class '1' \(index 1\) and {classes - 3} more"):
        counts.require_no_empty()
    other = pickle.loads(pickle.dumps(ClassCounts(counts)))
    assert other == counts
    assert hash(other) == hash(counts)
    assert repr(counts) == f"ClassCounts([1, 0, 0, 0, 0, 0, ...], num_classes={classes}, imbalance_ratio=inf)"
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 48 * classes  # a word of six digits takes 56 bytes and its place in the tuple 8
    assert counts.names[-2:] == (str(classes - 2), str(classes - 1))
    assert counts.names is counts.names


def test_names_asked_for_or_given_as_the_numbers_are_equal():
    plain, asked, named = ClassCounts([5, 3]), ClassCounts([5, 3]), ClassCounts([5, 3], names=["0", "1"])
    assert asked.names == ("0", "1")
    for other in (asked, named, pickle.loads(pickle.dumps(asked))):
        assert other == plain
        assert plain == other
        assert hash(other) == hash(plain)
    assert pickle.loads(pickle.dumps(plain)).names == ("0", "1")


def test_equality_is_of_counts_and_names():
    assert ClassCounts([1, 2]) != ClassCounts([2, 1])
    assert ClassCounts([1, 2]) != ClassCounts([1, 2], names=["a", "b"])
    assert ClassCounts([1, 2]) != [1, 2]


def test_repr_is_short():
    text = repr(ClassCounts(CIFAR10_100))
    assert text == "ClassCounts([5000, 2997, 1796, 1077, 645, 387, ...], num_classes=10, imbalance_ratio=100)"


@pytest.mark.parametrize(
    ("counts", "error", "message"),
    [
        ([], ValueError, r"counts must be one-dimensional with at least one class, got shape \(0,\)"),
        (5, ValueError, r"counts must be one-dimensional with at least one class, got shape \(\)"),
        ([[1, 2]], ValueError, r"counts must be one-dimensional with at least one class, got shape \(1, 2\)"),
        ([0, 0], ValueError, "counts must have at least one sample, got 2 classes without any"),
        ([3, -1], ValueError, r"counts must be whole numbers >= 0 and < 2\*\*63, got -1 for class 1"),
        ([3, 1.5], ValueError, r"counts must be whole numbers >= 0 and < 2\*\*63, got 1\.5 for class 1"),
        (["3"], TypeError, "counts must be whole numbers, got dtype <U1"),
        ([True], TypeError, "counts must be whole numbers, got dtype bool"),
        ([1j], TypeError, "counts must be whole numbers, got dtype complex128"),
        ([3, math.nan], ValueError, r"counts must be whole numbers >= 0 and < 2\*\*63, got nan for class 1"),
        ([3, math.inf], ValueError, r"counts must be whole numbers >= 0 and < 2\*\*63, got inf for class 1"),
        ([3, 1e30], ValueError, r"counts must be whole numbers >= 0 and < 2\*\*63, got 1e\+30 for class 1"),
        (
            [3, 10**20],
            ValueError,
            r"counts must be whole numbers >= 0 and < 2\*\*63, got 100000000000000000000 for class 1; pass the",
        ),
        (
            [-(10**20), 3],
            ValueError,
            r"counts must be whole numbers >= 0 and < 2\*\*63, got -100000000000000000000 for class 0; pass",
        ),
        (
            [3, 2**63],
            ValueError,
            r"counts must be whole numbers >= 0 and < 2\*\*63, got 9.223372036854776e\+18 for class 1; pass the sam",
        ),
        ([2**63], ValueError, r"counts must be whole numbers >= 0 and < 2\*\*63, got 9223372036854775808 for class 0"),
        ([3, None], TypeError, "counts must be whole numbers, got dtype object"),
        (
            np.ma.array([3, 1, 2], mask=[0, 1, 1]),
            ValueError,
            "counts must have no masked entry, got 2, the first at position 1; leave it out, or fill in its value",
        ),
    ],
)
def test_wrong_counts_are_named(counts, error, message):
    with pytest.raises(error, match=message):
        ClassCounts(counts)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], r"names must have one entry a class \(2\), got 1"),
        (["a", "a"], "names must be distinct, got 'a' twice"),
    ],
)
def test_wrong_names_are_named(names, message):
    with pytest.raises(ValueError, match=message):
        ClassCounts([1, 2], names=names)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=100))
def test_from_labels_counts(labels):
    counted = ClassCounts.from_labels(labels, num_classes=7)
    assert counted.counts.tolist() == [labels.count(c) for c in range(7)]
    assert ClassCounts.from_labels(torch.tensor(labels)).num_classes == max(labels) + 1
    assert ClassCounts.from_labels(labels, names="abcdefg").names == tuple("abcdefg")


@pytest.mark.parametrize(
    ("labels", "num_classes", "error", "message"),
    [
        ([], None, ValueError, r"labels must be a one-dimensional, non-empty sequence, got shape \(0,\)"),
        ([[0, 1]], None, ValueError, r"labels must be a one-dimensional, non-empty sequence, got shape \(1, 2\)"),
        ([0.0, 1.0], None, TypeError, r"labels must be integers, got dtype float64; map the classes to 0\.\.C-1 first"),
        (["cat", "dog"], None, TypeError, r"labels must be integers, got dtype <U3"),
        ([0, 5, 1], 3, ValueError, r"labels must lie in \[0, 3\), got 5 at position 1"),
        ([0, 1, -1], None, ValueError, r"labels must lie in \[0, 2\), got -1 at position 2"),
        ([0], 0, ValueError, "num_classes must be >= 1, got 0"),
        ([0, 1], 2.0, TypeError, r"num_classes must be a whole number, got 2\.0"),
        (
            np.ma.array([0, 1], mask=[1, 0]),
            2,
            ValueError,
            "labels must have no masked entry, got 1, the first at position",
        ),
        ([0, 2**33], None, ValueError, r"labels must be < 16777216, got 8589934592; map the classes to 0\.\.C-1 first"),
    ],
)
def test_wrong_labels_are_named(labels, num_classes, error, message):
    with pytest.raises(error, match=message):
        ClassCounts.from_labels(labels, num_classes)


class Undecodable:
    """A data set whose images must not be touched."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def __getitem__(self, index):
        raise AssertionError("an image was decoded")


@pytest.mark.parametrize("attribute", ["targets", "labels"])
def test_from_dataset_reads_labels_and_names(attribute):
    dataset = Undecodable(**{attribute: [0, 1, 1], "classes": ["cat", "dog", "owl"]})
    assert ClassCounts.from_dataset(dataset) == ClassCounts([1, 2, 0], names=["cat", "dog", "owl"])


def test_from_dataset_prefers_ready_counts():
    held = ClassCounts([4, 2])
    assert ClassCounts.from_dataset(Undecodable(class_counts=held, targets=[0])) is held
    assert ClassCounts.from_dataset(Undecodable(class_counts=[4, 2])) == held


def test_from_dataset_without_labels_says_what_it_needs():
    with pytest.raises(
        TypeError, match=r"dataset must have \.class_counts, \.targets or \.labels, got SimpleNamespace; pass"
    ):
        ClassCounts.from_dataset(SimpleNamespace())


def test_empty_classes_are_refused_or_kept():
    held = ClassCounts([4, 0, 2, 0], names=["cat", "dog", "owl", "yak"])
    with pytest.raises(
        ValueError,
        match=r"class_counts must be >= 1 in every class, got 0 for class 'dog' \(index 1\) and 1 more; drop the",
    ):
        held.require_no_empty()
    assert held.require_no_empty("ignore") is held
    assert ClassCounts([4, 1]).require_no_empty().total == 5
    with pytest.raises(ValueError, match="empty must be 'error' or 'ignore', got 'skip'"):
        held.require_no_empty("skip")
    with pytest.raises(ValueError, match="empty must be 'error' or 'ignore', got array"):
        held.require_no_empty(np.array(["error", "ignore"]))
