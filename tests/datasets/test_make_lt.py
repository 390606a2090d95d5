"""``lt-fast make-lt``: lists that say what the library would have chosen."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from lt_fast.cli import main
from lt_fast.datasets import cifar_lt, digits_lt, image_folder, image_list, long_tailed_indices


def made(out: Path, *words: str, source: Path | str) -> dict:
    assert main(["make-lt", str(source), "--out", str(out), *words]) == 0
    return json.loads(out.with_name(out.name + ".json").read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("ant", "bee", "cow"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(20):
            (tmp_path / "photos" / name / f"photo {i:02d}.jpg").touch()
    return tmp_path / "photos"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, where two names are taken."""
    monkeypatch.chdir(tmp_path)
    for name in ("taken.txt", "half.txt.json"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_positions_are_the_training_sets(cifar10_tree, cifar100_tree, tmp_path: Path, classes: int) -> None:
    root = (cifar10_tree if classes == 10 else cifar100_tree).root
    record = made(
        tmp_path / "l.txt", "--root", str(root), "--imbalance-ratio", "10", "--seed", "3", source=f"cifar{classes}"
    )
    positions, labels = np.loadtxt(tmp_path / "l.txt", dtype=np.int64).T
    train = cifar_lt(root, classes=classes, imbalance_ratio=10, seed=3)
    assert np.array_equal(positions, train.indices)
    assert np.array_equal(labels, train.labels)
    assert record["subset_sha256"] == train.protocol["subset_sha256"]
    assert record["counts"] == train.class_counts.counts.tolist()


@pytest.mark.parametrize("ratio", [1, 50])
def test_digits_positions_are_the_training_sets(tmp_path: Path, ratio: int) -> None:
    record = made(tmp_path / "l.txt", "--imbalance-ratio", str(ratio), "--seed", "4", source="digits")
    positions, labels = np.loadtxt(tmp_path / "l.txt", dtype=np.int64).T
    train = digits_lt(imbalance_ratio=ratio, seed=4)
    assert np.array_equal(positions, train.indices)
    assert np.array_equal(labels, train.labels)
    assert record["subset_sha256"] == train.protocol["subset_sha256"]


def test_folder_list_is_read_back(folder: Path, tmp_path: Path) -> None:
    record = made(tmp_path / "new" / "l.txt", "--imbalance-ratio", "10", "--seed", "1", source=folder)
    whole = image_folder(folder)
    expected = whole.subset(long_tailed_indices(whole.labels, imbalance_ratio=10, seed=1))
    files = image_list(tmp_path / "new" / "l.txt", folder, names=record["classes"])
    assert files.fingerprint == expected.fingerprint
    assert files.class_counts.counts.tolist() == record["counts"] == [20, 6, 2]
    assert record["classes"] == ["ant", "bee", "cow"]


def test_a_list_of_a_list(folder: Path, tmp_path: Path) -> None:
    made(tmp_path / "all.txt", "--counts", "20,20,20", source=folder)
    record = made(
        tmp_path / "l.txt",
        "--counts",
        "5,2,9",
        "--method",
        "counter",
        "--root",
        str(folder),
        source=tmp_path / "all.txt",
    )
    assert record["counts"] == [5, 2, 9]
    assert (record["profile"], record["imbalance_ratio"]) == ("counts", None)
    files = image_list(tmp_path / "l.txt", folder)
    assert all(path.startswith(f"{record_name}/") for path, record_name in zip(
        files.paths, np.array(["ant", "bee", "cow"])[files.labels], strict=True
    ))  # fmt: skip


def test_csv_and_json_sources(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\n" + "".join(f"{i}.jpg,{'xy'[i % 2]}\n" for i in range(8)))
    assert made(tmp_path / "a.txt", "--counts", "3,1", source=tmp_path / "t.csv")["counts"] == [3, 1]
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(8)]
    notes = [{"image_id": i, "category_id": i % 2} for i in range(8)]
    (tmp_path / "t.json").write_text(json.dumps({"images": images, "annotations": notes}))
    assert made(tmp_path / "b.txt", "--counts", "3,1", source=tmp_path / "t.json")["counts"] == [3, 1]


def test_label_noise(folder: Path, tmp_path: Path) -> None:
    made(tmp_path / "clean.txt", "--imbalance-ratio", "2", source=folder)
    record = made(
        tmp_path / "l.txt",
        "--imbalance-ratio",
        "2",
        "--label-noise",
        "0.5,0,0.25",
        "--noise-toward",
        "prior",
        source=folder,
    )
    clean, noisy = image_list(tmp_path / "clean.txt", folder), image_list(tmp_path / "l.txt", folder)
    assert clean.paths == noisy.paths
    wrong = np.bincount(clean.labels[clean.labels != noisy.labels], minlength=3)
    assert wrong.tolist() == np.floor(clean.class_counts.counts * [0.5, 0, 0.25] + 0.5).tolist()
    assert record["wrong_labels"] == wrong.sum()
    assert record["counts"] == clean.class_counts.counts.tolist()
    everywhere = made(tmp_path / "m.txt", "--imbalance-ratio", "1", "--label-noise", "0.1", source=folder)
    assert everywhere["wrong_labels"] == 6


def test_json_says_it_all(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = made(tmp_path / "l.txt", "--imbalance-ratio", "4", "--json", source=folder)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"list": str(tmp_path / "l.txt"), "record": str(tmp_path / "l.txt.json"), **record}
    assert "35 of 60 images, 3 classes, 20 to 5 per class" in err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "a data set is needed: lt-fast make-lt cifar100 --root DIR --out list.txt"),
        (["digits"], 2, "--out is needed: the list to write"),
        (["digits", "--out", "taken.txt"], 2, "--out must be a new file, but taken.txt exists"),
        (["digits", "--out", "half.txt"], 2, "--out must be a new file, but half.txt.json exists"),
        (["cifar10", "--out", "l.txt"], 2, "--root is needed for cifar10: the folder of its files; --download"),
        (["cifar10", "--root", ".", "--out", "l.txt"], 3, "cifar-10-batches-py/data_batch_1 is missing"),
        (["cifra10", "--out", "l.txt"], 3, "cifra10 is neither cifar10, cifar100 nor digits, nor a folder"),
        (["no.txt", "--out", "l.txt"], 3, "no.txt cannot be read: No such file"),
        (["digits", "--out", "taken.txt/l.txt"], 3, "taken.txt cannot be written (File exists); choose another folder"),
        (["digits", "--out", "l.txt", "--imbalance-ratio", "0.01"], 2, "did you mean 100?"),
        (
            ["digits", "--out", "l.txt", "--imbalance-ratio", "x"],
            2,
            "--imbalance-ratio must be a number in decimal digits, got 'x'",
        ),
        (
            ["digits", "--out", "l.txt", "--imbalance-ratio", "9,5"],
            2,
            "--imbalance-ratio must be a number in decimal digits, got '9,5'",
        ),
        (
            ["digits", "--out", "l.txt", "--counts", "1,2"],
            2,
            "counts must have one entry a class (10 in labels), got 2",
        ),
        (
            ["digits", "--out", "l.txt", "--counts", "100000000000000000000,1"],
            2,
            "counts must be integers >= 0 and < 2**63, got 100000000000000000000 for class 0; pass the samples",
        ),
        (["digits", "--out", "l.txt", "--counts", "1,x"], 2, "--counts must be numbers with commas between, got '1,x'"),
        (["digits", "--out", "l.txt", "--counts", "1", "--imbalance-ratio", "2"], 2, "exclude each other"),
        (["digits", "--out", "l.txt", "--seed", "-1"], 2, "--seed must be an integer >= 0, got '-1'"),
        (["digits", "--out", "l.txt", "--label-noise", "2"], 2, "rate must lie in [0, 1], got 2.0 for class 0"),
        (["digits", "--out", "l.txt", "--profile", "stp"], 2, "profile must be"),
        (["digits", "--out", "l.txt", "--metod", "x"], 2, "has no option '--metod'; did you mean '--method'?"),
    ],
)
def test_wrong_words(words, status, message, elsewhere, capsys) -> None:
    assert main(["make-lt", *words]) == status
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert sorted(path.name for path in elsewhere.iterdir()) == ["half.txt.json", "taken.txt"]


