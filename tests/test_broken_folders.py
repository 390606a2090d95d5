"""Folders as they come: each is handled, or is one clear line and a next step, by the commands that a user types."""

import csv
import itertools
import json
import re
import shlex
import shutil
import sys
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from tests.inspection.conftest import cache_home, common_user, folder_of, picture

from experiment.photographs import NET
from lt_fast.cli import main
from lt_fast.experiment.photographs import photographs
from lt_fast.inspection import facts
from lt_fast.inspection.cache import FactsCache, default_cache, key_of

__all__ = ["cache_home", "common_user"]  # fixtures

# Whatever the folder: a network of two convolutions, one epoch, this process alone.
SHORT = ["--model", NET, "--set", "transform.size=16", "--threads", "1", "--no-plots"]


class Said(NamedTuple):
    """What a command said."""

    status: int
    out: str
    err: str

    @property
    def lines(self):
        """What it said to its user on stderr, without its own name."""
        return [line.removeprefix("lt-fast: ") for line in self.err.splitlines() if line.startswith("lt-fast: ")]

    @property
    def next(self):
        """The command that is to come next."""
        (found,) = re.findall(r"^next: lt-fast (.+)$", self.out, re.MULTILINE)
        return shlex.split(found)

    def line(self, label):
        return next(found[len(label) :].strip() for found in self.out.splitlines() if found.startswith(f"{label} "))


@pytest.fixture
def lt_fast(capfd):
    def run(*words):
        status = main([*map(str, words), "--quiet"])
        return Said(status, *capfd.readouterr())

    return run


@pytest.fixture
def train(lt_fast, tmp_path):
    """Train in a new folder, and return what was said and the run directory."""
    places = (tmp_path / f"run {number}" for number in itertools.count())

    def run(*words, place=None, epochs=1, workers=0):
        place = next(places) if place is None else place
        views = ["--set", "feature_views=1"] if "--freeze" in words else []
        words = (*words, *SHORT, *views, "--epochs", epochs, "--workers", workers, "--run", place)
        return lt_fast("train", *words), place

    return run


def split_of(run):
    """Path to part of every photograph of a run."""
    with (run / "images.csv").open(newline="") as file:
        return {row["path"]: row["split"] for row in csv.DictReader(file)}


def damaged_in(run):
    return json.loads((run / "protocol.json").read_text())["data"]["construction"]["damaged"]


def refused(said, words):
    """Hold a refusal to one line that matches."""
    assert said.status in (2, 3)
    (line,) = said.lines
    assert re.search(words, line), line


# ---- a good one ------------------------------------------------------------------------------------------------------


@pytest.fixture
def good(tmp_path):
    return folder_of(tmp_path / "my photos", oak=6, elm=5, ash=4)


def test_what_inspect_says_is_next_is_done(good, lt_fast, train):
    found = lt_fast("inspect", good)
    assert found.next == ["train", str(good), "--freeze", "--folds", "5"]
    said, run = train(*found.next[1:])
    assert (said.status, said.lines) == (0, []), said
    assert list(split_of(run).values()).count("test") == 15


def test_a_photograph_is_decoded_once_for_inspect_and_train(good, lt_fast, train, monkeypatch):
    lt_fast("inspect", good)
    monkeypatch.setattr(facts, "_facts", lambda *_: pytest.fail("decoded again"))
    assert train(good, "--freeze")[0].status == 0


def test_train_leaves_to_inspect_what_it_has_found(good, lt_fast, train, monkeypatch):
    assert train(good, "--freeze")[0].status == 0
    monkeypatch.setattr(facts, "_facts", lambda *_: pytest.fail("decoded again"))
    assert lt_fast("inspect", good).status == 0


def test_a_photograph_that_has_changed_since_is_decoded(good, lt_fast, train):
    lt_fast("inspect", good)
    (good / "ash" / "p000x.png").write_bytes(b"")
    said, run = train(good, "--freeze")
    assert said.status == 0
    assert damaged_in(run).keys() == {"ash/p000x.png"}


