"""Data sets of the ``datasets`` library on disk, as files and a table."""

import io

import numpy as np
import pytest
from PIL import Image

import datasets
from lt_fast.datasets.hugging_face import hugging_face_files, hugging_face_folder
from lt_fast.datasets.photographs import read_photographs
from lt_fast.errors import DataError, UsageError
from lt_fast.experiment.photographs import photographs


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


def encoded(number, kind):
    pixels = np.full((9, 7, 3), number, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture
def saved(tmp_path):
    classes = datasets.ClassLabel(names=["zebra", "ant/eater"])
    features = datasets.Features({"id": datasets.Value("int64"), "photo": datasets.Image(), "kind": classes})

    def rows(count):
        images = [{"bytes": encoded(20 * at, "PNG" if at % 2 else "JPEG"), "path": None} for at in range(count)]
        return datasets.Dataset.from_dict(
            {"id": list(range(count)), "photo": images, "kind": [at % 2 for at in range(count)]}, features=features
        )

    datasets.DatasetDict({"train": rows(10), "test": rows(4)}).save_to_disk(tmp_path / "saved")
    return f"hf:{tmp_path / 'saved'}"


def test_images_and_names_are_those_of_the_data_set(saved):
    files = read_photographs(saved)
    assert files.classes == ("ant/eater", "zebra")
    assert files.labels.tolist() == [1, 0] * 5
    assert files[3][0].getpixel((0, 0)) == (60, 60, 60)
    assert files.file(0).read_bytes() == encoded(0, "JPEG")
    assert [path[-4:] for path in files.paths[:2]] == [".jpg", ".png"]


def test_the_files_are_written_once(saved):
    table = hugging_face_files(saved)
    before = table.stat().st_mtime_ns
    assert hugging_face_files(saved) == table == hugging_face_folder(saved) / "table.csv"
    assert table.stat().st_mtime_ns == before


def test_a_split_is_named(saved):
    with pytest.warns(UserWarning, match="4 of 4 test images are in the training set too"):
        train, test = photographs(saved, test=f"{saved}#test", groups="none")
    assert (len(train), len(test)) == (10, 4)
    with pytest.raises(UsageError, match="split must be one of train, test, got 'tset'; did you mean 'test'"):
        read_photographs(f"{saved}#tset")


def test_a_data_set_that_is_not_there_is_answered_with_the_command_that_gets_it(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"is not on this machine .*datasets.load_dataset"):
        hugging_face_files(f"hf:{tmp_path / 'empty'}")


def test_columns_that_are_missing_are_named(tmp_path):
    datasets.Dataset.from_dict({"text": ["a"], "label": [0]}).save_to_disk(tmp_path / "texts")
    with pytest.raises(DataError, match="must have a column of images, got text, label"):
        hugging_face_files(f"hf:{tmp_path / 'texts'}")
