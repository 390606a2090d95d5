"""CSV tables of images and labels, as spreadsheets and pandas write them."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_fast.datasets import csv_table
from lt_fast.errors import DataError

EXCERPT = """\
path,label,weight
"birds, small/1.jpg",wren,0.5
2.jpg,auk,1

3.jpg,wren,2
"""


def table(folder: Path, content: str | bytes) -> Path:
    path = folder / "train.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_words_are_numbered_in_sorted_order(tmp_path: Path) -> None:
    files = csv_table(table(tmp_path, EXCERPT), "photos", verify=False)
    assert list(files.paths) == ["birds, small/1.jpg", "2.jpg", "3.jpg"]
    assert (files.classes, files.labels.tolist()) == (("auk", "wren"), [1, 0, 1])
    assert files.class_counts.counts.tolist() == [1, 2]


def test_names_give_the_order(tmp_path: Path) -> None:
    files = csv_table(table(tmp_path, EXCERPT), names=["wren", "auk"], verify=False)
    assert (files.classes, files.labels.tolist()) == (("wren", "auk"), [0, 1, 0])


def test_whole_numbers_are_the_classes(tmp_path: Path) -> None:
    path = table(tmp_path, "image;y\na;10\nb;2\n")
    files = csv_table(path, image="image", label="y", delimiter=";", empty="ignore", verify=False)
    assert (files.labels.tolist(), len(files.classes)) == ([10, 2], 11)
    named = csv_table(path, image="image", label="y", delimiter=";", names=["10", "2"], verify=False)
    assert named.labels.tolist() == [0, 1]
    path = table(tmp_path, "path,label\na,1\nb,0\n")
    assert csv_table(path, names=["cat", "dog"], verify=False).classes == ("cat", "dog")
    assert csv_table(path, names=["cat", "dog"], verify=False).labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "content", ["\ufeff" + EXCERPT, EXCERPT.replace("\n", "\r\n"), EXCERPT.replace(",auk", ", auk ")]
)
def test_small_differences_of_spreadsheets_change_nothing(tmp_path: Path, content: str) -> None:
    plain = csv_table(table(tmp_path, EXCERPT), verify=False)
    assert csv_table(table(tmp_path, content), verify=False).fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must have a column 'path' in its first line, got nothing"),
        ("path,labels\na,1\n", "'label' in its first line, got path, labels; did you mean 'labels'?"),
        ("path;label\na;1\n", "got path;label; pass delimiter=';'"),
        ("path,label\na,10.0\nb,2.0\n", "line 2: labels must be whole numbers or words, got 10.0; write 10.0 as 10"),
        ("path,label\n", "must hold one row an image below its header, got none"),
        ("path,label\na,x\nb\n", "line 3: expected at least 2 columns, got 1"),
        ("path,label\na,\n", "line 2: expected a path and a label, got 'a' and ''"),
        ("path,label\n,x\n", "line 2: expected a path and a label, got '' and 'x'"),
        ('path,label\n"a"b,x\n', "line 2: "),
        ('path,label\n"a,x\n', "line 2: "),
        (b"path,label\n\xe9,x\n", "must be UTF-8 text"),
        ("path,label\na,0\nb,2\n", "got no image of class 1"),
        ("path,label\na,0\nb,16777216\n", "line 3: labels must lie in [0, 2**24), got 16777216"),
        ("path,label\na,0\n\nb,-1\n", "line 4: labels must lie in [0, 2**24), got -1; take the row out, or pass"),
        ("path,label\na,0\nb," + "9" * 5000 + "\n", "line 3: labels must lie in [0, 2**24), got 999"),
    ],
)  # fmt: skip
def test_bad_tables_are_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=r"train\.csv.*" + re.escape(message)):
        csv_table(table(tmp_path, content), verify=False)


@given(st.text(alphabet='ab,"\n\r 01\0é', max_size=30).map(str.encode) | st.binary(max_size=20))
def test_any_content_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = table(tmp_path_factory.mktemp("tables"), b"path,label\n" + content)
    try:
        files = csv_table(path, verify=False, empty="ignore")
    except DataError as error:
        assert str(error).startswith(str(path))  # noqa: PT017  (either way is right)
    else:
        assert len(files) == files.class_counts.total > 0


def test_numbers_below_zero_may_be_names(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label\na,1\nb,-1\n")
    assert csv_table(path, names=["-1", "1"], verify=False).labels.tolist() == [1, 0]
    path = table(tmp_path, "path,label\na,none\nb,-1\n")
    assert csv_table(path, names=["-1", "none"], verify=False).labels.tolist() == [1, 0]


def test_numbers_with_a_point_may_be_names(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label\na,10.0\nb,2.0\n")
    assert csv_table(path, names=["2.0", "10.0"], verify=False).labels.tolist() == [1, 0]


def test_labels_outside_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 2: label must be one of names, got 'wren'; did you mean 'wrens'\?"):
        csv_table(table(tmp_path, EXCERPT), names=["wrens", "auk"], verify=False)
    path = table(tmp_path, "path,label\na,0\n\nb,2\n")
    with pytest.raises(DataError, match=r"line 4: labels must lie in \[0, 2\) of names, got 2"):
        csv_table(path, names=["x", "y"], verify=False)


def test_a_missing_image_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "birds, small").mkdir()
    for name in ("birds, small/1.jpg", "2.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"train\.csv: line 5: image .*3\.jpg is missing \(1 of 3 are\)"):
        csv_table(table(tmp_path, EXCERPT), tmp_path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.csv cannot be read: No such file"):
        csv_table(tmp_path / "train.csv")