# ---- damaged files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(good):
    (good / "ash" / "zero.jpg").touch()
    whole = (good / "elm" / "p000x.png").read_bytes()
    (good / "elm" / "half.png").write_bytes(whole[: len(whole) // 2])
    return good


def test_damaged_files_are_left_out(damaged, lt_fast, train):
    found = lt_fast("inspect", damaged)
    assert found.line("damaged") == "2:"
    assert re.search(r"^  image .*/ash/zero\.jpg cannot be read .*: it has 0 bytes$", found.out, re.MULTILINE)
    assert re.search(r"^  image .*/elm/half\.png cannot be read \(OSError: .*; replace it", found.out, re.MULTILINE)
    assert re.search(r"^ash +#+ +4 ", found.out, re.MULTILINE)  # counted without them
    said, run = train(damaged, "--freeze")
    assert said.status == 0
    (line,) = said.lines
    assert line.startswith("warning: 2 of 17 images cannot be read and are left out (ash/zero.jpg, elm/half.png); the")
    assert len(split_of(run)) == 15
    assert damaged_in(run)["ash/zero.jpg"].startswith("image ash/zero.jpg cannot be read")


def test_damaged_files_are_refused_where_that_is_asked_for(damaged, train):
    said, run = train(damaged, "--freeze", "--set", "data.damaged=error")
    refused(said, r"ash/zero\.jpg cannot be read .* \(2 such images\); --set data\.damaged=exclude leaves them out$")
    assert not run.exists()


def test_a_class_of_damaged_files_alone(good, lt_fast, train):
    for file in (good / "ash").iterdir():
        file.write_bytes(b"")
    assert lt_fast("inspect", good).line("empty classes").startswith("ash;")
    said, _ = train(good, "--freeze")
    assert said.lines[-1] == "class 'ash' has no image that can be read; mend its images, or take the class out"


def test_nothing_that_can_be_read(tmp_path, lt_fast, train):
    root = folder_of(tmp_path / "photos", a=1, b=1)
    for file in root.rglob("*.png"):
        file.write_bytes(b"<html>")
    refused(lt_fast("inspect", root), r"none of its 2 photographs can be read; the first: image .* cannot be read")
    said, _ = train(root, "--freeze")
    assert said.status == 3
    assert re.search(r"holds no image that can be read, got 2 damaged ones; `lt-fast inspect .*` says", said.lines[-1])


# ---- classes ---------------------------------------------------------------------------------------------------------


def test_an_empty_class(good, lt_fast, train):
    (good / "void").mkdir()
    found = lt_fast("inspect", good)
    assert found.line("empty classes") == "void; remove the folders, or put images into them"
    assert re.search(r"^void +0 +- +-$", found.out, re.MULTILINE)
    assert found.line("profile").startswith("imbalance ratio 1.5;")
    refused(train(good, "--freeze")[0], r"/void holds no image; remove the folder, or put images into it$")


def test_one_image_per_class(tmp_path, lt_fast, train, good):
    root = folder_of(tmp_path / "photos", oak=1, elm=1, ash=1)
    found = lt_fast("inspect", root)
    assert re.search(r"^ash +#+ +1 +0 +- !$", found.out, re.MULTILINE)
    assert found.line("too small").startswith("3 classes with an interval of more than 25 points")
    assert found.next == ["train", str(root), "--freeze", "--test", "DIR"]
    assert "  --test DIR: every class is a single photograph or group" in found.out
    refused(train(root, "--freeze")[0], r"every class is a single image or group; name one with --test$")
    refused(
        train(root, "--freeze", "--folds", "5")[0], r"every class is a single image .*; name a test set with --test$"
    )
    said, run = train(*found.next[1:-1], good)
    assert said.status == 0
    assert sorted(split_of(run).values()) == ["test"] * 15 + ["train"] * 3


def test_as_many_folds_as_can_be_tested(tmp_path, lt_fast, train):
    root = folder_of(tmp_path / "photos", a=2, b=1)
    found = lt_fast("inspect", root)
    assert found.next[-2:] == ["--folds", "2"]
    assert train(*found.next[1:])[0].status == 0


def test_one_class(tmp_path, train):
    refused(train(folder_of(tmp_path, a=3), "--freeze")[0], r"holds one class, 'a', and .* name the folder that holds")


def test_a_class_that_only_the_test_set_has(good, tmp_path, train):
    test = folder_of(tmp_path / "test", oak=1, gravel=1)
    words = (
        r"must be a class of the training set, got 'gravel' \(3: ash, elm, oak\); take it out of --test, or put such"
    )
    refused(train(good, "--freeze", "--test", test)[0], rf"test/gravel: the folder's name {words}")
    (tmp_path / "t.csv").write_text("path,label\ntest/oak/p000x.png,oak\ntest/gravel/p000x.png,gravel\n")
    refused(train(good, "--freeze", "--test", tmp_path / "t.csv")[0], rf"t\.csv: line 3: label {words}")


def test_a_class_that_the_test_set_lacks_changes_no_number(good, tmp_path, train):
    test = folder_of(tmp_path / "test", oak=2)
    said, run = train(good, "--freeze", "--test", test)
    assert said.status == 0
    assert "warning: 2 of 3 classes have no test image (ash, elm): nothing is known about them" in said.lines
    assert json.loads((run / "protocol.json").read_text())["data"]["class_names"] == ["ash", "elm", "oak"]


def test_twenty_thousand_classes(tmp_path, lt_fast):
    """The files are few: what is tried is the classes, in the table and in the split."""
    for number in range(4):
        picture(number).save(tmp_path / f"{number}.png")
    rows = [f"{at % 4}.png {at // 2}\n" for at in range(40_000)]
    (tmp_path / "list.txt").write_text("".join(rows))
    found = lt_fast("inspect", tmp_path / "list.txt", "--picture", tmp_path / "tail.png")
    assert found.status == 0
    assert found.out.startswith(f"{tmp_path}/list.txt: 40,000 photographs in 20,000 classes\n")
    assert "... 19,976 more" in found.out
    assert len(found.out.splitlines()) < 60
    assert (tmp_path / "tail.png").stat().st_size > 1000
    with pytest.warns(UserWarning, match="has label 0 at line 1 and 2 at line 5, and 39995 more such pairs"):
        train, test = photographs(str(tmp_path / "list.txt"), groups="none")
    assert (train.labels.tolist(), test.labels.tolist()) == (list(range(20_000)), list(range(20_000)))


# ---- the same photograph twice ---------------------------------------------------------------------------------------


def test_copies_are_on_one_side(good, lt_fast, train):
    for number in range(4):
        shutil.copy(good / "oak" / "p000x.png", good / "oak" / f"copy{'abcd'[number]}z.png")
    assert lt_fast("inspect", good).line("copies").startswith("1 image in several files, 1 of them byte for byte")
    said, run = train(good, "--freeze")
    assert said.status == 0
    split = split_of(run)
    assert len({split[path] for path in split if "copy" in path or path == "oak/p000x.png"}) == 1


def test_test_photographs_that_are_trained_on_are_counted(good, tmp_path, train):
    test = folder_of(tmp_path / "test", oak=2)
    shutil.copy(good / "elm" / "p001x.png", test / "oak" / "again.png")
    said, _ = train(good, "--freeze", "--test", test)
    assert said.status == 0
    assert re.match(
        r"warning: 3 of 3 test images are in the training set too \(first .*again\.png\): .* flatters", said.lines[0]
    )


def test_one_photograph_in_two_classes(tmp_path, lt_fast):
    root = folder_of(tmp_path, oak=3, elm=3)
    (root / "elm" / "same.png").write_bytes((root / "oak" / "p001x.png").read_bytes())
    (root / "oak" / "copy.png").write_bytes((root / "oak" / "p002x.png").read_bytes())
    picture(0).resize((40, 40)).save(root / "elm" / "near.jpg")
    found = lt_fast("inspect", root)
    assert found.line("copies").startswith("2 images in several files, 2 of them byte for byte; 1 file can go")
    assert "  elm/same.png (elm), oak/p001x.png (oak)\n" in found.out
    near = found.line("near duplicates")
    assert re.search(r"^3 groups of 6 photographs, 2 of them in two classes|1 group of 2", near)
    assert found.line("keep together").startswith("6 photographs in 3 groups that must not be split")


def test_without_the_hash_exact_copies_are_known(good, train, cache_home, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagehash", None)
    shutil.copy(good / "oak" / "p000x.png", good / "oak" / "copyz.png")
    said, run = train(good, "--freeze")
    assert said.status == 0
    (line,) = said.lines
    assert re.search(
        r"needs imagehash, .* run: pip install 'lt-fast\[photos\]'; until then exact duplicates alone", line
    )
    split = split_of(run)
    assert split["oak/copyz.png"] == split["oak/p000x.png"]
    with FactsCache(default_cache(good)) as cache:
        assert cache.found(key_of(str(good / "oak" / "copyz.png"))) is None  # what lacks a hash is not remembered


# ---- pixels ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def deep(good):
    """Three photographs of 12 bits in 16."""
    for number in range(3):
        ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64) // (number + 1)
        Image.fromarray(ramp if number else ramp.T.copy()).save(good / "oak" / f"deep{'abc'[number]}z.png")
    return good


def test_sixteen_bits_of_which_twelve_are_used(deep, lt_fast):
    found = lt_fast("inspect", deep)
    assert found.line("modes") == "RGB 15, I;16 3"
    assert re.search(r"3; the first: image .*deepaz\.png has mode 'I;16' .* are 12-bit values", found.line("warnings"))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_it_is_said_once_for_all_epochs_and_workers(deep, lt_fast, train):
    said, run = train(deep, "--finetune", "--set", "data.groups=none", epochs=2, workers=2)
    assert said.status == 0, said
    (line,) = said.lines
    assert re.match(r"warning: 3 of 18 images are read with a remark; the first: image .*deepaz\.png has mode", line)
    assert line.endswith(f"; `lt-fast inspect {deep} --csv FILE` writes all into a table")
    (run / "result.json").unlink()
    again = lt_fast("train", "--resume", run, "--no-plots", "--workers", "0")
    assert (again.status, again.lines) == (0, [])


def test_photographs_on_their_side(good, lt_fast, train):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(99).crop((0, 0, 64, 32)).save(good / "oak" / "side.jpg", exif=exif)
    assert lt_fast("inspect", good).line("sizes").startswith("32 x 64 to 64 x 64")
    assert train(good, "--freeze")[0].lines == []


def test_damaged_exif_data(good, lt_fast, train):
    picture(99).save(good / "oak" / "odd.png", exif=b"garbage")
    words = r"image .*odd\.png: its EXIF data cannot be read .* the image is read as stored, perhaps not upright"
    assert re.search(words, lt_fast("inspect", good).line("warnings"))
    said, _ = train(good, "--freeze")
    assert said.status == 0
    (line,) = said.lines
    assert re.search(words, line)


@pytest.fixture
def heif(monkeypatch):
    """pillow-heif; ``None`` takes it away."""
    module = pytest.importorskip("pillow_heif")
    return lambda found: monkeypatch.setitem(sys.modules, "pillow_heif", module if found else None) or module


def write_heic(heif, file):
    heif(True).from_pillow(picture(7)).save(file, format="HEIF")


def test_heic_without_the_extra(good, lt_fast, train, heif):
    for name in ("1.heic", "2.HEIC"):
        write_heic(heif, good / "oak" / name)
    assert lt_fast("inspect", good).line("formats") == "PNG 15, HEIF 2"
    heif(False)
    found = lt_fast("inspect", good)
    assert found.line("passed over") == "2:"
    words = r"^  2 HEIC needs pillow-heif: pip install 'lt-fast\[photos\]' \(first 'oak/.\.(heic|HEIC)'\)$"
    assert re.search(words, found.out, re.MULTILINE)
    said, run = train(good, "--freeze")
    assert said.status == 0
    (line,) = said.lines
    assert re.search(r"passed over 2 files .* HEIC needs pillow-heif: pip install 'lt-fast\[photos\]'$", line)
    assert len(split_of(run)) == 15


def test_a_class_of_heic_alone_without_the_extra(good, train, heif):
    (good / "fir").mkdir()
    write_heic(heif, good / "fir" / "1.heic")
    heif(False)
    words = r"/fir holds no image, but 1 file .* HEIC needs pillow-heif: pip install 'lt-fast\[photos\]'; remove"
    refused(train(good, "--freeze")[0], words)


def test_heic_by_another_ending_without_the_extra(good, lt_fast, train, heif):
    write_heic(heif, good / "oak" / "phone.jpg")
    heif(False)
    assert re.search(r"^  image .*phone\.jpg is HEIC, which needs pillow-heif; run: pip", lt_fast("inspect", good).out,
                     re.MULTILINE)  # fmt: skip
    said, run = train(good, "--freeze")
    assert said.lines[0].startswith("warning: 1 of 16 images cannot be read and are left out (oak/phone.jpg)")
    assert "needs pillow-heif; run: pip" in damaged_in(run)["oak/phone.jpg"]


# ---- folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tops", "words"), [
    (("2023", "2024"), r"2023, 2024 hold folders of the same names \(a, \.\.\.\): .* name .*/2023"),
    (("train", "val"), r"the class folders are called train, val, as the parts of a data set are; .* name .*/train"),
    (("photos",), r"photos is the only class, and its images are in 2 folders \(a, \.\.\.\); .* name .*/photos"),
])  # fmt: skip
def test_a_folder_of_folders(tmp_path, lt_fast, train, tops, words):
    for number, name in enumerate(tops):
        folder_of(tmp_path / "photos" / name, a=3 + number, b=3)
    root = tmp_path / "photos"
    found = lt_fast("inspect", root)
    assert found.status == 0
    assert re.search(words, found.line("structure"))
    assert found.next == ["inspect", str(root / tops[0])]
    assert lt_fast(*found.next).next[:2] == ["train", str(root / tops[0])]
    said, _ = train(root, "--freeze", "--set", "data.groups=none")
    assert re.search(words, said.lines[0])
    assert said.status == (3 if len(tops) == 1 else 0)  # a classifier of one class is none


