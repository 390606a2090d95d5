"""``ClassCounts``: what it holds, what it refuses, and in which words."""

import copy
import inspect
import math
import pickle
import tracemalloc
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from lt_fast import ClassCounts, metrics
from lt_fast.losses import CrossEntropyLoss
from lt_fast.sampling import (
    ClassBalancedSampler,
    ConfusionPairBatchSampler,
    WeightedRandomSampler,
    class_probabilities,
)
from test_docstring_examples import packages, public

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


@pytest.mark.parametrize(("limits", "error", "message"), [
    ({"many": 1.5}, TypeError, r"many must be an integer, got 1.5"),
    ({"few": -1}, ValueError, r"few must be >= 0, got -1"),
])  # fmt: skip
def test_thresholds_are_counts(limits, error, message):
    with pytest.raises(error, match=message):
        ClassCounts([5, 3]).groups(**limits)
    with pytest.raises(error, match=message):
        metrics.Evaluation([5, 3], groups=(limits.get("many", 100), limits.get("few", 20)))


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
        ([3, -1], ValueError, r"counts must be integers >= 0 and < 2\*\*63, got -1 for class 1"),
        ([3, 1.5], ValueError, r"counts must be integers >= 0 and < 2\*\*63, got 1\.5 for class 1"),
        (["3"], TypeError, "counts must be integers, got dtype <U1"),
        ([True], TypeError, "counts must be integers, got dtype bool"),
        ([1j], TypeError, "counts must be integers, got dtype complex128"),
        ([3, math.nan], ValueError, r"counts must be integers >= 0 and < 2\*\*63, got nan for class 1"),
        ([3, math.inf], ValueError, r"counts must be integers >= 0 and < 2\*\*63, got inf for class 1"),
        ([3, 1e30], ValueError, r"counts must be integers >= 0 and < 2\*\*63, got 1e\+30 for class 1"),
        (
            [3, 10**20],
            ValueError,
            r"counts must be integers >= 0 and < 2\*\*63, got 100000000000000000000 for class 1; pass the",
        ),
        (
            [-(10**20), 3],
            ValueError,
            r"counts must be integers >= 0 and < 2\*\*63, got -100000000000000000000 for class 0; pass",
        ),
        (
            [3, 2**63],
            ValueError,
            r"counts must be integers >= 0 and < 2\*\*63, got 9.223372036854776e\+18 for class 1; pass the sam",
        ),
        ([2**63], ValueError, r"counts must be integers >= 0 and < 2\*\*63, got 9223372036854775808 for class 0"),
        ([3, None], TypeError, "counts must be integers, got dtype object"),
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
        (["a"], r"names must have one entry per class \(2\), got 1"),
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
        (["cat", "dog"], None, TypeError, r"got dtype <U3; ClassCounts\.from_dataset\(labels\) numbers words"),
        (
            [-1, -1],
            None,
            ValueError,
            "labels must be >= 0, got -1 at position 0; where that marks a sample without a label",
        ),
        ([0, -1], 3, ValueError, "labels must be >= 0, got -1 at position 1"),
        ([0, None], None, ValueError, r"labels must have no missing entry, got one at position 1 \(None\)"),
        ([0.0, math.nan], None, ValueError, r"labels must have no missing entry, got one at position 1 \(nan\)"),
        ([0, 5, 1], 3, ValueError, r"labels must lie in \[0, 3\), got 5 at position 1"),
        ([0, 1, -1], None, ValueError, r"labels must be >= 0, got -1 at position 2"),
        ([0], 0, ValueError, "num_classes must be >= 1, got 0"),
        ([0, 1], 2.0, TypeError, r"num_classes must be an integer, got 2\.0"),
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
    with pytest.raises(TypeError, match=r"a data set with \.targets or \.labels, got SimpleNamespace; pass its labels"):
        ClassCounts.from_dataset(SimpleNamespace())
    with pytest.raises(ValueError, match="labels must hold at least one sample, got 0"):
        ClassCounts.from_dataset([])


WHOLE = TensorDataset(torch.zeros(10), torch.tensor([0] * 7 + [1] * 3))


class Named(Undecodable):
    def __len__(self):
        return len(self.targets)


