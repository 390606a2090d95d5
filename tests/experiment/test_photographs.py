"""The data set ``photographs``: reading, damaged files, duplicates, splits, and the same again for a run."""

import json
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

from experiment.photographs import COUNTS, write_photographs
from lt_fast.datasets import image_folder, write_image_list
from lt_fast.datasets.splits import write_images
from lt_fast.errors import DataError, UsageError
from lt_fast.experiment import photographs as module
from lt_fast.experiment.photographs import rows_of
from lt_fast.inspection import groups_of


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def photographs(*places, groups="duplicates", **options):
    """Read photographs; those of one colour look alike, and would all be one group."""
    return module.photographs(*places, groups=groups, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("soil") / "photos")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "photos")


def sizes(parts):
    return [part.class_counts.counts.tolist() for part in parts]


def test_a_folder_is_split_by_class(folder):
    train, test, validation = photographs(str(folder), validation=0.1)
    assert train.classes == test.classes == tuple(COUNTS)
    assert sizes((train, test, validation)) == [[9, 5, 3, 1], [2, 2, 1, 1], [1, 1, 1, 1]]
    assert train.protocol["damaged"] == {}


def test_without_validation_there_are_two_sets(folder):
    assert len(photographs(str(folder), validation=0)) == 2


def test_list_table_and_json_give_the_images_of_the_folder(folder, tmp_path):
    files = image_folder(folder)
    write_image_list(tmp_path / "list.txt", files.paths, files.labels)
    rows = "".join(f"{path},{files.classes[label]}\n" for path, label in zip(files.paths, files.labels, strict=True))
    (tmp_path / "table.csv").write_text("path,label\n" + rows)
    content = {
        "images": [{"id": at, "file_name": path} for at, path in enumerate(files.paths)],
        "annotations": [{"image_id": at, "category_id": int(label)} for at, label in enumerate(files.labels)],
        "categories": [{"id": at, "name": name} for at, name in enumerate(files.classes)],
    }
    (tmp_path / "file.json").write_text(json.dumps(content))
    of_folder = [list(part.paths) for part in photographs(str(folder))]
    for name in ("list.txt", "table.csv", "file.json"):
        parts = photographs(str(tmp_path / name), str(folder))
        assert [list(part.paths) for part in parts] == of_folder


def test_damaged_files_are_left_out_and_named(copy):
    (copy / "clay" / "000.jpg").write_bytes(b"")
    whole = (copy / "loam" / "001.jpg").read_bytes()
    (copy / "loam" / "001.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(
        UserWarning, match=r"2 of 28 images cannot be read and are left out \(clay/000.jpg, loam/001.jpg"
    ):
        parts = photographs(str(copy))
    assert list(parts[0].protocol["damaged"]) == ["clay/000.jpg", "loam/001.jpg"]
    assert "0 bytes" in parts[0].protocol["damaged"]["clay/000.jpg"]
    assert sum(len(part) for part in parts) == 26


