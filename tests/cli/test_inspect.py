"""``lt-fast inspect``: tables, files, JSON, interruptions. Broken folders are in ``tests/test_broken_folders.py``."""

import csv
import json
import os
import re
import subprocess
import sys

import pytest
from PIL import Image
from tests.inspection.conftest import cache_home, common_user, folder_of, picture, tree

from lt_fast.cli import main
from lt_fast.inspection.cache import FactsCache, key_of

__all__ = ["cache_home", "common_user"]  # fixtures


def inspect(capsys, *words):
    """Return the status, the lines of stdout and those of stderr."""
    status = main(["inspect", *map(str, words), "--quiet"])
    out, err = capsys.readouterr()
    return status, out, err


def line(text: str, label: str) -> str:
    return next(found[len(label) :].strip() for found in text.splitlines() if found.startswith(f"{label} "))


def test_what_is_in_a_good_folder(tmp_path, capsys):
    root = folder_of(tmp_path / "my photos", oak=110, elm=20, ash=3)
    status, out, err = inspect(capsys, root)
    assert (status, err) == (0, "")
    assert out.startswith(f"{root}: 133 photographs in 3 classes\n")
    assert re.search(r"^oak +#{24} +110 +22 +± 19$", out, re.MULTILINE)
    assert re.search(r"^ash +# +3 +1 +± 45 !$", out, re.MULTILINE)
    assert line(out, "profile") == (
        "imbalance ratio 36.67; classes: many (more than 100 images) 1, medium 1, few (less than 20) 1"
    )
    assert line(out, "sizes") == "64 x 64 to 64 x 64, median 64 x 64; 1 distinct"
    for label in ("damaged", "copies", "near duplicates", "two labels"):
        assert line(out, label) == "none"
    assert line(out, "passed over") == "nothing"
    assert f"next: lt-fast train '{root}' --freeze --folds 5\n" in out
    assert sorted(path.name for path in root.iterdir()) == ["ash", "elm", "oak"]  # nothing was written there


def test_the_second_time_nothing_is_read(tmp_path, capsys, cache_home):
    root = folder_of(tmp_path / "photos", a=4)
    first = inspect(capsys, root)
    for file in root.rglob("*.png"):
        status = file.stat()
        file.write_bytes(bytes(status.st_size))  # no image any more, but of the same size and time
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert inspect(capsys, root) == first
    assert [path.suffix for path in (cache_home / "lt-fast").iterdir()] == [".sqlite"]
    status, _, err = inspect(capsys, root, "--cache", "none")
    assert status == 3
    assert re.search(r"photos: none of its 4 photographs can be read; the first: image .* cannot be read", err)


# What it writes.


@pytest.fixture
def flawed(tmp_path):
    root = folder_of(tmp_path / "photos", oak=3, elm=3)
    (root / "elm" / "same.png").write_bytes((root / "oak" / "p001x.png").read_bytes())
    (root / "oak" / "zcopy.png").write_bytes((root / "oak" / "p002x.png").read_bytes())
    (root / "oak" / "zero.jpg").touch()
    Image.new("RGB", (8, 8)).save(root / "elm" / "black.png")
    return tree(root, "oak/notes, old.txt")


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_and_lists(flawed, tmp_path, capsys):
    before = sorted((path, path.stat().st_mtime_ns) for path in flawed.rglob("*"))
    status, out, _ = inspect(capsys, flawed, "--csv", tmp_path / "new" / "rows.csv", "--quarantine", tmp_path / "q")
    assert status == 0
    assert "nothing was deleted or moved" in out
    found = {row["path"]: row for row in rows(tmp_path / "new" / "rows.csv")}
    assert len(found) == 10
    assert found["oak/zcopy.png"]["copy_of"] == "oak/p002x.png"
    assert found["oak/p001x.png"]["copy_of"] == "elm/same.png"
    assert found["oak/p001x.png"]["group"] == found["elm/same.png"]["group"] == "elm/same.png"
    assert found["elm/black.png"]["one_colour"] == "yes"
    assert found["oak/zero.jpg"]["problem"].endswith("it has 0 bytes")
    assert (
        found["oak/p000x.png"] | {"class": "oak", "width": "64", "format": "PNG", "group": ""} == found["oak/p000x.png"]
    )
    listed = {path.name: [row["path"] for row in rows(path)] for path in (tmp_path / "q").iterdir()}
    assert listed == {
        "damaged.csv": ["oak/zero.jpg"], "copies.csv": ["oak/zcopy.png"],
        "two_labels.csv": ["elm/same.png", "oak/p001x.png"], "near_duplicates.csv": [],
        "one_colour.csv": ["elm/black.png"], "passed_over.csv": ["oak/notes, old.txt"],
    }  # fmt: skip
    assert sorted((path, path.stat().st_mtime_ns) for path in flawed.rglob("*")) == before


