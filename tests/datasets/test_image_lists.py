"""Text lists as ImageNet-LT and Places-LT publish them."""

import hashlib
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast.datasets import image_list, read_image, write_image_list
from lt_fast.errors import DataError

# Lines of Places_LT_train.txt and ImageNet_LT_train.txt as published, and paths as people have them.
EXCERPT = """\
train/airfield/00004851.jpg 0
train/airfield/00004596.jpg 0
train/n01440764/n01440764_190.JPEG 1
my photos/holiday 2019/img 1.jpg 2
"""
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"), min_size=1, max_size=12).filter(
    lambda name: name[-1] not in " \t\r\f" and name[0] != "\ufeff"
)


def listed(folder: Path, content: str | bytes) -> Path:
    path = folder / "list.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_reads_an_excerpt(tmp_path: Path) -> None:
    files = image_list(listed(tmp_path, EXCERPT), tmp_path, verify=False)
    assert (list(files.paths), files.labels.tolist()) == reference.image_list(EXCERPT)
    assert files.class_counts.counts.tolist() == [2, 1, 1]
    assert files.classes == ("0", "1", "2")
    assert files.file(3) == tmp_path / "my photos/holiday 2019/img 1.jpg"


@pytest.mark.parametrize(
    "content",
    [
        EXCERPT.removesuffix("\n"),
        EXCERPT + "\n \n",
        EXCERPT.replace("\n", "\r\n"),
        EXCERPT.replace("jpg ", "jpg\t"),
        EXCERPT.replace("jpg ", "jpg   "),
        "\ufeff" + EXCERPT,
        EXCERPT.replace(" 0\n", " 00\n"),
    ],
)
def test_small_differences_of_editors_change_nothing(tmp_path: Path, content: str) -> None:
    plain = image_list(listed(tmp_path, EXCERPT), verify=False)
    assert image_list(listed(tmp_path, content), verify=False).fingerprint == plain.fingerprint


@given(st.lists(st.tuples(NAMES, st.integers(0, 9)), min_size=1, max_size=9, unique_by=lambda image: image[0]))
def test_reads_what_it_wrote(tmp_path_factory: pytest.TempPathFactory, images: list[tuple[str, int]]) -> None:
    path = tmp_path_factory.mktemp("lists") / "list.txt"
    names, labels = zip(*images, strict=True)
    write_image_list(path, names, labels)
    files = image_list(path, verify=False, empty="ignore")
    assert (tuple(files.paths), tuple(files.labels.tolist())) == (names, labels)
    assert path.read_bytes().count(b"\n") == len(images)


def test_a_million_lines(tmp_path: Path) -> None:
    labels = np.arange(1_000_000) % 1000
    paths = [f"train/n{label:08d}/n{label:08d}_{i}.JPEG" for i, label in enumerate(labels.tolist())]
    write_image_list(tmp_path / "list.txt", paths, labels)
    files = image_list(tmp_path / "list.txt", verify=False)
    assert files.paths[999_999] == paths[-1]
    assert np.array_equal(files.labels, labels)


def test_fingerprint_can_be_computed_anywhere(tmp_path: Path) -> None:
    files = image_list(listed(tmp_path, "a.jpg 0\nb c.jpg 1\n"), verify=False)
    paths = hashlib.sha256(struct.pack("<2q", 5, 12) + b"a.jpgb c.jpg").digest()
    assert files.fingerprint == hashlib.sha256(struct.pack("<2q", 0, 1) + paths).hexdigest()


def test_names_and_empty_classes(tmp_path: Path) -> None:
    path = listed(tmp_path, "a 0\nb 2\n")
    files = image_list(path, names=("cat", "dog", "emu", "fox"), empty="ignore", verify=False)
    assert files.classes == ("cat", "dog", "emu", "fox")
    assert files.class_counts.counts.tolist() == [1, 0, 1, 0]


def test_looks_for_every_image(tmp_path: Path) -> None:
    (tmp_path / "a b.jpg").touch()
    path = listed(tmp_path, "a b.jpg 0\nc.jpg 0\nd.jpg 0\n")
    message = r"list\.txt: line 2: image .*c\.jpg is missing \(2 of 3 are\); check root, or pass verify=False"
    with pytest.raises(DataError, match=message):
        image_list(path, tmp_path)
    (tmp_path / "c.jpg").touch()
    (tmp_path / "d.jpg").mkdir()  # a folder is no image
    with pytest.raises(DataError, match=r"line 3: image .*d\.jpg is missing \(1 of 3 are\)"):
        image_list(path, tmp_path)
    (tmp_path / "d.jpg").rmdir()
    (tmp_path / "d.jpg").touch()
    assert len(image_list(path, tmp_path)) == 3
    absolute = listed(tmp_path, f"{tmp_path}/a b.jpg 0\n")
    assert image_list(absolute, "elsewhere").file(0) == tmp_path / "a b.jpg"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: expected 'path label', got an empty list"),
        ("a 0\n\nb 0\n", "line 2: expected 'path label', got a blank line"),
        ("a 0\nb.jpg\n", "line 2: expected 'path label', got 'b.jpg'"),
        (
            "a 0\nb.jpg x\n",
            "line 2: expected a label, an integer in [0, 2**24), at the end of the line, got 'b.jpg x'",
        ),
        ("a 0\nb.jpg -1\n", "line 2: expected a label, an integer"),
        ("a 0\nb.jpg 1.0\n", "line 2: expected a label, an integer"),
        ("a 0\nb.jpg 16777216\n", "line 2: expected a label, an integer"),
        (b"a 0\n\xe9.jpg 0\n", "line 2: expected a path in UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "line 1: "),
        ("a 0\nb 2\n", "labels must hold every class from 0 to 2, got no image of class 1; number the classes 0..C-1"),
        ("a 1\nb 4\n", "got no image of class 0 and of 2 more; number the classes 0..C-1, or pass empty='ignore'"),
        ("a 9999\n", "labels must number the classes 0..C-1, got a largest label of 9999 for 1 images"),
    ],
)
def test_bad_lists_are_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=re.escape("list.txt: ") + ".*" + re.escape(message)):
        image_list(listed(tmp_path, content), verify=False)