def test_images_in_no_class_folder(tmp_path, lt_fast, train):
    for number in range(3):
        picture(number).save(tmp_path / f"{number}.png")
    refused(
        lt_fast("inspect", tmp_path), r"must hold one folder per class, got none; it holds 3 images in no folder: put"
    )
    refused(
        train(tmp_path, "--freeze")[0], r"must hold one folder per class, got none; put the images into .*/<class>/"
    )


def test_no_right_to_read(lt_fast, train, common_user):
    """As a user whom rights bind: root may read everything."""
    root = folder_of(common_user / "photos", a=3, b=3, c=3)
    assert lt_fast("inspect", root, "--cache", common_user / "c.sqlite").status == 0
    (root / "a" / "p000x.png").chmod(0)
    found = lt_fast("inspect", root, "--cache", common_user / "c.sqlite")  # what it remembers is of no use now
    words = r"image .*a/p000x\.png cannot be read \(PermissionError.*chmod u\+r"
    assert re.search(f"^  {words}", found.out, re.MULTILINE)
    (root / "b").chmod(0)
    try:
        found = lt_fast("inspect", root, "--cache", "none")
        said, _ = train(root, "--freeze", place=common_user / "run")
    finally:
        (root / "b").chmod(0o700)
    assert found.status == 0
    assert "  1 cannot be opened; allow it: chmod -R u+rX (first 'b')" in found.out
    refused(said, r"photos/b cannot be read as a folder: Permission denied; allow it: chmod -R u\+rX .*/photos/b$")