SEMICOLONS = "path;label\n" + "".join(f"{at}.jpg;{'xy'[at % 2]}\n" for at in range(8))
KAGGLE = "image_id,category\n" + "".join(f"{at}.jpg,{at % 2}\n" for at in range(8))
GAP = "".join(f"{at}.jpg {(0, 2)[at % 2]}\n" for at in range(8))
ODD = "path,label\n" + "".join(f"{at}.jpg,{(0, 1, 'NaN')[at % 3]}\n" for at in range(9))
BELOW = "path,label\n" + "".join(f"{at}.jpg,{at % 2 - 1}\n" for at in range(8))
SPELT = "path,label\n" + "".join(f"{at}.jpg,{('1', '01', '0')[at % 3]}\n" for at in range(9))
STRANGE = "path,label\n" + "".join(f"{at}.jpg,{'xyz'[at % 3]}\n" for at in range(9))
# File, its content, the options, the advice, and the options that follow it.
ADVICE = [
    ("t.csv", SEMICOLONS, [], "pass --delimiter ';'", ["--delimiter", ";"]),
    ("t.csv", SEMICOLONS.replace(";", "\t"), [], "pass --delimiter tab", ["--delimiter", "tab"]),
    ("t.csv", SEMICOLONS.replace(";", "|"), [], "pass --delimiter '|'", ["--delimiter", "|"]),
    ("t.csv", SEMICOLONS, ["--delimiter", ";;"], "--delimiter must be one character", ["--delimiter", ";"]),
    ("t.csv", SEMICOLONS, ["--delimiter", ""], "--delimiter must be one character", ["--delimiter", ";"]),
    ("t.csv", KAGGLE, ["--label-column", "category"], "pass --image-column with the name of its column",
     ["--label-column", "category", "--image-column", "image_id"]),
    ("t.csv", KAGGLE, ["--image-column", "image_id"], "pass --label-column with the name of its column",
     ["--label-column", "category", "--image-column", "image_id"]),
    ("t.txt", GAP, [], "pass --allow-empty", ["--allow-empty"]),
    ("t.csv", ODD, [], "pass --classes FILE with the names to read all labels as words", ["--classes", "three.txt"]),
    ("t.csv", BELOW, [], "pass the numbers as the names in --classes FILE", ["--classes", "below.txt"]),
    ("t.csv", ODD.replace("NaN", "2.0"), [], "write 2.0 as 2, or pass --classes FILE with the names",
     ["--classes", "floats.json"]),
    ("t.csv", STRANGE, ["--classes", "xy.txt"], "label must be one of --classes, got 'z' (2: x, y)",
     ["--classes", "xyz.json"]),
    ("t.txt", GAP, ["--allow-empty", "--root", "nowhere"], "check --root, or omit it to write the list",
     ["--allow-empty"]),
    ("t.txt", "sub/0.jpg 0\n", ["--root", "."], "pass --root 'photos'", ["--root", "photos"]),
]  # fmt: skip


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    (tmp_path / "photos" / "sub" / "0.jpg").touch()
    (tmp_path / "three.txt").write_text("0\n1\nNaN\n\n")
    (tmp_path / "below.txt").write_text("\ufeff-1\r\n0\r\n", encoding="utf-8")
    (tmp_path / "xy.txt").write_text("x\ny\n")
    (tmp_path / "floats.json").write_text('["0", "1", "2.0"]')
    (tmp_path / "xyz.json").write_text('{"classes": ["z", "y", "x"]}')
    return tmp_path