@given(st.binary(max_size=40) | st.text(alphabet="a /\t\r\n019.", max_size=40).map(str.encode))
def test_any_content_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = listed(tmp_path_factory.mktemp("lists"), content)
    try:
        files = image_list(path, verify=False, empty="ignore")
    except DataError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017  (either way is right)
    else:
        assert len(files) == files.class_counts.total > 0


def test_bad_arguments(tmp_path: Path) -> None:
    path = listed(tmp_path, "a 0\nb 1\n")
    with pytest.raises(DataError, match=r"line 2: labels must lie in \[0, 1\) of names, got 1"):
        image_list(path, names=["cat"], verify=False)
    with pytest.raises(ValueError, match="names must be distinct, got 'cat' twice"):
        image_list(path, names=["cat", "cat"], verify=False)
    with pytest.raises(ValueError, match="empty must be one of error, ignore, got 'skip'"):
        image_list(path, empty="skip", verify=False)
    with pytest.raises(DataError, match=r"nowhere\.txt cannot be read: No such file"):
        image_list(tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match=r"cannot be read: Is a directory"):
        image_list(tmp_path)


@pytest.mark.parametrize("name", ["", "a\nb", "a\0b", "a ", "a\t", "a\r", "\ufeffa"])
def test_refuses_to_write_what_would_not_be_read_back(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="paths must not be empty, end in a blank, or hold a line feed"):
        write_image_list(tmp_path / "list.txt", ["x", name], [0, 0])
    assert list(tmp_path.iterdir()) == []


def test_refuses_to_write_another_encoding(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"paths must be UTF-8 text, got 'caf\\udce9\.jpg'; rename the file"):
        write_image_list(tmp_path / "list.txt", ["x", b"caf\xe9.jpg".decode(errors="surrogateescape")], [0, 0])
    with pytest.raises(DataError, match=r"nowhere.list\.txt cannot be written \(No such file or directory\); choose"):
        write_image_list(tmp_path / "nowhere" / "list.txt", ["x"], [0])
    assert list(tmp_path.iterdir()) == []


def test_writing_refuses_bad_labels(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 2\*\*24\), got -1 at position 1"):
        write_image_list(tmp_path / "list.txt", ["x", "y"], [0, -1])
    with pytest.raises(ValueError, match="must have the same length, at least 1, got 2 and 1"):
        write_image_list(tmp_path / "list.txt", ["x", "y"], [0])
    with pytest.raises(ValueError, match="must have the same length, at least 1, got 0 and 0"):
        write_image_list(tmp_path / "list.txt", [], [])
    with pytest.raises(TypeError, match="labels must be integers"):
        write_image_list(tmp_path / "list.txt", ["x"], [0.5])


def test_writing_refuses_what_is_no_list_of_paths(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"paths must be one string an image, got 'a\.jpg'; pass a list of str"):
        write_image_list(tmp_path / "list.txt", "a.jpg", [0] * 5)
    with pytest.raises(TypeError, match=r"paths must be one string an image, got b'a\.jpg'"):
        write_image_list(tmp_path / "list.txt", [b"a.jpg"], [0])


def test_where_no_list_can_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"file.list\.txt cannot be written \(Not a directory\); choose another folder"):
        write_image_list(tmp_path / "file" / "list.txt", ["x"], [0])
    with pytest.raises(DataError, match=r"n cannot be written \(File name too long\); choose another folder"):
        write_image_list(tmp_path / ("n" * 300), ["x"], [0])


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "list.txt").mkdir()
    with pytest.raises(DataError, match=r"list\.txt cannot be written \(Is a directory\); choose another folder"):
        write_image_list(tmp_path / "list.txt", ["x"], [0])
    assert [path.name for path in tmp_path.iterdir()] == ["list.txt"]