def test_json_has_everything_by_name(flawed, capsys):
    status, out, err = inspect(capsys, flawed, "--json")
    found = json.loads(out)
    assert status == 0
    assert "photographs in 2 classes" in err
    assert found["classes"] == {"elm": 5, "oak": 4}
    assert found["two_labels"] == [["elm/same.png", "oak/p001x.png"]]
    assert found["damaged"].keys() == {"oak/zero.jpg"}
    assert found["groups"] == {"groups": 2, "photographs": 4, "largest": 2,
                               "by": {"copies": 4, "near_duplicates": 4, "bursts": 0, "versions": 0,
                                      "consecutive": 0}}  # fmt: skip
    assert found["next"] == f"lt-fast train {flawed} --freeze --folds 5"


@pytest.mark.parametrize("option", ["--csv", "--quarantine", "--picture", "--cache"])
def test_nothing_is_written_into_the_photographs(flawed, option, capsys):
    status, out, err = inspect(capsys, flawed, option, flawed / "oak" / "new")
    assert (status, out) == (2, "")
    assert err.startswith(f"lt-fast: {option} must be outside the folder of the photographs, which is only read")
    assert not (flawed / "oak" / "new").exists()


def test_a_table_and_its_columns(tmp_path, capsys):
    folder_of(tmp_path, a=2)
    (tmp_path / "t.csv").write_text("file;kind\na/p000x.png;oak\na/p001x.png;elm\na/gone.png;elm\n")
    words = [tmp_path / "t.csv", "--image-column", "file", "--label-column", "kind"]
    status, _, err = inspect(capsys, *words)
    assert (status, err.count("\n")) == (3, 1)
    assert err.endswith("pass --delimiter ';'\n")
    status, out, _ = inspect(capsys, *words, "--delimiter", ";", "--csv", tmp_path / "rows.csv")
    assert status == 0
    assert "a/gone.png is missing; take it out of the list" in out
    settings = "--set data.image_column=file --set data.label_column=kind --set 'data.delimiter=;'"
    assert f"{settings} --freeze --test DIR\n" in out


@pytest.mark.parametrize(("words", "status", "message"), [
    ([], 2, "photographs are needed: lt-fast inspect DIR"),
    (["nowhere"], 3, r"nowhere cannot be read: No such file or directory; name a folder with one folder per class"),
    (["."], 3, r"must hold one folder per class, got none; put the images into"),
    ([".", "--burst-seconds", "soon"], 2, r"--burst-seconds must be .*'soon'"),
    ([".", "--burst-seconds", "-1"], 2, r"--burst-seconds must be .*, got -1"),
    (["photos", "--processes", "0"], 2, r"--processes must be an integer >= 1, got '0'"),
    ([".", "--quarantin", "x"], 2, r"has no option '--quarantin'; did you mean '--quarantine'\?"),
    (["photos", "--cache", "note.md"], 2, r"--cache must name a new file or one of lt-fast inspect, got note\.md"),
    (["photos", "--csv", "."], 2, r"--csv must name a file, got the folder \."),
    (["photos", "--quarantine", "note.md"], 3, r"--quarantine must name a folder, got the file note\.md"),
])  # fmt: skip
def test_wrong_words_are_one_line(tmp_path, monkeypatch, capsys, words, status, message):
    monkeypatch.chdir(tmp_path)
    if "photos" in words:
        folder_of(tmp_path / "photos", a=1)
    (tmp_path / "note.md").write_text("mine")
    found, _, err = inspect(capsys, *words)
    assert (found, err.count("\n")) == (status, 1)
    assert re.search(message, err), err


INTERRUPTED = """
import os, signal, sys
def hook(name, arguments):
    if name == "open" and "late" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
from lt_fast.cli import main
sys.exit(main())
"""


def test_an_interruption_ends_with_status_4_and_keeps_what_was_done(tmp_path):
    root = folder_of(tmp_path / "photos", a=70)
    picture(99).save(root / "a" / "the late one.png")
    words = ["inspect", str(root), "--cache", str(tmp_path / "c.sqlite"), "--processes", "1"]
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, "lt-fast: interrupted; the same command continues\n")
    with FactsCache(tmp_path / "c.sqlite") as known:
        found = [known.found(key_of(str(file))) is not None for file in sorted(root.rglob("*.png"))]
    assert found == [True] * 64 + [False] * 7  # two tasks of 32 files
    assert main([*words, "--quiet"]) == 0