@pytest.mark.parametrize(("file", "content", "words", "advice", "followed"), ADVICE)
def test_advice_can_be_followed(file, content, words, advice, followed, lists: Path, capsys) -> None:
    (lists / file).write_text(content)
    (lists / "t.txt.json").unlink(missing_ok=True)
    source = "photos.txt" if "photos" in advice else file
    if source != file:  # the other root is looked for next to the list
        (lists / "photos" / file).write_text(content)
        source = f"photos/{file}"
    assert main(["make-lt", source, "--out", "l.txt", "--imbalance-ratio", "1", *words]) in (2, 3)
    err = capsys.readouterr().err
    assert advice in err
    assert not re.search(r"\w=|verify|pass names|empty='", err.partition(":")[2])
    assert main(["make-lt", source, "--out", "l.txt", "--imbalance-ratio", "1", *followed]) == 0
    assert capsys.readouterr().err == ""


def test_warnings_are_in_options_too(lists: Path, capsys) -> None:
    (lists / "t.csv").write_text(SPELT)
    (lists / "t.txt").write_text(GAP.replace(" 2", " 1"))
    (lists / "numbers.txt").write_text("1\n10\n")
    made(lists / "a.txt", "--imbalance-ratio", "1", source="t.csv")
    made(lists / "b.txt", "--imbalance-ratio", "1", "--classes", "numbers.txt", source="t.txt")
    for name in ("cat/1.jpg", "cat/2.cr2", "dog/1.jpg"):
        (lists / "animals" / name).parent.mkdir(parents=True, exist_ok=True)
        (lists / "animals" / name).touch()
    made(lists / "c.txt", "--imbalance-ratio", "1", source="animals")
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith("lt-fast: warning: t.csv: labels 1 (line 2) and 01 (line 3) are read as one class")
    assert first.endswith("pass --classes FILE with the names where they are two")
    assert second.endswith("label 0 is class '1'; where that is meant, go on")
    assert third.endswith("(1 .cr2; first 'cat/2.cr2'); convert them to PNG or JPEG")


