"""``lt-fast make-lt``: lists that say what the library would have chosen."""

import json
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
    assert "35 of 60 images, 3 classes, 20 to 5 a class" in err


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
        (["digits", "--out", "taken.txt/l.txt"], 3, "taken.txt/l.txt and its record cannot be written: "),
        (["digits", "--out", "l.txt", "--imbalance-ratio", "0.01"], 2, "did you mean 100?"),
        (["digits", "--out", "l.txt", "--imbalance-ratio", "x"], 2, "--imbalance-ratio must be a number, got 'x'"),
        (["digits", "--out", "l.txt", "--imbalance-ratio", "9,5"], 2, "--imbalance-ratio must be a number, got '9,5'"),
        (
            ["digits", "--out", "l.txt", "--counts", "1,2"],
            2,
            "counts must have one entry a class (10 in labels), got 2",
        ),
        (
            ["digits", "--out", "l.txt", "--counts", "100000000000000000000,1"],
            2,
            "counts must be whole numbers >= 0 and < 2**63, got 100000000000000000000 for class 0; pass the samples",
        ),
        (["digits", "--out", "l.txt", "--counts", "1,x"], 2, "--counts must be numbers with commas between, got '1,x'"),
        (["digits", "--out", "l.txt", "--counts", "1", "--imbalance-ratio", "2"], 2, "exclude each other"),
        (["digits", "--out", "l.txt", "--seed", "-1"], 2, "--seed must be a whole number >= 0, got '-1'"),
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
