"""``labels_of`` finds labels wherever they are, and never decodes a sample."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, RandomSampler, Subset, TensorDataset

from lt_fast import ClassCounts
from lt_fast.sampling import (
    ClassBalancedSampler,
    MPerClassBatchSampler,
    MultilabelBalancedSampler,
    labels_of,
    repeat_factors,
)

LABELS = [2, 0, 1, 1, 2]


class Undecodable(Dataset):
    """A data set whose samples must not be touched."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def __getitem__(self, index):
        raise AssertionError(f"sample {index} was decoded")

    def __len__(self):
        values = next((v for v in map(self.__dict__.get, ("targets", "labels")) if v is not None), LABELS)
        return len(values)


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        tuple(LABELS),
        np.array(LABELS),
        np.array(LABELS, np.uint8),
        np.array(LABELS)[::-1][::-1],
        torch.tensor(LABELS),
        torch.tensor(LABELS, dtype=torch.int32),
        np.ma.array(LABELS, mask=False),
        Undecodable(targets=LABELS),
        Undecodable(labels=torch.tensor(LABELS)),
        Undecodable(targets=None, labels=LABELS),
        TensorDataset(torch.zeros(5, 3), torch.tensor(LABELS)),
        SimpleNamespace(__array__=None, targets=LABELS),
    ],
)
def test_sources(labels):
    found = labels_of(labels)
    assert found.dtype == np.int64
    assert found.tolist() == LABELS


def test_subsets_and_concatenations_nest():
    inner = Subset(Undecodable(targets=LABELS), [4, 3, 0])
    assert labels_of(inner).tolist() == [2, 1, 2]
    outer = Subset(inner, torch.tensor([2, 1]))
    assert labels_of(outer).tolist() == [2, 1]
    both = ConcatDataset([outer, Undecodable(labels=LABELS), Subset(inner, [])])
    assert labels_of(Subset(both, range(1, 4))).tolist() == [1, 2, 0]


def test_an_empty_part_has_no_say_in_the_type():
    empty = Undecodable(targets=[])
    assert labels_of(ConcatDataset([empty, Undecodable(targets=LABELS)])).tolist() == LABELS
    assert labels_of(ConcatDataset([empty, Undecodable(targets=LABELS)])).dtype == np.int64
    assert labels_of(ConcatDataset([Undecodable(targets=["a"]), empty])).tolist() == ["a"]
    assert labels_of(Subset(Undecodable(targets=LABELS), [-1, 0])).tolist() == [2, 2]


def test_ranges_and_strings():
    assert labels_of(range(3)).tolist() == [0, 1, 2]
    for strings in (["cat", "dog"], np.array(["cat", "dog"]), np.array(["cat", "dog"], object)):
        assert labels_of(strings).tolist() == ["cat", "dog"]
    assert labels_of(np.array(["cat", "dog"], np.dtypes.StringDType())).tolist() == ["cat", "dog"]


