"""Listing photographs: the same ones as the readers, and a reason for everything else."""

import os
import re
import sys

import pytest
from tests.inspection.conftest import picture, tree

from lt_fast.datasets import image_folder
from lt_fast.errors import DataError, UsageError
from lt_fast.inspection import listing
from lt_fast.inspection.facts import look_at
from lt_fast.inspection.listing import listed


def test_equals_image_folder(tmp_path):
    root = tree(tmp_path, "b/2.jpg", "b/a/1.png", "b/a-b/1.png", "a/10.JPG", "a/9.jpg", "c d/x.heic")
    found, files = listed(root), image_folder(root)
    assert (found.paths, tuple(found.labels), found.classes) == (
        list(files.paths), tuple(files.labels.tolist()), files.classes,
    )  # fmt: skip
    assert found.passed_over == {}
    assert found.structure is None
    assert found.files() == [str(files.file(at)) for at in range(len(files))]


def test_everything_else_has_a_reason(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    root = tree(tmp_path, "a/1.jpg", "b/notes.txt", "a/.DS_Store", "__MACOSX/a/1.jpg", "loose.png", "readme.md",
                "a/phone.HEIC", "a/raw.cr2", "a/deep/Thumbs.db")  # fmt: skip
    (root / "a" / "photo").write_bytes(b"\xff\xd8\xff\xe0" + bytes(20))
    (root / "a" / "x").symlink_to(root / "a" / "y")
    (root / "a" / "y").symlink_to(root / "a" / "x")
    (root / "top").symlink_to(root / "top")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "deep" / "again").symlink_to(root / "a")
    (root / "a" / "gone.jpg").symlink_to(root / "nowhere")
    os.mkfifo(root / "a" / "pipe.jpg")
    strange = os.fsdecode(b"caf\xe9.jpg")
    (root / "a" / strange).touch()
    found = listed(root)
    assert (found.paths, found.classes) == (["a/1.jpg"], ("a", "b"))
    assert found.passed_over == {
        "b/notes.txt": listing.NO_IMAGE, "readme.md": listing.NO_IMAGE, "a/deep/Thumbs.db": listing.NO_IMAGE,
        "a/.DS_Store": listing.HIDDEN, "__MACOSX": listing.HIDDEN, "loose.png": listing.NO_CLASS,
        "a/phone.HEIC": listing.NEEDS_HEIF, "a/raw.cr2": listing.OTHER_FORMAT, "a/photo": listing.OTHER_FORMAT,
        "a/x": listing.CIRCLE, "a/y": listing.CIRCLE, "top": listing.CIRCLE, "a/up": listing.INSIDE,
        "a/deep/again": listing.INSIDE, "a/gone.jpg": listing.NOTHING, "a/pipe.jpg": "a pipe",
        f"a/{strange}": listing.NOT_UTF8,
    }  # fmt: skip


def test_closed_folders_are_named_and_the_others_read(common_user):
    root = tree(common_user / "photos", "a/1.jpg", "b/1.jpg", "a/deep/2.jpg")
    (root / "b").chmod(0)
    (root / "a" / "deep").chmod(0)
    try:
        found = listed(root)
    finally:
        (root / "b").chmod(0o700)
        (root / "a" / "deep").chmod(0o700)
    assert found.paths == ["a/1.jpg"]
    assert found.passed_over == {"b": listing.CLOSED, "a/deep": listing.CLOSED}


def test_a_closed_root_says_what_to_do(common_user):
    root = tree(common_user / "photos", "a/1.jpg")
    root.chmod(0)
    try:
        with pytest.raises(DataError, match=r"photos cannot be read as a folder: Permission denied; allow it: chmod"):
            listed(root)
    finally:
        root.chmod(0o700)