ANIMALS = Named(targets=[1, 0, 1, 0], classes=["owl", "ant"])


@pytest.mark.parametrize(
    ("dataset", "wanted"),
    [
        (WHOLE, ClassCounts([7, 3])),
        (Subset(WHOLE, range(8)), ClassCounts([7, 1])),
        (ConcatDataset([WHOLE, Subset(WHOLE, [9])]), ClassCounts([7, 4])),
        ([0, 1, 1], ClassCounts([1, 2])),
        (torch.tensor([0, 1, 1]), ClassCounts([1, 2])),
        (["dog", "ant", "dog"], ClassCounts([1, 2], names=["ant", "dog"])),
        (Undecodable(labels=["dog", "ant", "dog"]), ClassCounts([1, 2], names=["ant", "dog"])),
        (
            Undecodable(labels=["dog", "ant", "dog"], classes=["dog", "ant"]),
            ClassCounts([2, 1], names=["dog", "ant"]),
        ),
        (Undecodable(labels=["dog", "ant", "dog"], classes=["cat"]), ClassCounts([1, 2], names=["ant", "dog"])),
        (ANIMALS, ClassCounts([2, 2], names=["owl", "ant"])),
        (Subset(ANIMALS, [0, 1, 2]), ClassCounts([1, 2], names=["owl", "ant"])),
        (ConcatDataset([ANIMALS, ANIMALS]), ClassCounts([4, 4], names=["owl", "ant"])),
        (ConcatDataset([ANIMALS, WHOLE]), ClassCounts([9, 5])),
        (Undecodable(targets=[0, 1, 1], classes=["crane", "crane"]), ClassCounts([1, 2])),
    ],
)
def test_from_dataset_counts_what_the_samplers_count(dataset, wanted):
    assert ClassCounts.from_dataset(dataset) == wanted
    assert ClassBalancedSampler(dataset).class_counts == wanted


def test_from_dataset_takes_a_hugging_face_column_with_its_names():
    hugging_face = pytest.importorskip("datasets")
    if not hasattr(hugging_face, "Dataset"):
        pytest.skip("the folder of that name, not the package")
    features = hugging_face.Features({"label": hugging_face.ClassLabel(names=["owl", "ant"])})
    data = hugging_face.Dataset.from_dict({"label": [0, 1, 1]}, features=features)
    wanted = ClassCounts([1, 2], names=["owl", "ant"])
    assert ClassCounts.from_dataset(data["label"]) == ClassBalancedSampler(data["label"]).class_counts == wanted
    unlabelled = hugging_face.Dataset.from_dict({"label": [-1, -1]}, features=features)
    with pytest.raises(
        ValueError, match="labels must be >= 0, got -1 at position 0; where that marks a sample without"
    ):
        ClassCounts.from_dataset(unlabelled["label"])


def test_ready_counts_of_other_samples_are_refused_or_not_taken():
    with pytest.raises(
        ValueError, match=r"class_counts must add up to the number of samples \(3\), got 4, those of oth"
    ):
        ClassCounts.from_dataset(Named(targets=[0, 1, 1], class_counts=[2, 2]))

    class Wrapper(Undecodable):
        def __getattr__(self, name):
            return getattr(self.__dict__["inside"], name)

        def __len__(self):
            return 3

    inside = Undecodable(class_counts=[2, 2], labels=[0, 0, 1])
    with pytest.warns(UserWarning, match="labels are taken from the data set that Wrapper wraps"):
        assert ClassCounts.from_dataset(Wrapper(inside=inside)) == ClassCounts([2, 1])
    named = Undecodable(class_counts={"ant": 3, "owl": 1}, classes=["owl", "ant"])
    assert ClassCounts.from_dataset(named) == ClassCounts([1, 3])


def test_ready_counts_that_the_labels_contradict_are_refused():
    with pytest.raises(ValueError, match="must be those of its labels, got 1 for class 0, of which 2 are counted"):
        ClassCounts.from_dataset(Named(targets=[0, 0, 1], class_counts=[1, 2]))
    with pytest.raises(ValueError, match="got 3 for class 0, of which 2 are counted"):
        ClassCounts.from_dataset(Named(targets=[0, 0, 1], class_counts=ClassCounts([3])))
    assert ClassCounts.from_dataset(Named(targets=[0, 0, 1], class_counts=[2, 1, 0])) == ClassCounts([2, 1, 0])