def test_a_file_that_may_not_be_read(train, common_user, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(common_user / "cache"))
    root = folder_of(common_user / "photos", a=3, b=3)
    (root / "a" / "p000x.png").chmod(0)
    said, _ = train(root, "--freeze", place=common_user / "run")
    assert said.status == 0, said
    assert said.lines == [
        "warning: 1 of 6 images cannot be read and are left out (a/p000x.png); the run's protocol.json names them all"
    ]
    assert "chmod u+r" in damaged_in(common_user / "run")["a/p000x.png"]


def test_a_cache_that_cannot_be_written_stops_nothing(train, common_user, monkeypatch):
    (common_user / "cache" / "lt-fast" / "features").mkdir(parents=True)
    (common_user / "cache" / "lt-fast").chmod(0o500)
    monkeypatch.setenv("XDG_CACHE_HOME", str(common_user / "cache"))
    said, _ = train(folder_of(common_user / "photos", a=3, b=3), "--freeze", place=common_user / "run")
    (common_user / "cache" / "lt-fast").chmod(0o700)
    assert said.status == 0, said
    (line,) = said.lines
    assert re.search(r"inspect-\w+\.sqlite cannot be used .* name another folder with XDG_CACHE_HOME$", line)


def test_links_in_a_circle(good, lt_fast, train):
    (good / "oak" / "x").symlink_to(good / "oak" / "y")
    (good / "oak" / "y").symlink_to(good / "oak" / "x")
    (good / "oak" / "up").symlink_to(good)
    (good / "self").symlink_to("self")
    found = lt_fast("inspect", good)
    assert found.status == 0
    assert "  3 a link that leads in a circle; remove it (first '" in found.out
    assert "  1 a link to a folder that it is in; remove it (first 'oak/up')" in found.out
    assert "15 photographs in 3 classes\n" in found.out
    said, run = train(good, "--freeze")
    assert (said.status, said.lines) == (0, [])
    assert len(split_of(run)) == 15


