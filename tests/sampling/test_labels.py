"""``labels_of`` finds labels wherever they are, and never decodes a sample."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, RandomSampler, Subset, TensorDataset

from lt_fast.sampling import labels_of

LABELS = [2, 0, 1, 1, 2]


class Undecodable(Dataset):
    """A data set whose samples must not be touched."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def __getitem__(self, index):
        raise AssertionError(f"sample {index} was decoded")

    def __len__(self):
        return len(LABELS)


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
    with pytest.raises(TypeError, match=r"labels must be whole numbers or strings, got dtype (float64|object)"):
        labels_of(pandas.Series([1, None], index=index[:2], dtype="Int64"))


@pytest.mark.parametrize(
    ("labels", "error", "text"),
    [
        ([0.0, 1.0], TypeError, "labels must be whole numbers or strings, got dtype float64; convert them first"),
        (torch.ones(3), TypeError, "labels must be whole numbers or strings, got dtype float32"),
        ([True, False], TypeError, "got dtype bool"),
        ([None, 1], TypeError, "got dtype object"),
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
        (["cat", 1], TypeError, "labels must be all whole numbers or all strings, got 1 among strings"),
        (
            ConcatDataset([Undecodable(targets=LABELS), Undecodable(targets=[*"catca"])]),
            TypeError,
            "whole numbers or strings in every part of a ConcatDataset, got both",
        ),
        (Subset(Undecodable(targets=LABELS), [0, 5]), ValueError, r"Subset\.indices must be < 5, .* got 5 at 1"),
        (Subset(Undecodable(targets=LABELS), [0.5, 1]), TypeError, r"Subset\.indices must be whole numbers, got dtype"),
        (Subset(Undecodable(targets=LABELS), np.array(LABELS) > 1), TypeError, "whole numbers, got dtype bool"),
        (RandomSampler([1, 2]), TypeError, r"got a torch RandomSampler; .*use_distributed_sampler=False"),
    ],
)
def test_refused(labels, error, text):
    with pytest.raises(error, match=text):
        labels_of(labels)