@pytest.mark.parametrize(
    "names",
    [
        {"class_to_idx": {"dog": 0, "cat": 1}},
        {"class_to_idx": {"cat": np.int64(1), "dog": np.int64(0)}, "classes": ["cat", "dog"]},
        {"classes": {0: "dog", 1: "cat"}},
        {"classes": {1: "cat", 0: "dog"}},
        {"classes": {"cat": 1, "dog": 0}},
        {"classes": ("dog", "cat")},
    ],
)
def test_words_have_the_numbers_that_the_data_set_gives(names):
    dataset = Named(targets=["cat", "dog", "cat"], **names)
    wanted = ClassCounts([1, 2], names=["dog", "cat"])
    assert ClassCounts.from_dataset(dataset) == ClassBalancedSampler(dataset).class_counts == wanted
    assert ClassCounts.from_dataset(Subset(dataset, [0, 1, 2])) == wanted
    stray = Named(targets=["cat", "dgo", "cat"], **names)
    for take in (ClassCounts.from_dataset, ClassBalancedSampler):
        with pytest.raises(ValueError, match=r"names of the data set's classes \(.*\), got 'dgo' at position 1; corr"):
            take(stray)


def test_names_to_show_are_kept():
    shown = Named(targets=[0, 1, 1], classes=["Dog", "Cat"], class_to_idx={"dog": 0, "cat": 1})
    assert ClassCounts.from_dataset(shown) == ClassCounts([1, 2], names=["Dog", "Cat"])
    synonyms = Named(
        targets=[0, 1, 1], classes=[("dog", "hound"), ("cat",)], class_to_idx={"dog": 0, "hound": 0, "cat": 1}
    )
    assert ClassCounts.from_dataset(synonyms).names == ("('dog', 'hound')", "('cat',)")
    with pytest.raises(ValueError, match=r"names of the data set's classes .*, got 'a' at position 0"):
        ClassCounts.from_dataset(Subset(Named(targets=["a"], class_to_idx={"dog": 0}), [0]))


def test_words_may_share_a_number_or_leave_one_out():
    numbers = {"dog": 0, "wolf": 0, "cat": 2}
    dataset = Named(targets=["cat", "dog", "wolf"], class_to_idx=numbers)
    assert ClassCounts.from_dataset(dataset) == ClassCounts([2, 0, 1])
    for wrong in (-1, "1", 1.5, True):
        with pytest.raises(ValueError, match=r"Named\.class_to_idx must give each class an integer >= 0, got"):
            ClassCounts.from_dataset(Named(targets=["cat"], class_to_idx={"cat": wrong}))


@pytest.mark.parametrize("targets", [["cat", "dog"], [1, 0]])
def test_a_set_of_classes_has_no_order(targets):
    with pytest.warns(UserWarning, match=r"Named\.classes is a set, which has no order, and is not looked at"):
        ClassCounts.from_dataset(Named(targets=targets, classes={"dog", "cat"}))


def test_tensors_of_any_kind_are_counts():
    counts = torch.tensor([5.0, 3.0])
    for tensor in (counts.bfloat16(), counts.half(), counts.clone().requires_grad_()):
        assert ClassCounts(tensor) == ClassCounts([*tensor]) == ClassCounts([5, 3])
        with pytest.raises(TypeError, match="labels must be integers, got dtype float32"):
            ClassCounts.from_labels(tensor)


