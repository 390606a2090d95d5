"""ImageNet-LT, Places-LT and iNaturalist 2018 in small: lists in their published places, and what is said of gaps."""

import re

import pytest

from experiment.large_scale import (
    CATEGORIES,
    COUNTS,
    NAMES,
    SPECIES,
    SYNSETS,
    write_imagenet_lt,
    write_inaturalist_2018,
    write_places_lt,
)
from lt_fast.datasets import imagenet_lt, inaturalist_2018, places_lt
from lt_fast.errors import DataError

SMALLER = pytest.mark.filterwarnings("ignore:.* is published with:UserWarning")


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    return {
        imagenet_lt: write_imagenet_lt(folder / "imagenet"),
        places_lt: write_places_lt(folder / "places"),
        inaturalist_2018: write_inaturalist_2018(folder / "inaturalist"),
    }


@SMALLER
@pytest.mark.parametrize(
    ("read", "classes"),
    [(imagenet_lt, SYNSETS), (places_lt, CATEGORIES), (inaturalist_2018, NAMES)],
)
def test_every_set_has_the_classes_of_the_training_set(roots, read, classes):
    train, test, validation = read(roots[read])
    assert train.class_counts.counts.tolist() == list(COUNTS)
    assert train.classes == test.classes == classes
    assert (validation is None) == (read is inaturalist_2018)
    for files in (train, test, *([] if validation is None else [validation])):
        assert files.missing().size == 0
        image, label = files[len(files) - 1]
        assert (image.mode, label) == ("RGB", 2)
    assert not set(train.paths) & set(test.paths)


@SMALLER
def test_a_list_of_inaturalist_is_its_json(roots, tmp_path):
    """Equal but for the names: a list tells folders, the JSON the names of the categories."""
    listed = inaturalist_2018(write_inaturalist_2018(tmp_path, as_json=False))
    for ours, theirs in zip(listed[:2], inaturalist_2018(roots[inaturalist_2018])[:2], strict=True):
        assert (ours.paths, ours.labels.tolist()) == (theirs.paths, theirs.labels.tolist())
    assert listed.train.classes == SPECIES


@SMALLER
def test_classes_keep_their_numbers_where_their_folders_do_not_name_them(tmp_path):
    root = write_imagenet_lt(tmp_path)
    path = root / "ImageNet_LT_train.txt"
    path.write_text(path.read_text().replace(f"{SYNSETS[1]}_0.JPEG 1", f"{SYNSETS[1]}_0.JPEG 0"))
    assert imagenet_lt(root).train.classes == ("0", "1", "2")


def test_other_sizes_than_the_published_ones_are_warned_of(roots):
    words = "imagenet-lt is published with 115,846 train, 50,000 test and 20,000 validation images of 1,000 classes, "
    with pytest.warns(UserWarning, match=f"{words}these lists have 21, 6 and 6 of 3: results do not compare"):
        imagenet_lt(roots[imagenet_lt])


@pytest.mark.parametrize(
    ("read", "name", "step"),
    [
        (imagenet_lt, "ImageNet_LT_train.txt", "classifier-balancing, data/ImageNet_LT, has the three lists"),
        (places_lt, "Places_LT_train.txt", "classifier-balancing, data/Places_LT, has the three lists"),
        (inaturalist_2018, "train2018.json", "visipedia/inat_comp, 2018, has them and the images"),
    ],
)
def test_without_lists_the_first_is_named_and_where_it_is_had_from(tmp_path, read, name, step):
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path / name))} is missing, .*{step}"):
        read(tmp_path)


@SMALLER
@pytest.mark.parametrize(
    ("read", "write", "gone"),
    [
        (imagenet_lt, write_imagenet_lt, "ImageNet_LT_val.txt"),
        (places_lt, write_places_lt, "Places_LT/Places_LT_test.txt"),
        (inaturalist_2018, write_inaturalist_2018, "val2018.json"),
    ],
)
def test_a_list_that_is_gone_is_named(tmp_path, read, write, gone):
    (write(tmp_path) / gone).unlink()
    with pytest.raises(DataError, match=f"{gone.rpartition('/')[2]} is missing, a list of {read.__name__[:6]}"):
        read(tmp_path)


@SMALLER
@pytest.mark.parametrize(
    ("read", "write", "words"),
    [
        (
            imagenet_lt,
            write_imagenet_lt,
            r"ImageNet_LT_test.txt: image .*ILSVRC2012_val_00000000.JPEG is missing \(1 of 6",
        ),
        (
            places_lt,
            write_places_lt,
            r"Places_LT_test.txt: image .*Places365_val_00000000.jpg is missing \(1 of 6 are\)",
        ),
        (inaturalist_2018, write_inaturalist_2018, r"val2018.json: image .*\.jpg is missing \(1 of 6 are\); root must"),
    ],
)
def test_an_image_that_is_gone_is_named_with_the_layout(tmp_path, read, write, words):
    test = read(write(tmp_path)).test
    test.file(0).unlink()
    with pytest.raises(DataError, match=words):
        read(tmp_path)
    assert len(read(tmp_path, verify=False).test) == 6


def test_a_label_that_training_does_not_have(tmp_path):
    with (write_imagenet_lt(tmp_path) / "ImageNet_LT_test.txt").open("a") as file:
        file.write("val/ILSVRC2012_val_00000000.JPEG 3\n")
    with pytest.raises(DataError, match=r"ImageNet_LT_test.txt: line 7: labels must lie in \[0, 3\) of classes, got 3"):
        imagenet_lt(tmp_path)
