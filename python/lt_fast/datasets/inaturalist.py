"""Read iNaturalist's JSON of images, annotations and categories."""

from collections import Counter
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from lt_fast._files import parse_json
from lt_fast.counts import EmptyPolicy
from lt_fast.datasets.classes import ClassesLike, GivenClasses, empty_policy, given_classes
from lt_fast.datasets.image_files import ImageFiles, Transform, checked_files, warn_of_contradictions
from lt_fast.datasets.paths import Paths
from lt_fast.datasets.regular_files import regular
from lt_fast.errors import DataError


def inaturalist(
    path: str | PathLike[str],
    root: str | PathLike[str] = "",
    *,
    classes: ClassesLike | None = None,
    empty: EmptyPolicy | None = None,
    verify: bool = True,
    transform: Transform | None = None,
) -> ImageFiles:
    """Read a year of iNaturalist: such as ``train2018.json`` with 437,513 images of 8,142 classes.

    The label of an image is the rank of its category's id among all ids, which is the id itself in 2018's files, where
    they run from 0 to 8141; ids that are strings of digits are ranked as numbers. The order is that of ``"images"``. A
    file numbers its own categories, so pass ``classes=train`` for every set but the training set.

    Args:
        path: JSON with ``"images"`` (``id``, ``file_name``), ``"annotations"`` (``image_id``, ``category_id``) and
            ``"categories"`` (``id``, ``name``). Without categories (a year's test of some mirrors) the ids that occur
            are the classes.
        root: folder that the file names start from.
        classes: names of the classes in the order of their numbers, or the training set that has them: categories are
            found by their names, whatever their ids. A category that is none of them may have no annotation.
        empty: ``"error"``, or ``"ignore"`` to let a category have no image, as in a part of the data. By default
            ``"ignore"`` with ``classes``, else ``"error"``.
        verify: look for every image: one question to the file system each.
        transform: called with each image.

    Raises:
        DataError: if the file cannot be read, is no such JSON, an image has no path, another's id, no annotation or
            several, an annotation names an unknown category or image, a category with images is none of ``classes``, a
            category has no image, or an image is missing.
        TypeError: if ``classes`` is not a sequence of strings.
        ValueError: if ``classes`` repeats a name.

    Source: Van Horn et al. 2018, arXiv:1707.06642; visipedia/inat_comp, 2018.

    >>> import json
    >>> from pathlib import Path
    >>> file = {"images": [{"id": 7, "file_name": "Plantae/7.jpg"}], "annotations": [{"image_id": 7, "category_id": 4}]}
    >>> file["categories"] = [{"id": 4, "name": "Quercus robur"}]
    >>> _ = Path("train.json").write_text(json.dumps(file))
    >>> files = inaturalist("train.json", verify=False)
    >>> files.paths[0], files.classes, files.labels
    ('Plantae/7.jpg', ('Quercus robur',), array([0]))
    """
    given, empty = given_classes(classes), empty_policy(empty, classes)
    content = _read(path)
    try:
        ids, names = _categories(content) if given is None else (_known(content, given), given.names)
        files = [(_file_name(image), image["id"]) for image in content["images"]]
        labels = _labels(content["annotations"], [image for _, image in files], ids)
        images = ImageFiles(Paths(name for name, _ in files), labels, names, Path(root), transform)
    except (KeyError, TypeError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else f"another shape: {error}"
        raise DataError(
            f'{path} must hold "images" with id and file_name, "annotations" with image_id and category_id, got {found}'
        ) from None
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    warn_of_contradictions(images, source=str(path), where=lambda at: f"image {files[at][1]}")
    return checked_files(images, source=str(path), empty=empty, verify=verify, where=lambda at: f"image {files[at][1]}")


def _read(path: str | PathLike[str]) -> Mapping[str, Any]:
    try:
        content = parse_json(regular(Path(path)).read_bytes(), strict=False)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, Mapping):
        raise DataError(f"{path} must hold a JSON object, got a {type(content).__name__}")
    return content


def _categories(content: Mapping[str, Any]) -> tuple[dict[Any, int], tuple[str, ...]]:
    """Return category id to class number, and the classes' names."""
    named = _named(content)
    names = _distinct(named)
    return {number: rank for rank, number in enumerate(named)}, tuple(names.values())


def _known(content: Mapping[str, Any], given: GivenClasses) -> dict[Any, int]:
    """Return category id to number in ``given``, for the categories that are there."""
    if content.get("categories") is None and not given.positions():
        raise ValueError(
            'without "categories" the names of the classes are unknown, and classes cannot be looked up; add '
            '"categories" with id and name, as in the training set\'s file'
        )
    named = _named(content)
    number = given.lookup()
    found = {each: number(name) for each, name in _distinct(named).items()}
    # Another file may need the id to tell two categories of one name apart, where this one does not.
    found = {each: number(f"{named[each]} ({each})") if place is None else place for each, place in found.items()}
    used = (annotation["category_id"] for annotation in content["annotations"])
    stranger = next((each for each in used if each in found and found[each] is None), None)
    if stranger is not None:
        raise ValueError(f"category {stranger!r} {given.describe_unknown(_distinct(named)[stranger])}")
    return {each: place for each, place in found.items() if place is not None}


def _named(content: Mapping[str, Any]) -> dict[Any, str]:
    """Return category id to name, sorted by id."""
    listed = content.get("categories")
    if listed is None:
        named = {annotation["category_id"]: str(annotation["category_id"]) for annotation in content["annotations"]}
        return {number: named[number] for number in _ranked(named)}
    named = {category["id"]: _name(category) for category in listed}
    if len(named) != len(listed):
        raise ValueError(f"categories must have distinct ids, got {len(listed)} with {len(named)} ids")
    return {number: named[number] for number in _ranked(named)}


def _name(category: Mapping[str, Any]) -> str:
    name = category.get("name")
    return str(category["id"] if name is None else name)


def _ranked(ids: Iterable[Any]) -> list[Any]:
    known = list(ids)
    if all(isinstance(each, str) and each.isascii() and each.isdigit() for each in known):
        return sorted(known, key=lambda each: (int(each), each))
    return sorted(known)


def _distinct(named: Mapping[Any, str]) -> dict[Any, str]:
    """Return category id to name, with the id where two share one."""
    seen = Counter(named.values())
    return {each: name if seen[name] == 1 else f"{name} ({each})" for each, name in named.items()}


def _file_name(image: Mapping[str, Any]) -> str:
    name = image["file_name"]
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"file_name must be a path, got {name!r} for image {image['id']!r}")
    return name


def _labels(annotations: Any, images: list[Any], classes: Mapping[Any, int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    label: dict[Any, int] = {}
    for annotation in annotations:
        image, category = annotation["image_id"], annotation["category_id"]
        if category not in classes:
            raise ValueError(f"annotations must name a known category, got {category!r} for image {image!r}")
        if label.setdefault(image, classes[category]) != classes[category]:
            raise ValueError(f"annotations must give an image one category, got two for image {image!r}")
    repeated = next((image for image, times in Counter(images).items() if times > 1), None)
    if repeated is not None:
        raise ValueError(f"images must have distinct ids, got {repeated!r} twice")
    bare = next((image for image in images if image not in label), None)
    if bare is not None or not images:
        raise ValueError(f"annotations must give every image a category, got none for image {bare!r}")
    known = set(images)
    strangers = [image for image in label if image not in known]
    if strangers:
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        raise ValueError(
            f"annotations must be of images that the file lists, got one of image {strangers[0]!r}{more}; add it to "
            '"images", or take the annotation out'
        )
    return np.array([label[image] for image in images], dtype=np.int64)