def test_a_test_folder_in_the_numbers_of_training(folder: Path, tmp_path: Path) -> None:
    made(tmp_path / "train.txt", "--imbalance-ratio", "1", source=folder)
    test = tmp_path / "test"
    test.mkdir()
    for name in ("bee", "cow"):
        (folder / name).rename(test / name)
    record = made(tmp_path / "l.txt", "--counts", "0,20,20", "--classes", str(tmp_path / "train.txt.json"), source=test)
    assert (record["counts"], record["classes"]) == ([0, 20, 20], ["ant", "bee", "cow"])
    files = image_list(tmp_path / "l.txt", test, classes=record["classes"])
    assert files.class_counts.counts.tolist() == [0, 20, 20]


def test_an_empty_class_takes_no_part(lists: Path) -> None:
    (lists / "t.txt").write_text("".join(f"{at}.jpg {(0, 2)[at % 2]}\n" for at in range(40)))
    record = made(lists / "a.txt", "--imbalance-ratio", "10", "--allow-empty", source="t.txt")
    assert record["counts"] == [20, 0, 2]
    whole = image_list(lists / "t.txt", empty="ignore", verify=False)
    kept = long_tailed_indices(whole.labels // 2, imbalance_ratio=10)
    assert image_list(lists / "a.txt", empty="ignore", verify=False).fingerprint == whole.subset(kept).fingerprint


def test_tab_separated_tables(lists: Path) -> None:
    (lists / "t.tsv").write_text(SEMICOLONS.replace(";", "\t"))
    assert made(lists / "a.txt", "--counts", "3,1", source="t.tsv")["classes"] == ["x", "y"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["photos", "--delimiter", ";"], 2, "--delimiter is for .csv and .tsv tables, got photos; leave it out"),
        (["t.txt", "--label-column", "y"], 2, "--label-column is for .csv and .tsv tables, got t.txt"),
        (["digits", "--classes", "xy.txt"], 2, "--classes is for folders and lists, got digits; leave it out"),
        (["digits", "--allow-empty"], 2, "--allow-empty is for folders and lists, got digits"),
        (["photos", "--root", "."], 2, "--root is for CIFAR and lists, got photos"),
        (["digits", "--download"], 2, "--download is for CIFAR, got digits"),
        (["photos", "--classes", "none.txt"], 3, "--classes: none.txt cannot be read: No such file"),
        (["photos", "--classes", "twice.txt"], 3, "twice.txt must hold distinct names, one for each class, got 'x'"),
        (["photos", "--classes", "void.txt"], 3, "void.txt must hold distinct names, one for each class, got no name"),
        (["photos", "--classes", "gap.txt"], 3, "must hold distinct names, one for each class, got '' as name 2"),
        (["photos", "--classes", "bad.json"], 3, "--classes: bad.json is not JSON: "),
        (["photos", "--classes", "odd.json"], 3, "--classes: odd.json must hold a list of names, or an object with"),
        (["photos", "--classes", "latin.txt"], 3, "--classes: latin.txt must be UTF-8 text: "),
        (["photos", "--classes", "xy.txt"], 3, "the folder's name must be one of --classes, got 'sub' (2: x, y)"),
        (["t.txt", "--allow-empty", "--counts", "1,1"], 2, "--counts must have one entry per class, 3 with"),
        (["t.txt", "--allow-empty", "--counts", "1,1,1"], 2, "--counts must be 0 for a class without images, got 1"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit(words, status, message, lists: Path, capsys) -> None:
    (lists / "t.txt").write_text(GAP)
    for name, content in {
        "twice.txt": b"x\ny\nx\n", "void.txt": b"\n", "gap.txt": b"x\n\ny\n", "bad.json": b"[", "odd.json": b"{}",
        "latin.txt": b"\xe9",
    }.items():  # fmt: skip
        (lists / name).write_bytes(content)
    assert main(["make-lt", *words, "--out", "l.txt"]) == status
    assert message in capsys.readouterr().err
    assert not (lists / "l.txt").exists()
