"""iNaturalist's JSON, in excerpts of the shape of 2018's and 2021's files."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_fast.datasets import inaturalist
from lt_fast.errors import DataError

EXCERPT: dict[str, Any] = {
    "info": {"year": 2018},
    "images": [
        {"id": 30, "file_name": "train_val2018/Aves/2761/0568.jpg", "width": 800, "height": 533, "license": 3},
        {"id": 10, "file_name": "train_val2018/Plantae/7477/3b60.jpg", "width": 600, "height": 800, "license": 3},
        {"id": 20, "file_name": "train_val2018/Aves/2761/9d3b.jpg", "width": 800, "height": 600, "license": 1},
    ],
    "annotations": [
        {"id": 1, "image_id": 10, "category_id": 2},
        {"id": 2, "image_id": 20, "category_id": 0},
        {"id": 3, "image_id": 30, "category_id": 0},
    ],
    "categories": [
        {"id": 0, "name": "Corvus corax", "supercategory": "Aves"},
        {"id": 2, "name": "Acer", "supercategory": "Plantae"},
    ],
}


def written(folder: Path, **changes: Any) -> Path:
    content = {name: value for name, value in {**EXCERPT, **changes}.items() if value is not None}
    path = folder / "train.json"
    path.write_text(json.dumps(content))
    return path


def test_reads_an_excerpt(tmp_path: Path) -> None:
    files = inaturalist(written(tmp_path), "photos", verify=False)
    assert list(files.paths) == [image["file_name"] for image in EXCERPT["images"]]
    assert files.labels.tolist() == [0, 1, 0]
    assert files.classes == ("Corvus corax", "Acer")
    assert files.class_counts.counts.tolist() == [2, 1]
    assert files.file(0) == Path("photos/train_val2018/Aves/2761/0568.jpg")


def test_equal_names_get_their_id(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "Iris"}, {"id": 1, "name": "Lynx"}, {"id": 2, "name": "Iris"}]
    files = inaturalist(written(tmp_path, categories=categories), verify=False, empty="ignore")
    assert files.classes == ("Iris (0)", "Lynx", "Iris (2)")
    assert files.class_counts.counts.tolist() == [2, 0, 1]


def test_without_categories_the_ids_are_the_names(tmp_path: Path) -> None:
    files = inaturalist(written(tmp_path, categories=None), verify=False)
    assert (files.classes, files.labels.tolist()) == (("0", "2"), [0, 1, 0])


def test_the_same_annotation_twice_is_harmless(tmp_path: Path) -> None:
    twice = EXCERPT["annotations"] * 2
    assert len(inaturalist(written(tmp_path, annotations=twice), verify=False)) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "got no 'images'"),
        ({"annotations": None}, "got no 'annotations'"),
        ({"images": [{"id": 1}]}, "got no 'file_name'"),
        ({"annotations": [{"image_id": 10}]}, "got no 'category_id'"),
        ({"images": 7}, "got another shape: 'int' object is not iterable"),
        ({"images": []}, "must give every image a category"),
        ({"images": [{"id": 10, "file_name": None}]}, "file_name must be a path, got None for image 10"),
        ({"images": [{"id": 10, "file_name": ""}]}, "file_name must be a path, got '' for image 10"),
        ({"images": [{"id": 10, "file_name": "a\0"}]}, "file_name must be a path, got 'a\\x00' for image 10"),
        ({"images": EXCERPT["images"] * 2}, "images must have distinct ids, got 30 twice"),
        ({"annotations": EXCERPT["annotations"][:2]}, "must give every image a category, got none for image 30"),
        (
            {"annotations": [*EXCERPT["annotations"], {"image_id": 10, "category_id": 0}]},
            "must give an image one category, got two for image 10",
        ),
        (
            {"annotations": [*EXCERPT["annotations"], {"image_id": 40, "category_id": 0}]},
            'of images that the file lists, got one of image 40; add it to "images", or take the annotation out',
        ),
        (
            {"images": EXCERPT["images"][:1]},
            "must be of images that the file lists, got one of image 10 and 1 more; add it",
        ),
        (
            {"annotations": [{"image_id": 10, "category_id": 5}]},
            "must name a known category, got 5 for image 10",
        ),
        ({"categories": EXCERPT["categories"] * 2}, "must have distinct ids, got 4 with 2 ids"),
        (
            {"categories": [*EXCERPT["categories"], {"id": 1, "name": "Lynx"}]},
            "every class from 0 to 2, got no image of class 1 (Lynx)",
        ),
    ],
)
def test_bad_content_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=r"train\.json.*" + re.escape(message)):
        inaturalist(written(tmp_path, **changes), verify=False)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.json: image 30: image .*0568\.jpg is missing \(3 of 3 are\)"):
        inaturalist(written(tmp_path), tmp_path)


SMALL = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.text("ab", max_size=2) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "file_name", "name", "image_id", "category_id"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["images", "annotations", "categories"]), SMALL | st.lists(SMALL, max_size=3)))
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("json") / "train.json"
    path.write_text(json.dumps(content))
    try:
        files = inaturalist(path, verify=False, empty="ignore")
    except DataError as error:
        assert str(error).startswith(str(path))  # noqa: PT017  (either way is right)
    else:
        assert len(files) == files.class_counts.total > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "is not JSON: "), (b"[1]", "must hold a JSON object, got a list"), (b"\xff", "is not JSON"),
     (b"[" * 100_000, "is not JSON: ")],
)  # fmt: skip
def test_no_such_json(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "train.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        inaturalist(tmp_path / "train.json")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.json cannot be read: No such file"):
        inaturalist(tmp_path / "train.json")


def test_a_test_file_keeps_the_numbers_of_training(tmp_path: Path) -> None:
    train = inaturalist(written(tmp_path), verify=False)
    part = {"images": EXCERPT["images"][1:2], "annotations": [{"image_id": 10, "category_id": 7}]}
    path = written(tmp_path, **part, categories=[{"id": 7, "name": "Acer"}, {"id": 9, "name": "Not seen"}])
    for classes in (train, train.classes):
        test = inaturalist(path, classes=classes, verify=False)  # other ids, another order: found by name
        assert (test.classes, test.labels.tolist()) == (("Corvus corax", "Acer"), [1])
    with pytest.raises(DataError, match=r"got no image of class 0 \(Corvus corax\)"):
        inaturalist(path, classes=train, empty="error", verify=False)
    with pytest.raises(
        DataError, match=r"train\.json: category 7 must be one of classes, got 'Acer' \(1: Corvus corax\)"
    ):
        inaturalist(path, classes=["Corvus corax"], verify=False)


def test_equal_names_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    classes = ("Iris (0)", "Lynx", "Iris (2)")
    assert inaturalist(written(tmp_path, categories=[{"id": 0, "name": "Iris"}, {"id": 2, "name": "Lynx"}]),
                       classes=classes, verify=False).labels.tolist() == [0, 1, 0]  # fmt: skip
    path = written(tmp_path, categories=[{"id": 0, "name": "Iris"}, {"id": 2, "name": "Iris"}])
    assert inaturalist(path, classes=classes, verify=False).labels.tolist() == [0, 2, 0]
    with pytest.raises(DataError, match=r"got 'Iris \(2\)'; did you mean 'Iris'"):
        inaturalist(path, classes=["Iris", "Lynx"], verify=False)


def test_without_categories_classes_need_names(tmp_path: Path) -> None:
    path = written(tmp_path, categories=None)
    assert inaturalist(path, classes=["0", "1", "2"], verify=False).labels.tolist() == [0, 2, 0]
    with pytest.raises(DataError, match='classes cannot be looked up; add "categories" with id and name'):
        inaturalist(path, classes=["crow", "maple"], verify=False)
    with pytest.raises(DataError, match=r"category 2 must be one of classes, got '2' \(2: 0, 1\)"):
        inaturalist(path, classes=["0", "1"], verify=False)


def test_ids_of_digits_are_ranked_as_numbers(tmp_path: Path) -> None:
    notes = [{"image_id": image, "category_id": each} for image, each in ((30, "10"), (10, "2"), (20, "2"))]
    categories = [{"id": "10", "name": "Acer"}, {"id": "2", "name": "Lynx"}]
    files = inaturalist(written(tmp_path, annotations=notes, categories=categories), verify=False)
    assert (files.classes, files.labels.tolist()) == (("Lynx", "Acer"), [1, 0, 0])
    assert inaturalist(written(tmp_path, annotations=notes, categories=None), verify=False).classes == ("2", "10")


def test_a_file_with_two_labels_is_warned_of(tmp_path: Path) -> None:
    images = [{"id": each, "file_name": "a.jpg" if each != 20 else "b.jpg"} for each in (30, 10, 20)]
    with pytest.warns(
        UserWarning, match=r"image 'a\.jpg' has label 0 at image 30 and 1 at image 10; keep the right one"
    ):
        inaturalist(written(tmp_path, images=images), verify=False)