def test_image_folder(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    for name, files in {"ant": ["a.png", "b.png"], "bee": ["c.png"]}.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_bytes(b"not an image")
    assert labels_of(datasets.ImageFolder(tmp_path)).tolist() == [0, 0, 1]


def test_a_hugging_face_column():
    """The real one, where it is installed: read past the transform that decodes images."""
    hugging_face = pytest.importorskip("datasets")
    if not hasattr(hugging_face, "Dataset"):
        pytest.skip("the folder of that name, not the package")

    def decode(rows):
        raise AssertionError(f"{rows} were decoded")

    data = hugging_face.Dataset.from_dict({"image": list("vwxyz"), "label": LABELS, "name": [*"catca"]})
    for formatted in (data, data.with_format("numpy"), data.with_format("torch"), data.with_transform(decode)):
        assert labels_of(formatted["label"]).tolist() == LABELS
        assert labels_of(formatted["name"]).tolist() == [*"catca"]
    shuffled = data.select([4, 3, 0]).with_transform(decode)
    assert labels_of(shuffled["label"]).tolist() == [2, 1, 2]
    with pytest.raises(TypeError, match=r"got Dataset; pass its labels .*dataset\['label'\]"):
        labels_of(data)


class Column:
    """What ``datasets.Column`` offers: no ``__array__``, and items of the format of its data set."""

    __module__ = "datasets.arrow_dataset"

    def __init__(self, source, column_name):
        self.source, self.column_name = source, column_name

    def __getitem__(self, key):
        assert key == slice(None)
        return self.source.read(self.column_name)


class Table:
    """What it is a column of; ``transform`` is what asks for the image, too."""

    def __init__(self, transform=None):
        self.transform = transform

    def with_format(self, kind):
        assert kind is None
        return Table()

    def __getitem__(self, name):
        return Column(self, name)

    def read(self, name):
        assert self.transform is None, "a sample was decoded"
        return {"label": LABELS}[name]


def test_a_column_by_its_offerings():
    assert labels_of(Table(transform="decode")["label"]).tolist() == LABELS


class Series:
    """What a pandas ``Series`` offers: its entries as attributes, too, named by its index."""

    ndim = 1

    def __init__(self, **entries):
        self.__dict__.update(entries)

    def to_numpy(self):
        return np.array([*self.__dict__.values()])

    def __array__(self, dtype=None, copy=None):
        return self.to_numpy()


def test_a_series_by_its_offerings():
    assert labels_of(Series(targets=4, labels=2, other=0)).tolist() == [4, 2, 0]


def test_a_pandas_series():
    """The real one, where it is installed: labels itself, whatever its index calls them."""
    pandas = pytest.importorskip("pandas")
    index = ["targets", "labels", "x", "y", "z"]
    assert labels_of(pandas.Series(LABELS, index=index)).tolist() == LABELS
    assert labels_of(pandas.Series([*"catca"], index=index)).tolist() == [*"catca"]
    assert labels_of(pandas.Series([*"catca"], index=index, dtype="category")).tolist() == [*"catca"]
    assert labels_of(pandas.DataFrame({"image": [*"vwxyz"], "labels": LABELS})).tolist() == LABELS
    for labels in ([1, None], [*"a", None]):
        with pytest.raises(ValueError, match="labels must have no missing entry, got one at position 1"):
            labels_of(pandas.Series(labels, index=index[:2], dtype="Int64" if labels[0] == 1 else "category"))


@pytest.mark.parametrize(
    ("labels", "error", "text"),
    [
        ([0.0, 1.0], TypeError, "labels must be integers or strings, got dtype float64; convert them first"),
        (torch.ones(3), TypeError, "labels must be integers or strings, got dtype float32"),
        ([True, False], TypeError, "got dtype bool"),
        ([None, 1], ValueError, r"labels must have no missing entry, got one at position 0 \(None\); leave these samp"),
        ([0, float("nan"), 1, None], ValueError, r"got 2, the first at position 1 \(nan\)"),
        (torch.tensor([0.0, float("nan")]), ValueError, r"no missing entry, got one at position 1 \(nan\)"),
        (["cat", float("nan")], ValueError, r"no missing entry, got one at position 1 \(nan\)"),
        (["cat", None], ValueError, r"no missing entry, got one at position 1 \(None\)"),
        (["cat", " "], ValueError, r"no missing entry, got one at position 1 \(' '\)"),
        (np.array(["", "cat"]), ValueError, r"no missing entry, got one at position 0 \(''\)"),
        (np.array([0, None], object), ValueError, r"no missing entry, got one at position 1 \(None\)"),
        (np.array([0, 1.5], object), TypeError, "got dtype object with 1.5 at position 1"),
        (
            np.array(["cat", 1], object),
            TypeError,
            "all integers or all strings, got dtype object with 'cat' at pos",
        ),
        (np.array([0, True], object), TypeError, "got dtype object with True at position 1"),
        (np.array([0, 2**63], object), ValueError, r"labels must be < 2\*\*63, got 9223372036854775808 at position 1"),
        (Undecodable(targets=[0, None]), ValueError, "no missing entry, got one at position 1"),
        (
            torch.zeros(4, 1, dtype=torch.int64),
            ValueError,
            r"got shape \(4, 1\); one class a sample.*pass labels\[:, 0\]",
        ),
        (torch.eye(3), ValueError, r"got shape \(3, 3\).*of one-hot rows pass labels\.argmax\(1\)"),
        (np.array([[1, 1], [0, 1]]), ValueError, "for several labels per sample there is MultilabelBalancedSampler"),
        ([[0, 1], [1, 0]], ValueError, r"labels must be one-dimensional, got shape \(2, 2\); one class a sample"),
        ([[0, 1], [1]], ValueError, "labels must be one-dimensional, got entries of different lengths"),
        (np.array([0, 2**63], np.uint64), ValueError, r"labels must be < 2\*\*63, got 9223372036854775808; number the"),
        (np.array(3), ValueError, r"got shape \(\)"),
        (
            Undecodable(),
            TypeError,
            "labels must be a sequence, array or tensor, or a data set with .targets or .labels",
        ),
        (object(), TypeError, "got object; pass its labels themselves"),
        (7, TypeError, "got int; pass its labels themselves"),
        (torch.ones(2, requires_grad=True), TypeError, "got dtype float32"),
        (
            np.ma.array([0, 1, 2], mask=[0, 1, 1]),
            ValueError,
            "labels must have no masked entry, got 2, the first at position 1; leave it out, or fill in its value",
        ),
        (
            Undecodable(targets=np.ma.array([0, 1], mask=[1, 0])),
            ValueError,
            "labels must have no masked entry, got 1, the",
        ),
        (
            Subset(Undecodable(targets=LABELS), np.ma.array([0, 1], mask=[0, 1])),
            ValueError,
            r"Subset\.indices must have no masked entry, got 1, the first at position 1",
        ),
        (["cat", 1], TypeError, "labels must be all integers or all strings, got 1 among strings"),
        (
            ConcatDataset([Undecodable(targets=LABELS), Undecodable(targets=[*"catca"])]),
            TypeError,
            "integers or strings in every part of a ConcatDataset, got both",
        ),
        (Subset(Undecodable(targets=LABELS), [0, 5]), ValueError, r"Subset\.indices must be < 5, .* got 5 at 1"),
        (Subset(Undecodable(targets=LABELS), [0.5, 1]), TypeError, r"Subset\.indices must be integers, got dtype"),
        (Subset(Undecodable(targets=LABELS), np.array(LABELS) > 1), TypeError, "integers, got dtype bool"),
        (RandomSampler([1, 2]), TypeError, r"got a torch RandomSampler; .*use_distributed_sampler=False"),
    ],
)
def test_refused(labels, error, text):
    with pytest.raises(error, match=text):
        labels_of(labels)


def test_integers_as_objects_are_integers():
    assert labels_of(np.array([2, 0, np.int8(1)], object)).tolist() == [2, 0, 1]


def test_a_missing_value_that_became_a_word_is_told():
    with pytest.warns(UserWarning, match="labels hold the word 'nan', 2 times, the first at position 1") as told:
        labels_of(np.array(["cat", "nan", "nan"]))
    assert told[0].filename == __file__  # the line that called, not one of the package


# --- labels of other samples ------------------------------------------------------------------------------------------


class Filtered(Dataset):
    """A wrapper as many write it: some samples of another data set, all its attributes."""

    def __init__(self, dataset, chosen):
        self.dataset, self.chosen = dataset, chosen

    def __getattr__(self, name):
        if name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __len__(self):
        return len(self.chosen)


class View(Filtered):
    """The same, but with the name that torch's ``Subset`` gives its indices."""

    @property
    def indices(self):
        return self.chosen


class ForwardingSubset(Subset):
    def __getattr__(self, name):
        if name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)