@pytest.mark.parametrize(("names", "message"), [
    ([], r"must hold one folder per class, got none; put the images into .*/<class>/"),
    (["1.jpg", "2.jpg"], r"got none; it holds 2 images in no folder: put the images into .*/<class>/"),
    (["a/notes.txt"], r"holds no image in its 1 class folders, but passed over 1 of which it says: no image"),
    (["a/1.cr2", "b/2.cr2"], r"no image in its 2 class folders, but passed over 2 .*: .*convert it to PNG or JPEG"),
    (["a/.hidden"], r"holds no image in its 1 class folders; put the images of each class into its folder"),
])  # fmt: skip
def test_a_folder_without_images_says_what_to_do(tmp_path, names, message):
    with pytest.raises(DataError, match=message):
        listed(tree(tmp_path, *names))


@pytest.mark.parametrize(("names", "words"), [
    (["train/a/1.jpg", "val/a/2.jpg"], r"called train, val, as the parts of a data set are; .* name .*/train and"),
    (["photos/a/1.jpg", "photos/b/1.jpg"], r"photos is the only class, .* 2 folders \(a, \.\.\.\); .* name"),
    (["2023/a/1.jpg", "2023/b/1.jpg", "2024/a/1.jpg", "2024/b/2.jpg"], r"2023, 2024 hold folders of the same names"),
    (["oak/leaf/1.jpg", "oak/bark/1.jpg", "elm/1.jpg"], None),
    (["oak/tree1/1.jpg", "elm/tree2/1.jpg"], None),
    (["oak/deep/1.jpg"], None),
])  # fmt: skip
def test_folders_of_folders_are_pointed_out(tmp_path, names, words):
    found = listed(tree(tmp_path, *names)).structure
    if words is None:
        assert found is None
    else:
        assert re.search(words, found.words), found
        assert found.inner == tmp_path / names[0].partition("/")[0]


def test_lists_tables_and_json(tmp_path):
    (tmp_path / "l.txt").write_text("a/1.jpg 0\nb/gone.jpg 2\n")
    (tmp_path / "t.csv").write_text("path;label\na/1.jpg;oak\n")
    (tmp_path / "t.tsv").write_text("path\tlabel\na/1.jpg\toak\n")
    (tmp_path / "j.json").write_text(
        '{"images": [{"id": 1, "file_name": "a/1.jpg"}], "annotations": [{"image_id": 1, "category_id": 4}], '
        '"categories": [{"id": 4, "name": "oak"}, {"id": 5, "name": "elm"}]}'
    )
    found = listed(tmp_path / "l.txt")
    assert (found.root, found.paths, found.labels, found.classes) == (
        tmp_path, ["a/1.jpg", "b/gone.jpg"], [0, 2], ("0", "1", "2"),
    )  # fmt: skip
    assert listed(tmp_path / "t.csv", tmp_path / "x", delimiter=";").files() == [str(tmp_path / "x/a/1.jpg")]
    assert listed(tmp_path / "t.tsv").classes == ("oak",)
    assert listed(tmp_path / "j.json").classes == ("oak", "elm")


@pytest.mark.parametrize(("name", "error", "message"), [
    ("gone", DataError, "gone cannot be read: No such file or directory; name a folder"),
    ("gone.csv", DataError, r"gone\.csv cannot be read: No such file"),
    ("x.zip", UsageError, r"data must be a folder, LIST\.txt, TABLE\.csv or FILE\.json, got the file"),
    ("loop", DataError, "loop cannot be read: Too many levels of symbolic links"),
])  # fmt: skip
def test_other_names(tmp_path, name, error, message):
    (tmp_path / "x.zip").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(error, match=message):
        listed(tmp_path / name)


def test_twenty_thousand_classes(tmp_path):
    for at in range(20_000):
        (tmp_path / f"{at:05d}").mkdir()
    (tmp_path / "00007" / "x.jpg").touch()
    found = listed(tmp_path)
    assert (len(found.classes), found.paths, found.labels) == (20_000, ["00007/x.jpg"], [7])


def test_a_data_set_of_the_datasets_library(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["oak", "elm"])})
    rows = {"image": [picture(0), picture(1), picture(2)], "label": [1, 0, 1]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    found = listed(f"hf:{tmp_path / 'saved'}")
    assert sorted(found.classes[label] for label in found.labels) == ["elm", "elm", "oak"]
    assert all(look_at(file).problem is None for file in found.files())
