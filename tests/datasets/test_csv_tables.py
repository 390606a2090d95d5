"""CSV tables of images and labels, as spreadsheets and pandas write them."""

import re
import warnings
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
        ("path,label\na,10.0\nb,2.0\n", "line 2: labels must be integers or words, got 10.0; write 10.0 as 10"),
        ("path,label\n", "must hold one row per image below its header, got none"),
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


def rows(labels: list[str]) -> str:
    return "path,label\n" + "".join(f'{at}.jpg,"{label}"\n' for at, label in enumerate(labels))


INTEGERS = [str(number) for number in range(12)]


@pytest.mark.parametrize("odd", ["NaN", "unknown", "?", "None", "N/A", "-", "n/a", "cat", "1a"])
@pytest.mark.parametrize("at", [0, 5, 12])
def test_a_word_among_integers_is_refused(tmp_path: Path, odd: str, at: int) -> None:
    path = table(tmp_path, rows([*INTEGERS[:at], odd, *INTEGERS[at:]]))
    message = rf"line {at + 2}: labels must be all integers or all words, got '{re.escape(odd)}' in a column that holds"
    with pytest.raises(DataError, match=message):
        csv_table(path, verify=False)
    assert csv_table(path, names=[*INTEGERS, odd], verify=False).labels[at] == 12  # the advice, followed


@pytest.mark.parametrize(
    ("odd", "advice"),
    [
        ("1.0", "write 1.0 as 1, or pass names"),
        ("+1", r"write \+1 as 1"),
        ("1e0", "write 1e0 as 1"),
        ("1,0", "write 1,0 as 1"),
        ("1_1", "write 1_1 as 11"),
        ("\uff11", "write \uff11 as 1"),  # a digit of another script
        ("0.5", "correct it"),
        ("1e999", "correct it"),
    ],
)
def test_a_number_that_is_no_integer_is_refused(tmp_path: Path, odd: str, advice: str) -> None:
    for labels in ([*INTEGERS, odd], [odd], [odd, "cat"]):
        line = labels.index(odd) + 2
        with pytest.raises(DataError, match=rf"line {line}: labels must be integers or words, got .*; {advice}"):
            csv_table(table(tmp_path, rows(labels)), verify=False)


def test_an_empty_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 14: expected a path and a label, got '12\.jpg' and ''"):
        csv_table(table(tmp_path, rows([*INTEGERS, ""])), verify=False)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.data())
def test_integers_stay_their_numbers_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], data: st.DataObject
) -> None:
    """Whatever one cell becomes, no other row changes its class."""
    labels = list(map(str, numbers))
    at = data.draw(st.integers(0, len(labels) - 1))
    labels[at] = data.draw(st.sampled_from(["nan", "x", "1.0", "-1", "", " ", "01", "1 ", "\u00b2", "1\u00a0", "0x1"]))
    path = table(tmp_path_factory.mktemp("tables"), rows(labels))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            files = csv_table(path, verify=False, empty="ignore")
    except DataError as error:
        assert f"line {at + 2}: " in str(error)  # noqa: PT017  (either way is right)
        return
    if len(numbers) == 1 and labels[at] in ("nan", "x", "\u00b2", "0x1"):
        return  # a column of one word
    assert files.labels.tolist() == [*numbers[:at], 1, *numbers[at + 1 :]]


def test_numbers_in_two_spellings_are_one_class(tmp_path: Path) -> None:
    path = table(tmp_path, rows(["0", "1", "01", "001"]))
    with pytest.warns(UserWarning, match=r"labels 1 \(line 3\) and 01 \(line 4\) are read as one class; pass names"):
        assert csv_table(path, verify=False).labels.tolist() == [0, 1, 1, 1]
    named = csv_table(path, names=["0", "1", "01", "001"], verify=False)
    assert named.labels.tolist() == [0, 1, 2, 3]
    assert csv_table(table(tmp_path, rows(["00", "01", "02"])), verify=False).labels.tolist() == [0, 1, 2]
    assert csv_table(table(tmp_path, rows(["0" * 30 + "1", "0"])), verify=False).labels.tolist() == [1, 0]