def test_an_image_that_is_a_link_in_a_circle(good, lt_fast, train):
    (good / "oak" / "x.png").symlink_to("x.png")
    assert "  1 a link that leads in a circle; remove it (first 'oak/x.png')" in lt_fast("inspect", good).out
    refused(train(good, "--freeze")[0], r"oak/x\.png is no file, or a link to nothing; remove it, or mend the link$")


def test_the_folder_itself_is_a_link_in_a_circle(tmp_path, lt_fast, train):
    (tmp_path / "me").symlink_to("me")
    words = r"/me cannot be read: Too many levels of symbolic links; name a folder with one folder per class"
    refused(lt_fast("inspect", tmp_path / "me"), words)
    refused(train(tmp_path / "me", "--freeze")[0], words)


# ---- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "mark", "delimiter"), [("t.csv", "\t", "tab"), ("t.tsv", "\t", None)])
def test_a_table_with_columns_of_other_names(tmp_path, lt_fast, train, name, mark, delimiter):
    files = sorted(folder_of(tmp_path, a=3, b=3).rglob("*.png"))
    rows = [("file", "kind"), *((file.relative_to(tmp_path), file.parent.name) for file in files)]
    (tmp_path / name).write_text("".join(f"{path}{mark}{label}\n" for path, label in rows))
    table, options = tmp_path / name, [] if delimiter is None else ["--delimiter", delimiter]
    found = lt_fast("inspect", table, "--image-column", "file", "--label-column", "kind", *options)
    assert found.status == 0
    said, run = train(*found.next[1:])
    assert (said.status, said.lines) == (0, [])
    assert len(split_of(run)) == 6


def test_what_a_table_needs_is_named_as_options(tmp_path, train):
    (tmp_path / "t.csv").write_text("file;kind\na.png;oak\n")
    refused(train(tmp_path / "t.csv", "--freeze")[0], r"add --set 'data\.delimiter=;'$")
    (tmp_path / "t.csv").write_text("file,kind\na.png,oak\n")
    refused(train(tmp_path / "t.csv", "--freeze")[0], r"add --set data\.image_column=NAME")
    (tmp_path / "t.csv").write_text("path,label\na.png,oak\n")
    refused(
        train(tmp_path / "t.csv", "--freeze")[0], r"a\.png is missing .*; check --root, or take it out of the list$"
    )
