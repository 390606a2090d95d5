"""``lt-fast inspect``: broken folders are one clear line and a next step, or handled; files, JSON, interruptions."""

import csv
import json
import os
import re
import subprocess
import sys

import numpy as np
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


# The broken folders.


def test_damaged_files_are_named(tmp_path, capsys):
    root = folder_of(tmp_path, a=3, b=3)
    (root / "a" / "zero.jpg").touch()
    whole = (root / "b" / "p000x.png").read_bytes()
    (root / "b" / "half.png").write_bytes(whole[: len(whole) // 2])
    status, out, _ = inspect(capsys, root)
    assert status == 0
    assert line(out, "damaged") == "2:"
    assert re.search(r"^  image .*/a/zero\.jpg cannot be read .*: it has 0 bytes$", out, re.MULTILINE)
    assert re.search(r"^  image .*/b/half\.png cannot be read \(OSError: .*; replace it", out, re.MULTILINE)
    assert re.search(r"^a +#+ +3 ", out, re.MULTILINE)  # counted without them


def test_an_empty_class(tmp_path, capsys):
    root = folder_of(tmp_path, a=3, b=2)
    (root / "void").mkdir()
    status, out, _ = inspect(capsys, root)
    assert status == 0
    assert line(out, "empty classes") == "void; remove the folders, or put images into them"
    assert re.search(r"^void +0 +- +-$", out, re.MULTILINE)
    assert line(out, "profile").startswith("imbalance ratio 1.5;")


def test_one_image_per_class(tmp_path, capsys):
    status, out, _ = inspect(capsys, folder_of(tmp_path, a=1, b=1, c=1))
    assert status == 0
    assert re.search(r"^a +#+ +1 +0 +- !$", out, re.MULTILINE)
    assert line(out, "too small").startswith("3 classes with an interval of more than 25 points")


def test_sixteen_bits_of_which_twelve_are_used(tmp_path, capsys):
    root = folder_of(tmp_path, a=2)
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(root / "a" / "deep.png")
    status, out, _ = inspect(capsys, root)
    assert status == 0
    assert line(out, "modes") == "RGB 2, I;16 1"
    assert re.search(r"1; the first: image .*deep\.png has mode 'I;16' .* are 12-bit values", line(out, "warnings"))


def test_photographs_on_their_side_are_measured_upright(tmp_path, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    root = folder_of(tmp_path, a=1)
    picture(9).crop((0, 0, 64, 32)).save(root / "a" / "side.jpg", exif=exif)
    status, out, _ = inspect(capsys, root)
    assert status == 0
    assert line(out, "sizes").startswith("32 x 64 to 64 x 64")


def test_heic_without_the_extra(tmp_path, capsys, monkeypatch):
    heif = pytest.importorskip("pillow_heif")
    root = folder_of(tmp_path, a=2)
    for name in ("1.heic", "2.HEIC"):
        heif.from_pillow(picture(7)).save(root / "a" / name, format="HEIF")
    assert line(inspect(capsys, root)[1], "formats") == "HEIF 2, PNG 2"
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    status, out, _ = inspect(capsys, root)
    assert status == 0
    assert line(out, "passed over") == "2:"
    assert re.search(r"^  2 HEIC needs pillow-heif: pip install 'lt-fast\[photos\]' \(first 'a/.\.(heic|HEIC)'\)$", out,
                     re.MULTILINE)  # fmt: skip


def test_a_folder_of_folders(tmp_path, capsys):
    folder_of(tmp_path / "photos" / "2023", a=1, b=1)
    folder_of(tmp_path / "photos" / "2024", a=2, b=1)
    status, out, _ = inspect(capsys, tmp_path / "photos")
    assert status == 0
    assert re.search(
        r"2023, 2024 hold folders of the same names \(a, \.\.\.\): .* inspect .*2023", line(out, "structure")
    )


def test_no_read_permission(common_user, capsys):
    root = folder_of(common_user / "photos", a=2, b=2, c=1)
    (root / "b").chmod(0)
    (root / "a" / "p000x.png").chmod(0)
    try:
        status, out, _ = inspect(capsys, root, "--cache", "none")
    finally:
        (root / "b").chmod(0o700)
    assert status == 0
    assert "  1 cannot be opened; allow it: chmod -R u+rX (first 'b')" in out
    assert re.search(r"^  image .*a/p000x\.png cannot be read \(PermissionError.*chmod u\+r", out, re.MULTILINE)


def test_links_in_a_circle(tmp_path, capsys):
    root = folder_of(tmp_path, a=2)
    (root / "a" / "x").symlink_to(root / "a" / "y")
    (root / "a" / "y").symlink_to(root / "a" / "x")
    (root / "a" / "up").symlink_to(root)
    status, out, _ = inspect(capsys, root)
    assert status == 0
    assert "  2 a link that leads in a circle; remove it (first 'a/" in out
    assert "  1 a link to a folder that it is in; remove it (first 'a/up')" in out
    assert "2 photographs in 1 class\n" in out


def test_twenty_thousand_classes(tmp_path, capsys):
    picture(0).save(tmp_path / "x.png")
    (tmp_path / "list.txt").write_text("".join(f"x.png {at}\n" for at in range(20_000)))
    status, out, err = inspect(capsys, tmp_path / "list.txt", "--picture", tmp_path / "tail.png")
    assert status == 0
    assert "image 'x.png' has label 0 at line 1 and 1 at line 2, and 19998 more such pairs" in err
    assert out.startswith(f"{tmp_path}/list.txt: 20,000 photographs in 20,000 classes\n")
    assert "... 19,976 more" in out
    assert len(out.splitlines()) < 60
    assert (tmp_path / "tail.png").stat().st_size > 1000


def test_one_image_under_two_labels(tmp_path, capsys):
    root = folder_of(tmp_path, oak=3, elm=3)
    (root / "elm" / "same.png").write_bytes((root / "oak" / "p001x.png").read_bytes())
    (root / "oak" / "copy.png").write_bytes((root / "oak" / "p002x.png").read_bytes())
    picture(0).resize((40, 40)).save(root / "elm" / "near.jpg")
    status, out, _ = inspect(capsys, root)
    assert status == 0
    assert line(out, "copies").startswith("2 images in several files, 2 of them byte for byte; 1 file can go")
    assert "  elm/same.png (elm), oak/p001x.png (oak)\n" in out
    assert re.search(r"^3 groups of 6 photographs, 2 of them in two classes|1 group of 2", line(out, "near duplicates"))
    assert line(out, "keep together").startswith("6 photographs in 3 groups that must not be split")


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
    assert "--image-column file --label-column kind --delimiter ';' --freeze --folds 5" in out


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