class Relabelled(Subset):
    """A subset that gives other labels, and says so."""

    @property
    def targets(self):
        return [7] * len(self.indices)

    def __getitem__(self, index):
        return None, 7

    def __getitems__(self, indices):
        return [self[index] for index in indices]


def with_attribute(dataset, **attributes):
    dataset.__dict__.update(attributes)
    return dataset


class Sized(Undecodable):
    def __len__(self):
        return self.size


@pytest.mark.parametrize(
    ("dataset", "text"),
    [
        (
            Sized(targets=LABELS, size=3),
            r"one per sample \(3\), got 5 in Sized\.targets: they are of other samples, as af",
        ),
        (Sized(labels=LABELS, size=10), r"one per sample \(10\), got 5 in Sized\.labels: they are of other samples"),
        (
            Sized(labels=[*"abc"], size=100),
            r"\(100\), got 3 in Sized\.labels: they look like one per class; pass the label",
        ),
        (Sized(labels=[0, 1], classes=["a", "b"], size=100), "they look like one per class"),
        (
            Filtered(Undecodable(targets=LABELS), [0, 1]),
            r"\(2\), got 5 in Filtered\.targets: they are those of the data s",
        ),
        (Filtered(Undecodable(labels=LABELS), [0] * 9), "or wrap with torch.utils.data.Subset, whose labels are known"),
        (View(Undecodable(targets=LABELS), [4, 3, 2, 1, 0]), r"got 2 at position 1 .*|but .* by its \.indices"),
        (
            with_attribute(Subset(Undecodable(targets=LABELS), [0, 1]), targets=LABELS),
            r"one per sample \(2\), got 5 in Subset\.targets: they are of other samples",
        ),
        (
            with_attribute(Subset(Undecodable(targets=LABELS), [0, 1]), targets=[0, 0]),
            "got 0 at position 0 of the labels of this Subset, but 2 by its parts, whose samples it gives",
        ),
        (
            with_attribute(ConcatDataset([Undecodable(targets=[0, 1]), Undecodable(targets=[0])]), targets=[0, 1, 1]),
            "got 1 at position 2 of the labels of this ConcatDataset, but 0 by its parts",
        ),
        (
            Undecodable(targets=[0, 1], samples=[("a", 1), ("b", 0)]),
            r"got 0 at position 0 of Undecodable\.targets, but 1 by",
        ),
    ],
)
def test_labels_of_other_samples_are_refused(dataset, text):
    with pytest.raises(ValueError, match=text):
        labels_of(dataset)


