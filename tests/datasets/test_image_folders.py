"""A folder of class folders, beside torchvision's reading of it."""

import os
import re
import sys
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from lt_fast.datasets import csv_table, image_folder, image_list, inaturalist
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
    with pytest.warns(UserWarning, match="the classes 'Cat' and 'cat' differ only in case, blanks or Unicode form"):
        ours = image_folder(root)
    theirs = ImageFolder(root)
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


def test_links_in_a_circle_and_to_the_root_are_left_alone(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.jpg", "b/1.jpg")
    (root / "a" / "up").symlink_to(root)  # else a would hold b's images, too
    (root / "a" / "x").symlink_to(root / "a" / "y")
    (root / "a" / "y").symlink_to(root / "a" / "x")
    (root / "c").symlink_to(root / "d")
    (root / "d").symlink_to(root / "c")
    assert list(image_folder(root).paths) == ["a/1.jpg", "b/1.jpg"]


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
    with pytest.raises(DataError, match=r"must hold one folder per class, got none; put the images into .*/<class>/"):
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


def test_the_test_folder_keeps_the_numbers_of_training(tmp_path: Path) -> None:
    train = image_folder(tree(tmp_path / "train", "a/1.jpg", "b/1.jpg", "c/1.jpg"))
    root = tree(tmp_path / "val", "b/2.jpg", "c/2.jpg", "c/1.jpg")
    for classes in (train.classes, list(train.classes), train, ImageFolder(train.root)):
        val = image_folder(root, classes=classes)
        assert (val.classes, val.labels.tolist()) == (("a", "b", "c"), [1, 2, 2])
        assert val.class_counts.counts.tolist() == [0, 1, 2]
    other = image_folder(root, classes=["c", "b"])
    assert (list(other.paths), other.labels.tolist()) == (["b/2.jpg", "c/1.jpg", "c/2.jpg"], [1, 0, 0])
    with pytest.raises(
        DataError, match=r"/val: labels must hold every class from 0 to 2, got no image of class 0 \(a\)"
    ):
        image_folder(root, classes=train, empty="error")


def test_an_empty_folder_of_a_known_class(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/notes.txt", "b/1.jpg")
    assert image_folder(root, classes=["a", "b"]).labels.tolist() == [1]
    with pytest.raises(DataError, match="/a holds no image"):
        image_folder(root, classes=["a", "b"], empty="error")
    with pytest.raises(DataError, match="/a holds no image"):
        image_folder(tree(tmp_path / "other", "a/notes.txt"), classes=["a", "b"])


def test_a_folder_that_is_no_class_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path, "cats/1.jpg", "dog/1.jpg", "emu/1.jpg")
    message = (
        r"/cats: the folder's name must be one of classes, got 'cats'; did you mean 'cat'\? \(2: cat, dog\); so are 1"
    )
    with pytest.raises(DataError, match=message):
        image_folder(root, classes=["cat", "dog"])
    with pytest.raises(DataError, match=r"/Cat: .* got 'Cat'; did you mean 'cat'"):
        image_folder(tree(tmp_path / "upper", "Cat/1.jpg"), classes=["cat"])


def test_accents_match_in_either_form(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    root = tree(tmp_path / "one", f"{decomposed}/1.jpg")
    assert image_folder(root).classes == (decomposed,)  # as torchvision
    files = image_folder(root, classes=["a", composed])
    assert (files.labels.tolist(), files.classes, files.file(0).exists()) == ([1], ("a", composed), True)
    both = tree(tmp_path / "two", f"{decomposed}/1.jpg", f"{composed}/1.jpg")
    with pytest.warns(UserWarning, match=r"the classes 'cafe\\u0301' and 'caf\\xe9' differ only in"):
        assert len(image_folder(both).classes) == 2
    with pytest.raises(DataError, match=r"must have one folder, got 'cafe\\u0301' and 'caf\\xe9'; move the images"):
        image_folder(both, classes=[composed])
    assert image_folder(both, classes=[composed, decomposed]).labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("classes", "error", "message"),
    [
        (
            "ab",
            TypeError,
            "classes must be a sequence of names in the order of their numbers or a data set .* got 'ab'",
        ),
        ({"a": 1, "b": 0}, TypeError, r"got a dict; pass sorted\(classes, key=classes\.get\)"),
        ({"a", "b"}, TypeError, "classes must be a sequence of names .* got a set"),
        (2, TypeError, "classes must be a sequence of names .* got a int"),
        ([0, 1], TypeError, r"classes must be strings, got 0; pass \[str\(name\) for name in classes\]"),
        (["a", "a"], ValueError, "classes must be distinct, got 'a' twice"),
        ([], ValueError, "classes must hold at least one name, got none"),
    ],
)
def test_classes_must_be_names(tmp_path: Path, classes: object, error: type[Exception], message: str) -> None:
    root = tree(tmp_path, "a/1.jpg", "b/1.jpg")
    with pytest.raises(error, match=message):
        image_folder(root, classes=classes)
    for reader in (image_list, csv_table, inaturalist):
        with pytest.raises(error, match=message):
            reader(tmp_path / "not read", classes=classes)


def test_what_systems_leave_behind_is_no_class(tmp_path: Path) -> None:
    names = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found", ".ipynb_checkpoints", "__pycache__", ".DS_Store")
    root = tree(tmp_path, "a/1.jpg", *(f"{name}/a.jpg" for name in names), *(f"a/{name}/a.jpg" for name in names))
    files = image_folder(tree(root, "a/Thumbs.db", "a/desktop.ini", "Thumbs.db"))
    assert (files.classes, list(files.paths)) == (("a",), ["a/1.jpg"])


def test_every_ending_that_pillow_decodes(tmp_path: Path) -> None:
    root = tree(tmp_path, *(f"a/1.{ending}" for ending in ("jpg", "jfif", "JPE", "gif", "avif", "jp2", "png", "tga")))
    assert len(image_folder(root)) == 8
    assert list(image_folder(root, extensions=IMG_EXTENSIONS).paths) == ["a/1.jpg", "a/1.png"]


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


def test_heic_counts_where_it_can_be_read(tmp_path: Path) -> None:
    assert list(image_folder(tree(tmp_path, "a/1.HEIC", "a/2.heif")).paths) == ["a/1.HEIC", "a/2.heif"]


@pytest.mark.usefixtures("without_heif")
def test_images_that_are_passed_over_are_warned_of(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.jpg", "a/2.heic", "a/3.CR2", "b/1.jpg", "b/4.heic", "b/notes.txt", "b/1.json")
    jpeg = b"\xff\xd8\xff\xe0" + bytes(20)
    for name in ("a/photo", "b/5.jpg~", "b/6.jpg~"):
        (root / name).write_bytes(jpeg)
    kinds = r"2 \.heic, 1 \.cr2, 1 without ending, 2 \.jpg~; first 'a/2\.heic'"
    heif = r"HEIC needs pillow-heif: pip install 'lt-fast\[photos\]'; convert the others to PNG or JPEG"
    message = rf"passed over 6 files that look like images \({kinds}\); {heif}"
    with pytest.warns(UserWarning, match=message):
        files = image_folder(root)
    assert list(files.paths) == ["a/1.jpg", "b/1.jpg"]
    assert len(image_folder(root, extensions=".jpg")) == 2  # chosen: no warning


@pytest.mark.usefixtures("without_heif")
@pytest.mark.parametrize(("ending", "advice"), [("heic", r"pip install 'lt-fast\[photos\]'; rem"), ("cr2", "convert")])
def test_a_class_of_unread_images_says_so(tmp_path: Path, ending: str, advice: str) -> None:
    with pytest.raises(
        DataError, match=rf"/a holds no image .*, but 1 file that looks like images \(1 \.{ending}; .*{advice}"
    ):
        image_folder(tree(tmp_path, f"a/1.{ending}", "b/1.jpg"))


def test_images_in_no_class_folder_are_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"passed over 2 images in no class folder \(first '1\.jpg'\); move them into"):
        assert len(image_folder(tree(tmp_path, "a/1.jpg", "1.jpg", "2.png", "readme.md"))) == 1


def test_splits_and_wrappings_are_warned_of(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", "train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg")
    with pytest.warns(
        UserWarning, match=r"the class folders are called train, val, .* name .*photos/train and the others"
    ):
        assert image_folder(root).classes == ("train", "val")
    assert image_folder(root / "train").classes == ("cat", "dog")
    with pytest.warns(UserWarning, match=r"photos is the only class, .* 2 folders \(train, \.\.\.\)"):
        image_folder(tmp_path)
    assert image_folder(root, classes=("train", "val")).labels.tolist() == [0, 0, 1]  # as said: no warning


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.jpg")
    (root / "a" / "2.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match=r"a/2\.jpg is no file, or a link to nothing; remove it, or mend the link"):
        image_folder(root)
    (root / "a" / "2.jpg").unlink()
    os.mkfifo(root / "a" / "pipe")  # never opened: nobody writes
    assert len(image_folder(root)) == 1