def test_what_to_do_with_other_keys_is_said():
    pandas = pytest.importorskip("pandas")
    for labels in ([1, 2, 2], [1.0, 2.0, 2.0], [1, 3, 3]):
        series = pandas.Series(labels)
        with pytest.raises(ValueError, match=r"the labels start at 1: .*, as \(labels - 1\)\.value_counts\(\)"):
            ClassCounts(series.value_counts())
    with pytest.raises(ValueError, match="the labels start at 1: subtract 1"):
        ClassCounts(Counter([1, 2, 2]))
    with pytest.raises(ValueError, match=r"count the one column: frame\['label'\]\.value_counts"):
        ClassCounts(pandas.DataFrame({"y": [0, 1, 1]}).value_counts())
    with pytest.raises(TypeError, match=r"labels must be integers, got dtype bool; .* \[int\(label\) for label in"):
        ClassCounts.from_labels([True, False])
    truths = pandas.Series([True, False, True])
    for counts in (truths.value_counts(), Counter(truths.tolist())):
        with pytest.raises(ValueError, match=r"count integers in their place: labels\.astype\(int\)"):
            ClassCounts(counts)
    assert ClassCounts(truths.astype(int).value_counts()) == ClassCounts([1, 2])
    for gap in (float("nan"), None):
        unlabelled = pandas.Series([0, gap, 1, 1])
        with pytest.raises(ValueError, match=r"one is of samples without a label: .*labels\.dropna\(\)\.value_counts"):
            ClassCounts(unlabelled.value_counts(dropna=False))
        assert ClassCounts(unlabelled.dropna().value_counts()) == ClassCounts([1, 2])


# --- counts that name their classes -----------------------------------------------------------------------------------


@given(st.permutations(range(6)), st.lists(st.integers(1, 100), min_size=6, max_size=6))
def test_a_dictionary_is_in_the_order_of_its_classes(order, counts):
    assert ClassCounts({c: counts[c] for c in order}) == ClassCounts(counts)
    assert ClassCounts(
        {f"class {c}": counts[c] for c in order}, names=[f"class {c}" for c in range(6)]
    ).counts.tolist() == (counts)


def test_a_counter_is_in_the_order_of_its_classes():
    assert ClassCounts(Counter([2, 2, 0, 1, 2])) == ClassCounts([1, 1, 3])
    assert ClassCounts({2.0: 5, 0.0: 1, np.int64(1): 3}) == ClassCounts([1, 3, 5])


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (
            {0: 5, 2: 3},
            r"counts must be in the order of the classes, got entries for 0, 2, which are not the class numbers 0",
        ),
        (
            {1: 5, 2: 3},
            r"not the class numbers 0 to 1, each once; pass \[counts\[key\] for key in classes\], with classes",
        ),
        ({"dog": 5, "ant": 3}, "got entries for 'dog', 'ant', which are not the class numbers"),
        ({True: 5, False: 3}, "got entries for True, False, which are not"),
    ],
)
def test_a_dictionary_of_other_classes_is_refused(counts, text):
    with pytest.raises(ValueError, match=text):
        ClassCounts(counts)


def test_a_pandas_series_is_in_the_order_of_its_index():
    pandas = pytest.importorskip("pandas")
    labels = pandas.Series([2] * 100 + [0] * 10 + [1] * 1)
    counted, right = labels.value_counts(), np.bincount(labels)
    assert counted.index.tolist() == [2, 0, 1]
    assert ClassCounts(counted) == ClassCounts(counted.sort_index()) == ClassCounts(right)
    assert ClassCounts(labels.astype(float).value_counts()) == ClassCounts(right)
    assert ClassCounts(labels.astype("category").value_counts()) == ClassCounts(right)
    assert ClassCounts(counted.to_numpy()) == ClassCounts([100, 10, 1])  # nobody says of which classes
    probabilities = class_probabilities(counted, q=1.0)
    assert probabilities == pytest.approx(right / 111)
    assert ClassBalancedSampler(labels, class_probs=1 / counted).class_probs.argmax() == 1
    weighted = CrossEntropyLoss(counted, weight=1 / counted)
    weight = weighted.options.by_name(weighted.vectors.rows)["weight"]
    assert weight.tolist() == pytest.approx(1 / right)
    words = labels.map({0: "owl", 1: "ant", 2: "dog"})
    sampler = ClassBalancedSampler(words, class_probs=words.value_counts())
    assert dict(zip(sampler.class_counts.names, sampler.class_probs.tolist(), strict=True)) == pytest.approx(
        {"owl": 10 / 111, "ant": 1 / 111, "dog": 100 / 111}
    )