@pytest.mark.parametrize("pair", [("Cat", "cat"), ("great auk", "great  auk"), ("\ufb01nch", "finch")])
def test_words_that_look_alike_are_warned_of(tmp_path: Path, pair: tuple[str, str]) -> None:
    path = table(tmp_path, rows([*pair, "dog"]))
    with pytest.warns(UserWarning, match=r"train\.csv: the classes .* and .* differ only in case, blanks or Unicode"):
        assert len(csv_table(path, verify=False).classes) == 3
    assert len(csv_table(path, names=[*pair, "dog"], verify=False).classes) == 3  # confirmed: no warning


def test_accents_in_two_forms_are_one_word(tmp_path: Path) -> None:
    files = csv_table(table(tmp_path, rows(["caf\u00e9", "cafe\u0301", "tea"])), verify=False)
    assert (files.classes, files.labels.tolist()) == (("caf\u00e9", "tea"), [0, 0, 1])
    named = csv_table(table(tmp_path, rows(["caf\u00e9", "tea"])), names=["tea", "cafe\u0301"], verify=False)
    assert named.labels.tolist() == [1, 0]


def test_a_missing_value_among_words_is_warned_of(tmp_path: Path) -> None:
    path = table(tmp_path, rows(["cat", "NaN", "dog", "NaN"]))
    with pytest.warns(UserWarning, match=r"line 3: 'NaN' is read as the name of a class \(2 rows\); take the rows out"):
        csv_table(path, verify=False)
    assert csv_table(path, names=["cat", "dog", "NaN"], verify=False).labels.tolist() == [0, 2, 1, 2]


def test_a_test_table_keeps_the_numbers_of_training(tmp_path: Path) -> None:
    train = csv_table(table(tmp_path, rows(["clay", "loam", "silt"])), verify=False)
    path = table(tmp_path, rows(["loam", "silt", "loam"]))
    for classes in (train, train.classes, list(train.classes)):
        test = csv_table(path, classes=classes, verify=False)
        assert (test.classes, test.labels.tolist()) == (train.classes, [1, 2, 1])
    with pytest.raises(DataError, match="got no image of class 0 \\(clay\\)"):
        csv_table(path, classes=train, empty="error", verify=False)
    path = table(tmp_path, rows(["loam", "Silt"]))
    message = r"line 3: label must be one of classes, got 'Silt'; did you mean 'silt'\? \(3: clay, loam, silt\)"
    with pytest.raises(DataError, match=message):
        csv_table(path, classes=train, verify=False)
    with pytest.raises(ValueError, match="classes and names exclude each other"):
        csv_table(path, classes=train, names=train.classes, verify=False)