def test_damaged_files_are_an_error_where_that_is_asked_for(copy):
    (copy / "clay" / "000.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"clay/000.jpg cannot be read .*damaged=exclude leaves them out"):
        photographs(str(copy), damaged="error")


def test_a_class_of_damaged_files_alone_is_an_error(copy):
    for file in (copy / "sand").iterdir():
        file.write_bytes(b"")
    with (
        pytest.raises(DataError, match="class 'sand' has no image that can be read"),
        pytest.warns(UserWarning, match="3 of 28"),
    ):
        photographs(str(copy))


def test_exact_duplicates_stay_together(copy):
    for number in range(6):
        shutil.copy(copy / "clay" / "000.jpg", copy / "clay" / f"copy{number}.jpg")
    for seed in range(4):
        parts = photographs(str(copy), validation=0.1, seed=seed)
        holding = [part for part in parts if any("copy" in path or path == "clay/000.jpg" for path in part.paths)]
        assert len(holding) == 1
    assert parts[0].protocol["groups"] == 1


def test_what_inspection_finds_stays_together(copy):
    for number in range(6):
        shutil.copy(copy / "clay" / "000.jpg", copy / "clay" / f"copy{number}.jpg")
        Image.open(copy / "clay" / "000.jpg").save(copy / "clay" / f"again{number}.png")
    parts = photographs(str(copy), groups="auto")
    groups = groups_of(image_folder(copy).paths, copy)
    by_path = dict(zip(image_folder(copy).paths, groups, strict=True))
    where = {path: number for number, part in enumerate(parts) for path in part.paths}
    for name in set(groups):
        assert len({where[path] for path, group in by_path.items() if group == name}) == 1
    assert by_path["clay/again0.png"] == by_path["clay/copy0.jpg"]


def test_a_test_set_of_its_own_takes_the_class_numbers_of_training(folder, tmp_path):
    test = write_photographs(tmp_path / "test", {"sand": 2, "clay": 1}, seed=9)
    with pytest.warns(UserWarning, match=r"2 of 4 classes have no test image \(loam, peat\)"):
        train, found = photographs(str(folder), test=str(test))
    assert len(train) == 28
    assert found.labels.tolist() == [0, 3, 3]
    assert (found.root / found.paths[0]).samefile(test / "clay" / "000.jpg")


def test_a_class_that_only_the_test_set_has_is_named(folder, tmp_path):
    test = write_photographs(tmp_path / "test", {"gravel": 2, "clay": 1}, seed=9)
    with pytest.raises(DataError, match="the folder's name must be a class of the training set, got 'gravel'"):
        photographs(str(folder), test=str(test))


def test_test_images_that_are_training_images_are_warned_of(folder):
    with pytest.warns(UserWarning, match="28 of 28 test images are in the training set too"):
        photographs(str(folder), test=str(folder))


def test_the_tail_can_be_made_longer(folder):
    train, _ = photographs(str(folder), imbalance_ratio=2, profile="step")
    assert train.class_counts.counts.tolist() == [2, 2, 1, 1]


def test_each_fold_tests_what_the_others_train_on(folder):
    tested = [photographs(str(folder), folds=3, fold=fold)[1].paths for fold in range(3)]
    every = [path for paths in tested for path in paths]
    assert len(set(every)) == len(every) == 28


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"path": ""}, UsageError, "path must name a folder"),
        ({"path": "nowhere"}, DataError, "nowhere is missing; name a folder with one folder per class"),
        ({"path": "nowhere.csv"}, DataError, "nowhere.csv is missing"),
        ({"damaged": "ignore"}, ValueError, "damaged must be one of exclude, error, got 'ignore'"),
        ({"groups": "some"}, ValueError, "groups must be one of auto, duplicates, none"),
        ({"test": "nowhere"}, DataError, "nowhere is missing"),
        ({"folds": 2, "fold": 0, "test": "."}, (UsageError, DataError), "."),
    ],
)
def test_a_wrong_argument_is_named(folder, arguments, error, words):
    with pytest.raises(error, match=words):
        photographs(**({"path": str(folder)} | arguments))


def test_a_file_of_another_kind_is_refused(folder):
    with pytest.raises(UsageError, match=r"must be a folder, LIST.txt, TABLE.csv or FILE.json, got the file"):
        photographs(str(folder / "clay" / "000.jpg"))


def begun(run, folder, **options):
    parts = photographs(str(folder), validation=0.1, **options)
    run.mkdir()
    write_images(run, rows_of(*parts))
    data = {"class_names": list(parts[0].classes), "construction": dict(parts[0].protocol)}
    (run / "protocol.json").write_text(json.dumps({"data": data}))
    return parts


def test_a_run_that_has_begun_has_the_same_images(folder, tmp_path):
    parts = begun(tmp_path / "run", folder, seed=5)
    again = photographs(str(folder), run=tmp_path / "run", seed=77)
    for one, other in zip(parts, again, strict=True):
        assert one.fingerprint == other.fingerprint
        assert np.array_equal(one.labels, other.labels)
        assert one.groups == other.groups


def test_a_moved_folder_is_named_again(copy, tmp_path):
    before = [part.fingerprint for part in begun(tmp_path / "run", copy)]
    copy.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"photos is missing, .* name their folder now with --root"):
        photographs(str(copy), run=tmp_path / "run")
    again = photographs(str(copy), str(tmp_path / "moved"), run=tmp_path / "run")
    assert [part.fingerprint for part in again] == before


def test_an_image_that_is_gone_is_named(copy, tmp_path):
    begun(tmp_path / "run", copy)
    (copy / "peat" / "002.jpg").unlink()
    with pytest.raises(DataError, match=r"peat/002.jpg of .*images.csv is missing"):
        photographs(str(copy), run=tmp_path / "run")


def test_nothing_is_warned_of_in_good_photographs(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photographs(str(folder), validation=0.1)