def test_a_test_list_keeps_the_numbers_of_training(tmp_path: Path) -> None:
    train = image_list(listed(tmp_path, "a 0\nb 1\nc 2\n"), verify=False)
    named = image_list(listed(tmp_path, "a 0\nb 1\nc 2\n"), names=("ant", "bee", "cow"), verify=False)
    path = listed(tmp_path, "d 1\ne 1\n")
    for classes in (train, train.classes, named, named.classes):
        test = image_list(path, classes=classes, verify=False)
        assert (test.labels.tolist(), test.class_counts.counts.tolist()) == ([1, 1], [0, 2, 0])
    assert test.classes == ("ant", "bee", "cow")
    with pytest.raises(DataError, match=r"got no image of class 0 \(ant\) and of 1 more"):
        image_list(path, classes=named, empty="error", verify=False)
    with pytest.raises(
        DataError, match=r"line 2: labels must lie in \[0, 3\) of classes, got 3; where the labels start"
    ):
        image_list(listed(tmp_path, "d 1\ne 3\n"), classes=named, verify=False)
    with pytest.raises(ValueError, match="classes and names exclude each other; pass names for the set that decides"):
        image_list(path, classes=named, names=named.classes, verify=False)


def test_classes_called_by_other_numbers_are_warned_of(tmp_path: Path) -> None:
    path = listed(tmp_path, "d 1\ne 0\n")
    with pytest.warns(
        UserWarning, match=r"labels are positions: label 0 is class '1'; .* pass them as names, with empty"
    ):
        image_list(path, classes=["1", "10", "2"], verify=False)
    assert image_list(path, names=["1", "10", "2"], empty="ignore", verify=False).labels.tolist() == [1, 0]


def test_an_image_with_two_labels_is_warned_of(tmp_path: Path) -> None:
    path = listed(tmp_path, "a 0\nb 1\na 1\nb 1\n")
    with pytest.warns(
        UserWarning, match=r"list\.txt: image 'a' has label 0 at line 1 and 1 at line 3; keep the right one"
    ):
        assert len(image_list(path, verify=False)) == 4


def test_labels_that_start_at_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got no image of class 0; where the labels start at 1, subtract 1; number"):
        image_list(listed(tmp_path, "a 1\nb 2\n"), verify=False)


ELSEWHERE = [
    ("sub\\b c.jpg", "'sub/b c.jpg' is there: write the path with / in place of \\, or rename the file"),
    ("sub/B C.JPG", "'sub/b c.jpg' is there: write the path in other case"),
    ("SUB\\b c.jpg", "'sub/b c.jpg' is there: write the path with / in place of \\ and in other case"),
    ("sub/b c", "'sub/b c.jpg' is there: write the path with its ending"),
    ("sub/b%20c.jpg", "'sub/b c.jpg' is there: write the path without percent signs"),
    ("caf\u00e9/1.jpg", "'cafe\u0301/1.jpg' is there: write the path with accents in the Unicode form NFD"),
    ("the\u0301/1.jpg", "'th\u00e9/1.jpg' is there: write the path with accents in the Unicode form NFC"),
    ("caf\u00e9\\1.jpg", "with / in place of \\ and with accents in the Unicode form NFD"),
]


@pytest.mark.parametrize(("name", "message"), ELSEWHERE)
def test_a_file_in_another_spelling_is_named(tmp_path: Path, name: str, message: str) -> None:
    for there in ("sub/b c.jpg", "cafe\u0301/1.jpg", "th\u00e9/1.jpg"):
        (tmp_path / there).parent.mkdir(exist_ok=True)
        (tmp_path / there).touch()
    with pytest.raises(
        DataError, match=r"line 1: image .* is missing \(1 of 1 are\); " + ".*" + re.escape(message)
    ) as caught:
        image_list(listed(tmp_path, f"{name} 0\n"), tmp_path)
    with pytest.raises(DataError, match=r"is missing; .* is there \("):
        image_list(listed(tmp_path, f"{name} 0\n"), tmp_path, verify=False)[0]
    with pytest.raises(DataError, match=r"is missing; .* is there \("):
        read_image(tmp_path / name)
    spelt = str(caught.value).partition("are); '")[2].partition("' is there")[0]
    assert len(image_list(listed(tmp_path, f"{spelt} 0\n"), tmp_path)) == 1  # the advice, followed


def test_a_file_under_another_root_is_named(tmp_path: Path) -> None:
    (tmp_path / "photos" / "train").mkdir(parents=True)
    (tmp_path / "photos" / "train" / "a.jpg").touch()
    path = listed(tmp_path, "photos/train/a.jpg 0\n")
    for root in ("nowhere", tmp_path / "photos"):
        with pytest.raises(DataError, match="it is there under another root: pass root='") as caught:
            image_list(path, root)
        assert len(image_list(path, str(caught.value).partition("root='")[2][:-1])) == 1  # the advice, followed


def test_two_files_that_resemble_it_are_no_advice(tmp_path: Path) -> None:
    for name in ("a.jpg", "A.jpg", "b.jpg", "b.png"):
        (tmp_path / name).touch()
    for name in ("A.JPG", "b", "nothing/x.jpg"):
        with pytest.raises(DataError, match=r"is missing \(1 of 1 are\); check root, or pass verify=False$"):
            image_list(listed(tmp_path, f"{name} 0\n"), tmp_path)
