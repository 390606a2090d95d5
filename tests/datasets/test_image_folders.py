"""A folder of class folders, beside torchvision's reading of it."""

import os
import re
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from lt_fast.datasets import image_folder
from lt_fast.errors import DataError


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_equals_torchvision(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        "dog/2.jpg", "dog/10.JPG", "dog/a/z.png", "dog/a-b/y.png", "dog/a/b/x.webp", "dog/notes.txt", "dog/a.jpg",
        "Cat/1.jpeg", "cat/1.tif", "zebra finch/my photo.bmp", "readme.md", "10/x.jpg", "9/x.jpg",
    )  # fmt: skip
    ours, theirs = image_folder(root), ImageFolder(root)
    assert list(ours.classes) == theirs.classes
    assert [str(ours.file(i)) for i in range(len(ours))] == [path for path, _ in theirs.samples]
    assert ours.labels.tolist() == theirs.targets
    assert ours.root == root


def test_passes_over_hidden_names(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.jpg", "a/._1.jpg", "a/.cache/2.jpg", ".ipynb_checkpoints/x.jpg", ".git/y.jpg")
    files = image_folder(root)
    assert (files.classes, list(files.paths)) == (("a",), ["a/1.jpg"])


def test_follows_links_but_not_in_circles(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", "a/1.jpg")
    other = tree(tmp_path / "other", "deep/2.jpg")
    (root / "b").symlink_to(other)
    (root / "a" / "again").symlink_to(root / "a")
    assert list(image_folder(root).paths) == ["a/1.jpg", "b/deep/2.jpg"]


def test_extensions_can_be_chosen(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.jpg", "a/2.npy")
    for extensions in ([".npy"], (".NPY",), ".npy"):
        assert list(image_folder(root, extensions=extensions).paths) == ["a/2.npy"]


def test_an_empty_class_keeps_its_number(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.jpg", "b/notes.txt", "c/1.jpg")
    with pytest.raises(DataError, match=r"/b holds no image \(\.jpg, .*\); remove the folder, or pass empty='ignore'"):
        image_folder(root)
    files = image_folder(root, empty="ignore")
    assert (files.classes, files.labels.tolist()) == (("a", "b", "c"), [0, 2])


def test_no_image_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="/a holds no image"):
        image_folder(tree(tmp_path, "a/notes.txt"), empty="ignore")


def test_no_class_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold one folder a class, got none; put the images into .*/<class>/"):
        image_folder(tree(tmp_path, "1.jpg"))


@pytest.mark.parametrize(("name", "reason"), [("nowhere", "No such file"), ("file", "Not a directory")])
def test_no_folder(tmp_path: Path, name: str, reason: str) -> None:
    tree(tmp_path, "file")
    with pytest.raises(DataError, match=f"{name} cannot be read as a folder: {reason}"):
        image_folder(tmp_path / name)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.jpg")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/caf\xe9.jpg")).touch()
    with pytest.raises(DataError, match=re.escape(r"paths must be UTF-8, got 'a/caf\udce9.jpg'")):
        image_folder(tmp_path)
