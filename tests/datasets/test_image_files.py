"""``ImageFiles``: real files, decoded when asked for; damaged ones by name."""

import multiprocessing
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lt_fast import ClassCounts
from lt_fast.datasets import ImageFiles, Paths, read_image
from lt_fast.errors import DataError, MissingExtraError
from lt_fast.sampling import labels_of

COLOURS = {"a b/red.png": (255, 0, 0), "green.bmp": (0, 255, 0), "blue.png": (0, 0, 255)}


def as_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image))


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    for name, colour in COLOURS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (3, 2), colour).save(tmp_path / name)
    return ImageFiles(Paths(COLOURS), np.array([0, 2, 2]), ("x", "y", "z"), tmp_path)


def test_decodes_what_the_path_names(files: ImageFiles) -> None:
    for i, colour in enumerate(COLOURS.values()):
        image, label = files[i]
        assert (image.mode, image.size, image.getpixel((2, 1)), label) == ("RGB", (3, 2), colour, [0, 2, 2][i])
        assert type(label) is int


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    for mode in ("L", "1", "P", "RGBA", "LA", "CMYK", "I;16"):
        name = tmp_path / f"{mode.replace(';', '')}.tif"
        Image.new(mode, (2, 2)).save(name)
        assert read_image(name).mode == "RGB"


def test_is_a_data_set_of_torch(files: ImageFiles) -> None:
    shown = ImageFiles(files.paths, files.labels, files.classes, files.root, as_tensor)
    x, y = next(iter(DataLoader(shown, batch_size=3)))
    assert x.shape == (3, 2, 3, 3)
    assert x[:, 0, 0].tolist() == [list(colour) for colour in COLOURS.values()]
    assert y.tolist() == [0, 2, 2]


def test_workers_read_it(files: ImageFiles) -> None:
    shown = ImageFiles(files.paths, files.labels, files.classes, files.root, as_tensor)
    loader = DataLoader(shown, batch_size=2, num_workers=1, multiprocessing_context=multiprocessing.get_context("fork"))
    assert torch.cat([y for _, y in loader]).tolist() == [0, 2, 2]


def test_counts_and_labels_without_decoding(tmp_path: Path) -> None:
    files = ImageFiles(Paths(["nowhere"] * 4), [1, 0, 1, 1], ("x", "y"), tmp_path)
    assert files.class_counts == ClassCounts([1, 3], names=["x", "y"])
    assert ClassCounts.from_dataset(files) == files.class_counts
    assert labels_of(files).tolist() == [1, 0, 1, 1]
    assert files.missing().tolist() == [0, 1, 2, 3]


def test_fingerprint_is_of_labels_and_paths_alone(files: ImageFiles) -> None:
    moved = ImageFiles(list(COLOURS), files.labels, ("other", "names", "here"), Path("elsewhere"))
    assert moved.fingerprint == files.fingerprint
    assert files.subset([0, 1, 2]).fingerprint == files.fingerprint
    assert files.subset([1, 0, 2]).fingerprint != files.fingerprint
    assert ImageFiles(files.paths, [0, 2, 1], files.classes).fingerprint != files.fingerprint


def test_subset_keeps_classes_and_order(files: ImageFiles) -> None:
    part = files.subset([2, 0])
    assert list(part.paths) == ["blue.png", "a b/red.png"]
    assert part.class_counts.counts.tolist() == [1, 0, 1]
    assert part[0][0].getpixel((0, 0)) == (0, 0, 255)


def test_pickles(files: ImageFiles) -> None:
    again = pickle.loads(pickle.dumps(files))
    assert again.fingerprint == files.fingerprint
    assert again[1][0].getpixel((0, 0)) == (0, 255, 0)


def test_missing_file_is_named(files: ImageFiles) -> None:
    (files.root / "green.bmp").unlink()
    with pytest.raises(DataError, match=r"image .*green\.bmp is missing"):
        files[1]
    assert files.missing().tolist() == [1]


def test_without_pillow_the_extra_is_named(files: ImageFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r"reading images needs pillow, .*: pip install 'lt-fast\[train\]'"):
        files[0]


@pytest.mark.parametrize("damage", [b"", b"no picture", "truncated"])
def test_damaged_file_is_named(files: ImageFiles, damage: bytes | str) -> None:
    target = files.root / "blue.png"
    target.write_bytes(target.read_bytes()[:45] if damage == "truncated" else damage)
    with pytest.raises(DataError, match=r"image .*blue\.png cannot be read \(\w+: .*\); replace it, or take it out"):
        files[2]


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"labels must have one entry a path \(1\), got 2"):
        ImageFiles(Paths(["a"]), [0, 0], ("x",))
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 1\), got 1 at position 0"):
        ImageFiles(Paths(["a"]), [1], ("x",))
    with pytest.raises(TypeError, match="labels must be integers, got dtype float64"):
        ImageFiles(Paths(["a"]), [0.5], ("x",))