def test_what_is_known_is_taken():
    base = Undecodable(targets=LABELS)
    assert labels_of(ForwardingSubset(base, [4, 2])).tolist() == [2, 1]
    assert labels_of(View(base, range(5))).tolist() == LABELS
    assert labels_of(Relabelled(base, [0, 1])).tolist() == [7, 7]
    assert labels_of(with_attribute(Subset(base, [1, 0]), targets=[0, 2])).tolist() == [0, 2]
    assert labels_of(with_attribute(Subset(TensorDataset(torch.zeros(3)), [1, 0]), targets=[0, 2])).tolist() == [0, 2]
    assert labels_of(Undecodable(targets=[0, 1], samples=[("a", 0), ("b", 1)])).tolist() == [0, 1]
    assert labels_of(Undecodable(targets=lambda: None, labels=LABELS)).tolist() == LABELS


class Ordered(Dataset):
    """As many samples as there are labels, maybe in an order of their own."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def __len__(self):
        return 5


class Oversampled(Filtered):
    def __init__(self, dataset, chosen):
        super().__init__(dataset, chosen)
        self.idx = chosen


def test_forwarded_labels_are_told_or_refused():
    base = Undecodable(targets=LABELS)
    with pytest.warns(
        UserWarning, match=r"from the data set that Filtered wraps, in its order \(\.targets is not its own\)"
    ):
        assert labels_of(Filtered(base, [4, 3, 2, 1, 0])).tolist() == LABELS
    with pytest.raises(ValueError, match=r"got 0 at position 1 of Oversampled\.targets, but 2 by its \.idx"):
        labels_of(Oversampled(base, [0, 0, 0, 1, 2]))
    assert labels_of(Oversampled(base, range(5))).tolist() == LABELS


@pytest.mark.parametrize("order", [[4, 3, 2, 1, 0], torch.tensor([0, 0, 0, 1, 2]), np.array([-1, 0, 1, 2, 3])])
@pytest.mark.parametrize("name", ["indices", "idx", "_indices", "perm"])
def test_an_order_next_to_own_labels_is_told(name, order):
    with pytest.warns(UserWarning, match=r"taken from Ordered\.targets as they are; if its samples come in the order"):
        assert labels_of(Ordered(targets=LABELS, **{name: order})).tolist() == LABELS


@pytest.mark.parametrize("order", [range(5), [4, 1, 3, 2, 0], [10, 11, 90, 3, 5], [0.5] * 5, [[0], 1, 2, 3, 4]])
def test_an_order_that_changes_no_label_is_silent(order):
    assert labels_of(Ordered(targets=LABELS, indices=order)).tolist() == LABELS


def test_targets_and_labels_that_differ_are_told():
    with pytest.warns(UserWarning, match=r"labels are taken from Undecodable\.targets; its \.labels are others; pass"):
        assert labels_of(Undecodable(targets=[0, 0, 1], labels=[0, 1, 1])).tolist() == [0, 0, 1]
    assert labels_of(Undecodable(targets=[0, 0, 1], labels=["a", "a", "b"])).tolist() == [0, 0, 1]
    assert labels_of(Undecodable(targets=[0, 0, 1], labels=["a", "b"])).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "pairs",
    [
        [("a", np.int64(1)), ("b", np.int64(0))],
        [["a", 1], ["b", 0]],
        [("a", 1.0), ("b", 0.0)],
        [("a", True), ("b", False)],
        (("a", torch.tensor(1)), ("b", torch.tensor(0))),
        np.array([["a", 1], ["b", 0]], object),
    ],
)
def test_changed_samples_are_refused(pairs):
    with pytest.raises(ValueError, match=r"got 0 at position 0 of Undecodable\.targets, but (1|1\.0|True) by its"):
        labels_of(Undecodable(targets=[0, 1], samples=pairs))
    assert labels_of(Undecodable(targets=[1, 0], samples=pairs)).tolist() == [1, 0]


# --- TensorDataset ----------------------------------------------------------------------------------------------------

X, Y, INDEX, WEIGHT = torch.zeros(4, 2), torch.tensor([0, 1, 1, 0]), torch.arange(4), torch.rand(4)


@pytest.mark.parametrize(
    "tensors", [(X, Y), (INDEX, Y), (X, INDEX, Y), (INDEX, X, Y), (X, WEIGHT, Y), (X, X, -1 - Y, Y)]
)
def test_the_last_tensor_holds_the_labels(tensors):
    assert labels_of(TensorDataset(*tensors)).tolist() == Y.tolist()


@pytest.mark.parametrize(
    ("tensors", "error", "text"),
    [
        (
            (X, Y, INDEX),
            ValueError,
            r"got 4 different numbers in TensorDataset\.tensors\[2\], as an index has; pass data",
        ),
        ((X, Y, INDEX.flip(0) * 3), ValueError, r"pass dataset\.tensors\[1\], if these are the labels"),
        (
            (X, Y, WEIGHT),
            TypeError,
            r"float32 in TensorDataset\.tensors\[2\]; pass dataset\.tensors\[1\], if these are",
        ),
        ((X, WEIGHT), TypeError, r"got dtype float32 in TensorDataset\.tensors\[1\]; convert them first"),
        ((X, Y, X), ValueError, r"got shape \(4, 2\) in TensorDataset\.tensors\[2\]; .*; pass dataset\.tensors\[1\]"),
        ((Y,), TypeError, "TensorDataset must have a tensor of labels after its data, got one tensor; pass the label"),
    ],
)
def test_a_last_tensor_of_something_else_is_refused(tensors, error, text):
    with pytest.raises(error, match=text):
        labels_of(TensorDataset(*tensors))


def test_another_tensor_that_may_hold_labels_is_told():
    with pytest.warns(
        UserWarning, match=r"taken from TensorDataset\.tensors\[2\], the last one; tensors\[1\] may hold"
    ):
        assert labels_of(TensorDataset(X, 1 - Y, Y)).tolist() == Y.tolist()
    assert labels_of(with_attribute(TensorDataset(X, Y, INDEX), targets=Y)).tolist() == Y.tolist()


def test_each_sample_its_own_class_is_told():
    for labels in (range(5), [*"abcde"], TensorDataset(torch.zeros(5), torch.arange(5))):
        with pytest.warns(
            UserWarning, match="got 5 samples of 5 classes: each sample is its own class, so that nothing"
        ):
            ClassBalancedSampler(labels)
    with pytest.warns(UserWarning, match="each sample is its own class"):
        MPerClassBatchSampler(np.array([3, 1, 5]), m=1, classes_per_batch=2)
    with pytest.warns(UserWarning, match="each sample is its own class"):
        repeat_factors(np.arange(3), 0.5)


# --- target_transform -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    for name in "abc":
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / f"{number}.png").write_bytes(b"not an image")
    return lambda **options: datasets.ImageFolder(tmp_path, **options)


def test_a_target_transform_is_applied(folder):
    one_against_rest = folder(target_transform=lambda label: int(label == 1))
    assert labels_of(one_against_rest).tolist() == [0, 0, 1, 1, 0, 0]
    assert labels_of(Subset(one_against_rest, [2, 0])).tolist() == [1, 0]
    assert labels_of(ConcatDataset([one_against_rest, folder()])).tolist() == [0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 2, 2]
    assert labels_of(folder(target_transform=[5, 3, 4].__getitem__)).tolist() == [5, 5, 3, 3, 4, 4]
    assert labels_of(folder(target_transform=torch.tensor)).tolist() == [0, 0, 1, 1, 2, 2]
    assert labels_of(folder(target_transform=lambda label: "abc"[label])).tolist() == [*"aabbcc"]
    assert ClassBalancedSampler(one_against_rest).class_counts.counts.tolist() == [4, 2]
    assert ClassCounts.from_dataset(one_against_rest) == ClassCounts([4, 2])


@pytest.mark.parametrize(
    ("transform", "error", "text"),
    [
        (
            lambda label: label == 1,
            TypeError,
            r"ImageFolder\.target_transform must return an integer or a string, got Fa",
        ),
        (lambda label: torch.eye(3)[label], TypeError, "must return an integer or a string, got tensor"),
        (
            lambda label: label / 2,
            TypeError,
            r"must return an integer or a string, got 0\.0 for 0; pass the label of each",
        ),
        ({0: 1}.__getitem__, ValueError, "must take a label, but for 1 it raised KeyError: 1"),
        (lambda label: label or "none", TypeError, r"all integers or all strings, got both: \['none', 1, 2\]"),
        (3, TypeError, r"ImageFolder\.target_transform must be a function, got 3"),
    ],
)
def test_a_target_transform_that_gives_no_labels_is_named(folder, transform, error, text):
    with pytest.raises(error, match=text):
        labels_of(folder(target_transform=transform))


def test_a_random_target_transform_is_refused(folder):
    numbers = iter(range(100))
    with pytest.raises(ValueError, match="must depend on the label alone, got 0 and then 1 for 0; pass the label"):
        labels_of(folder(target_transform=lambda _: next(numbers)))


def test_a_target_transform_of_another_data_set_is_applied_and_told():
    dataset = Undecodable(targets=LABELS, target_transform=lambda label: label % 2)
    with pytest.warns(
        UserWarning, match=r"labels are taken as Undecodable\.target_transform gives them; if __getitem__"
    ):
        assert labels_of(dataset).tolist() == [0, 0, 1, 1, 0]
    assert labels_of(Undecodable(targets=LABELS, target_transform=int)).tolist() == LABELS


class OneItem:
    """A ``__getitem__`` that relabels, and none for many at once."""

    def __getitem__(self, index):
        sample, label = super().__getitem__(index)
        return sample, self.target_transform(label)


class Items(OneItem):
    def __getitems__(self, indices):
        return [self[index] for index in indices]


class RelabellingSubset(Items, Subset):
    pass


class RelabellingConcatenation(OneItem, ConcatDataset):
    pass


class RelabellingTensors(OneItem, TensorDataset):
    pass


TENSORS = TensorDataset(torch.zeros(5), torch.tensor(LABELS))


@pytest.mark.parametrize(
    "dataset",
    [
        RelabellingSubset(TENSORS, range(5)),
        RelabellingSubset(Undecodable(targets=LABELS), range(5)),
        RelabellingConcatenation([TENSORS]),
        RelabellingTensors(*TENSORS.tensors),
    ],
)
def test_a_subclass_that_relabels_is_told(dataset):
    dataset.target_transform = lambda label: 2 - int(label)
    with pytest.warns(UserWarning, match=r"labels are taken as Relabelling\w+\.target_transform gives them"):
        assert labels_of(dataset).tolist() == [2 - label for label in LABELS]
    dataset.target_transform = None
    with pytest.warns(UserWarning, match=r"of the parts of this Relabelling\w+, whose own __getitem__ may give others"):
        assert labels_of(dataset).tolist() == LABELS


def test_parts_that_number_other_classes_are_told():
    one, two, longer = (Undecodable(targets=[0, 1], classes=names) for names in (["a", "b"], ["b", "a"], [*"abc"]))
    for parts in ([one, two], [Subset(one, [0]), Subset(two, [0])]):
        with pytest.warns(UserWarning, match=r"got \['a', 'b'\] in one and \['b', 'a'\] in another: equal numbers"):
            labels_of(ConcatDataset(parts))
    assert labels_of(ConcatDataset([one, longer])).tolist() == [0, 1, 0, 1]
    assert ClassCounts.from_dataset(ConcatDataset([one, longer])) == ClassCounts([2, 2, 0], names=[*"abc"])


def test_hints_work_when_followed():
    hot = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 0]])
    for labels in (hot, hot.float(), hot.bool(), hot.numpy(), hot.tolist()):
        with pytest.raises(ValueError, match=r"with rows = .* != 0, indptr = .*, indices = ") as error:
            labels_of(labels)
        found = {"np": np, "labels": labels}
        rows, indptr, indices = re.findall(r"(?<== )(.+?)(?=, ind|$)", str(error.value).partition("with ")[2])
        found["rows"] = eval(rows, found)
        sampler = MultilabelBalancedSampler(eval(indptr, found), eval(indices, found))
        assert sampler.class_counts.counts.tolist() == [2, 2, 1]
    for labels in ([torch.tensor([label]) for label in LABELS], torch.tensor(LABELS)[:, None], [[x] for x in LABELS]):
        with pytest.raises(ValueError, match=r"got shape \(5, 1\).*pass ") as error:
            labels_of(labels)
        assert labels_of(eval(str(error.value).partition("pass ")[2], {"labels": labels})).tolist() == LABELS
    for labels in (np.array([True, False]), torch.tensor([True, False]), [True, False], (True, False)):
        with pytest.raises(TypeError, match="got dtype bool; convert them first: pass ") as error:
            labels_of(labels)
        assert labels_of(eval(str(error.value).partition("pass ")[2], {"labels": labels})).tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"of one-hot rows pass np\.argmax\(labels, 1\)"):
        labels_of([[0, 1], [1, 0]])


def test_the_column_of_a_table_is_named():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"pass the column of the labels, as frame\['class'\]"):
        labels_of(pandas.DataFrame({"image": [*"vw"], "class": [0, 1]}))
    with pytest.raises(TypeError, match=r"pass labels\.astype\(int\)"):
        labels_of(pandas.Series([True, False]))