def test_a_test_table_of_numbers(tmp_path: Path) -> None:
    train = csv_table(table(tmp_path, rows(INTEGERS)), verify=False)
    test = csv_table(table(tmp_path, rows(["10", "2", "02"])), classes=train, verify=False)
    assert (test.labels.tolist(), len(test.classes)) == ([10, 2, 2], 12)
    with pytest.raises(DataError, match=r"line 3: labels must lie in \[0, 12\) of classes, got 12"):
        csv_table(table(tmp_path, rows(["3", "12"])), classes=train, verify=False)
    with pytest.raises(DataError, match=r"line 3: label must be one of classes, got '2\.0'.*; write 2\.0 as 2"):
        csv_table(table(tmp_path, rows(["3", "2.0"])), classes=train, verify=False)
    positions = csv_table(table(tmp_path, rows(["1", "0"])), classes=["cat", "dog"], verify=False)
    assert positions.labels.tolist() == [1, 0]
    message = r"line 3: labels must lie in \[0, 2\) of classes, got 2; where the labels start at 1, subtract 1"
    with pytest.raises(DataError, match=message):
        csv_table(table(tmp_path, rows(["1", "2"])), classes=["cat", "dog"], verify=False)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["0", "1", "NaN"], r"line 4: label must be one of classes, got 'NaN' \(2: cat, dog\)$"),
        (["0", "1.0"], r"line 3: label must be one of classes, got '1\.0' \(2: cat, dog\); write 1\.0 as 1$"),
        (["cat", "1"], r"line 3: label must be one of classes, got '1' \(2: cat, dog\)$"),
        (["0", "-1"], r"line 3: label must be one of classes, got '-1'"),
        (["cat", "nan"], r"line 3: label must be one of classes, got 'nan'"),
    ],
)
def test_labels_that_are_no_class_are_named(tmp_path: Path, labels: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        csv_table(table(tmp_path, rows(labels)), classes=["cat", "dog"], verify=False)


def test_blanks_at_the_ends_of_names_do_not_count(tmp_path: Path) -> None:
    path = table(tmp_path, rows([" cat", "dog "]))
    assert csv_table(path, classes=["dog", "cat "], verify=False).labels.tolist() == [1, 0]


def test_names_that_are_numbers_are_no_positions(tmp_path: Path) -> None:
    """``["1", "2", "3"]`` with a label 0: by position 1 would be the second class, by name the first."""
    with pytest.raises(DataError, match="line 2: label must be one of names, got '0'"):
        csv_table(table(tmp_path, rows(["0", "1", "2"])), names=["1", "2", "3"], verify=False)


def test_labels_that_start_at_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got no image of class 0; where the labels start at 1, subtract 1; number"):
        csv_table(table(tmp_path, rows(["1", "2", "3"])), verify=False)


def test_an_image_with_two_labels_is_warned_of(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label\na,x\nb,y\na,y\na,x\nc,x\n")
    with pytest.warns(
        UserWarning, match=r"image 'a' has label 0 at line 2 and 1 at line 4, and 1 more such pairs; keep"
    ):
        assert len(csv_table(path, verify=False)) == 5
    assert (
        len(csv_table(table(tmp_path, "path,label\na,x\na,x\n"), verify=False)) == 2
    )  # drawn twice: as the table says


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.jpg,0\nb.jpg,1\n", "got a.jpg, 0; that is an image already: put a line with the names of"),
        ("image_id,category\na,1\n", "first line, got image_id, category; pass image= with the name"),
        ("path,class\na,1\n", "'label' in its first line, got path, class; pass label= with the name of"),
        ("path,label,label\na,1,2\n", "must have one column 'label' in its first line, got 2; rename one"),
        ("path,label\na,b.jpg,cat\n", "line 2: expected 2 columns as in the first line, got 3; put quotes"),
    ],
)  # fmt: skip
def test_headers_that_do_not_fit_are_named(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=r"train\.csv.*" + re.escape(message)):
        csv_table(table(tmp_path, content), verify=False)


def test_what_spreadsheets_add_changes_nothing(tmp_path: Path) -> None:
    plain = csv_table(table(tmp_path, "path,label\na,x\nb,y\n"), verify=False)
    for content in ("path , label\na,x\nb,y\n,\n , \n\n", "path,label\na,x,\nb,y,,\n", '"path","label"\n"a"," x"\nb,y'):
        assert csv_table(table(tmp_path, content), verify=False).fingerprint == plain.fingerprint
    separated = csv_table(table(tmp_path, "sep=;\r\npath;label\r\na;x\r\nb;y\r\n"), delimiter=";", verify=False)
    assert separated.fingerprint == plain.fingerprint
    assert csv_table(table(tmp_path, "path\tlabel\na\tx\nb\ty\n"), delimiter="\t", verify=False).labels.tolist() == [
        0,
        1,
    ]


@pytest.mark.parametrize("delimiter", [";;", "", "\n", '"', 7])
def test_delimiters_are_one_character(tmp_path: Path, delimiter: str) -> None:
    with pytest.raises(ValueError, match=r"delimiter must be one character, such as ',', ';' or '\\t', got "):
        csv_table(table(tmp_path, EXCERPT), delimiter=delimiter)