def test_a_pandas_series_of_other_classes_is_refused():
    pandas = pytest.importorskip("pandas")
    words = pandas.Series(["owl", "owl", "ant"]).value_counts()
    with pytest.raises(ValueError, match=r"got entries for 'owl', 'ant', .*\.reindex\(classes\).*\.sort_index\(\)"):
        ClassCounts(words)
    assert ClassCounts(words, names=["ant", "owl"]).counts.tolist() == [1, 2]
    gap = pandas.Series([0, 2, 2]).value_counts()
    with pytest.raises(
        ValueError, match=r"got entries for 2, 0, .*pass \.reindex\(range\(C\), fill_value=0\), or \.sort_i"
    ):
        ClassCounts(gap)
    assert ClassCounts(gap.reindex(range(3), fill_value=0)).counts.tolist() == [1, 0, 2]
    twice = pandas.concat([gap, gap])
    for refused in (gap, twice):
        with pytest.raises(ValueError, match="weight must be in the order of the classes"):
            CrossEntropyLoss([5] * len(refused), weight=refused)
        with pytest.raises(ValueError, match="class_probs must be in the order of the classes"):
            ClassBalancedSampler([0, 0, 1, 1], class_probs=refused)
    with pytest.raises(
        ValueError, match=r"weights must be in the order of the samples, .* index 2, 0, .*\.to_numpy\(\) if"
    ):
        WeightedRandomSampler(pandas.Series([1.0, 2.0, 3.0], index=[2, 0, 1]), 5)
    assert len(WeightedRandomSampler(pandas.Series([1.0, 2.0], index=[17, 4]), 5)) == 5  # rows of a larger table


def test_a_crosstab_is_in_the_order_of_its_classes():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame([[9, 0, 2], [0, 9, 0], [1, 0, 9]], index=[2, 0, 1], columns=[2, 0, 1])
    sampler = ConfusionPairBatchSampler([0, 0, 1, 1, 2, 2], table, pairs_per_batch=3)
    plain = ConfusionPairBatchSampler([0, 0, 1, 1, 2, 2], [[9, 0, 0], [0, 9, 1], [0, 2, 9]], pairs_per_batch=3)
    assert list(sampler) == list(plain)
    with pytest.raises(
        ValueError, match=r"confusion\.columns must be in the order of the classes, got entries for 0, 1, 3"
    ):
        ConfusionPairBatchSampler([0, 1, 2], table.set_axis([0, 1, 3], axis=1), pairs_per_batch=1)


# --- sums beyond 64 bits ----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=9).filter(any))
def test_a_total_is_exact_at_any_size(counts):
    held = ClassCounts(counts)
    assert held.total == sum(counts)
    assert held.prior == pytest.approx([count / sum(counts) for count in counts], rel=1e-15)
    assert class_probabilities(held, q=1.0, empty="ignore") == pytest.approx(held.prior)


def test_empty_classes_are_refused_or_kept():
    held = ClassCounts([4, 0, 2, 0], names=["cat", "dog", "owl", "yak"])
    with pytest.raises(
        ValueError,
        match=r"class_counts must be >= 1 in every class, got 0 for class 'dog' \(index 1\) and 1 more; drop the",
    ):
        held.require_no_empty()
    assert held.require_no_empty("ignore") is held
    assert ClassCounts([4, 1]).require_no_empty().total == 5
    with pytest.raises(ValueError, match="empty must be one of error, ignore, got 'skip'"):
        held.require_no_empty("skip")
    with pytest.raises(TypeError, match="empty must be a string, one of error, ignore, got array"):
        held.require_no_empty(np.array(["error", "ignore"]))


def _asks_for_class_counts(each):
    parameters = inspect.signature(each.__init__ if inspect.isclass(each) else each).parameters
    return [name for name, given in parameters.items() if given.annotation is ClassCounts]


@pytest.mark.parametrize("package", packages())
def test_every_public_callable_takes_counts_in_every_form(package):
    ours = {name: each for name, each in public(package).items() if each.__module__.startswith("lt_fast.")}
    assert {name: found for name, each in ours.items() if (found := _asks_for_class_counts(each))} == {}


def test_a_callable_that_takes_class_counts_alone_is_found():
    def narrow(counts: ClassCounts) -> None:
        """Take one form."""

    assert _asks_for_class_counts(narrow) == ["counts"]
