"""``lt-fast predict``: tables, CSV and JSON, resumed and refused."""

import csv
import json
import re
import signal

import numpy as np
import pytest
from PIL import Image

import forked
from lt_fast import experiment
from lt_fast.cli import main
from lt_fast.inference import classifier
from lt_fast.inference.classifier import TrainedClassifier


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    config = experiment.resolve("balanced_softmax", "digits-lt", {"epochs": 4, "validation": 0.2})
    experiment.run(config, folder, progress=False)
    return folder


@pytest.fixture
def photos(tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "new" / "sub").mkdir(parents=True)
    for name in [f"{row}.png" for row in range(5)] + ["sub/ü 1.png"]:
        Image.fromarray(generator.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / "new" / name)
    (tmp_path / "new" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    return tmp_path / "new"


def _said(words, capsys, status=0):
    assert main([str(word) for word in words]) == status
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return out, err


def _rows(file):
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_a_table_for_people(run, photos, capsys):
    out, err = _said(["predict", run, photos, "--threshold", "0.9"], capsys)
    assert re.search(r"^image +class +probability +second +margin", out)
    assert re.search(r"broken\.jpg +damaged", out)
    assert re.search(r'7 images, 1 damaged, \d "not sure"', out)
    assert err == ""


def test_csv_and_json_say_the_same(run, photos, tmp_path, capsys):
    (photos / "notes.md").touch()
    _, err = _said(["predict", run, photos, "--csv", tmp_path / "out.csv", "--top", "3", "--batch-size", "2"], capsys)
    assert f"files that are no images were left out: 1, first {photos / 'notes.md'}" in err
    rows = _rows(tmp_path / "out.csv")
    assert [row["path"] for row in rows] == sorted(str(path) for path in photos.rglob("*.[pj]*g"))
    assert [row["path"].endswith("broken.jpg") for row in rows] == [row["error"] != "" for row in rows]
    out, _ = _said(["predict", run, photos, "--json", "--top", "3"], capsys)
    found = json.loads(out)["images"]
    assert [row["class_3"] or "" for row in found] == [row["class_3"] for row in rows]
    assert [f"{row['margin']:.6f}" if row["error"] is None else "" for row in found] == [row["margin"] for row in rows]


def test_what_is_odd_about_images_is_one_line(run, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    for name in "abc":
        Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "new" / f"{name}.png")
    _, err = _said(["predict", run, tmp_path / "new"], capsys)
    assert err.count("\n") == 1
    assert re.match(r"lt-fast: warning: 3 of 3 images are read with a remark; the first: image .*a\.png has mode", err)


def test_files_and_lists_of_both_kinds(run, photos, tmp_path, capsys):
    (photos / "list.txt").write_text("0.png\nsub/ü 1.png\n\n1.png 7\n0.png\n")
    out, _ = _said(["predict", run, photos / "list.txt", photos / "3.png", "--json"], capsys)
    found = [row["path"] for row in json.loads(out)["images"]]
    assert found == [str(photos / name) for name in ("0.png", "sub/ü 1.png", "1.png", "3.png")]


def test_an_interrupted_csv_continues_with_resume(run, photos, tmp_path, capsys, monkeypatch):
    file, whole = tmp_path / "out.csv", tmp_path / "whole.csv"
    _said(["predict", run, photos, "--csv", whole, "--batch-size", "1"], capsys)
    answered, seen = TrainedClassifier._answered, []

    def interrupted(self, names, prepared, ask):
        seen.extend(names)
        if len(seen) == 5:
            signal.raise_signal(signal.SIGTERM)
        return answered(self, names, prepared, ask)

    words = ["predict", run, photos, "--csv", file, "--batch-size", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(classifier.TrainedClassifier, "_answered", interrupted)
        _, err = _said(words, capsys, 4)
    assert "interrupted after 4 of 7 images" in err
    assert "the same command with --resume continues" in err
    assert not file.exists()
    _, err = _said(words, capsys, 2)
    assert "holds a stopped prediction; continue it with --resume, or remove it" in err
    _, err = _said([*words, "--resume", "--top", "3"], capsys, 2)
    assert "top was 2 and is 3" in err
    part = tmp_path / "out.csv.part"
    part.write_bytes(part.read_bytes() + b'["cut off')
    seen.clear()
    monkeypatch.setattr(
        classifier.TrainedClassifier, "_answered", lambda *words: (seen.extend(words[1]), answered(*words))[1]
    )
    _said([*words, "--resume"], capsys)
    assert len(seen) == 3
    assert file.read_bytes() == whole.read_bytes()
    assert not part.exists()
    out, _ = _said([*words, "--resume"], capsys)
    assert "is complete already: nothing was predicted" in out
    _, err = _said(words, capsys, 2)
    assert "is there already; name another file with --csv, or remove it" in err


def test_the_threshold_is_chosen_on_the_validation_images(run, photos, capsys):
    out, _ = _said(["predict", run, photos, "--max-error", "0.5", "--target-prior", "train"], capsys)
    assert re.search(r"threshold 0\.\d+: on the 82 validation images it answers .* % and errs in .* %", out)


def test_a_real_process_from_another_folder(run, photos, tmp_path):
    words = ["predict", run, "new", "--csv", "deep/out.csv", "--threads", "1"]
    done = forked.run(["-W", "error", "-m", "lt_fast.cli", *words], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(_rows(tmp_path / "deep" / "out.csv")) == 7


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["predict"], 2, "a run directory and images are needed: lt-fast predict runs/NAME photos/ --csv out.csv"),
        (["predict", "RUN"], 2, "a run directory and images are needed"),
        (["predict", "RUN", "no-such"], 2, "no-such is not there; name a folder, a .txt list of paths, or image files"),
        (["predict", "PHOTOS", "PHOTOS"], 3, "holds no run: .*config.json is missing"),
        (["predict", "RUN", "PHOTOS", "--resume"], 2, "--resume continues a --csv FILE"),
        (["predict", "RUN", "PHOTOS", "--threshold", "2"], 2, r"--threshold must be a number in \[0, 1\], got '2'"),
        (["predict", "RUN", "PHOTOS", "--max-error", "x"], 2, r"--max-error must be a number in \[0, 1\], got 'x'"),
        (["predict", "RUN", "PHOTOS", "--top", "0"], 2, "--top must be an integer >= 1"),
        (["predict", "RUN", "PHOTOS", "--workers", "-1"], 2, "--workers must be an integer >= "),
        (["predict", "RUN", "PHOTOS", "--batch-size", "none"], 2, "--batch-size must be an integer"),
        (["predict", "RUN", "PHOTOS", "--target-prior", "unifrm"], 2, "did you mean 'uniform'"),
        (["predict", "RUN", "PHOTOS", "--csv", "PHOTOS"], 2, "--csv must name a file, got the folder"),
        (["predict", "RUN", "PHOTOS", "--calibration", "PHOTOS"], 3, "PHOTOS|calibration"),
        (["predict", "RUN", "PHOTOS/sub/empty"], 3, "must hold images, which is empty"),
    ],
)
def test_wrong_words_are_one_line(words, status, message, run, photos, capsys):
    (photos / "sub" / "empty").mkdir()
    words = [word.replace("RUN", str(run)).replace("PHOTOS", str(photos)) for word in words]
    out, err = _said(words, capsys, status)
    assert out == ""
    assert err.count("\n") == 1
    assert re.search(message, err), err
