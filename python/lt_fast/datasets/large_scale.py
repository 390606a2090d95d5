"""ImageNet-LT, Places-LT and iNaturalist 2018: their published lists and images on disk. Nothing is downloaded."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from lt_fast.datasets.image_files import ImageFiles
from lt_fast.datasets.image_lists import image_list
from lt_fast.datasets.inaturalist import inaturalist
from lt_fast.errors import DataError

_LISTS = "https://github.com/facebookresearch/classifier-balancing"


class Published(NamedTuple):
    """The three sets of a data set; ``validation`` is None where its authors published no third list.

    >>> sets = [ImageFiles([f"{name}/1.jpg"], [0], ("oak",)) for name in ("train", "test")]
    >>> data = Published(*sets)
    >>> data.train.classes, data.validation
    (('oak',), None)
    """

    train: ImageFiles
    test: ImageFiles
    validation: ImageFiles | None = None


class _Edition(NamedTuple):
    """One way in which the lists are published: split to file name, and the place where they are had from."""

    files: Mapping[str, str]
    had_from: str


class _DataSet(NamedTuple):
    """What is known of a data set.

    Attributes:
        name: in configurations.
        editions: of its lists; the first that is there is read.
        folder: below the root, where lists are looked for, too.
        images: split to the number of images that the published list has.
        classes: of the published lists.
        layout: how the images lie, and where they are had from.
    """

    name: str
    editions: tuple[_Edition, ...]
    folder: str
    images: Mapping[str, int]
    classes: int
    layout: str


def _three_lists(stem: str) -> _Edition:
    files = {"train": "train", "test": "test", "validation": "val"}
    return _Edition(
        {split: f"{stem}_{word}.txt" for split, word in files.items()}, f"{_LISTS}, data/{stem}, has the three lists"
    )


_IMAGENET_LT = _DataSet(
    "imagenet-lt",
    (_three_lists("ImageNet_LT"),),
    "ImageNet_LT",
    {"train": 115_846, "test": 50_000, "validation": 20_000},
    1000,
    "root must hold the images of ILSVRC 2012 (https://image-net.org): train/<synset>/ and val/, whose images lie in "
    "one folder as they come",
)
_PLACES_LT = _DataSet(
    "places-lt",
    (_three_lists("Places_LT"),),
    "Places_LT",
    {"train": 62_500, "test": 36_500, "validation": 7_300},
    365,
    "root must hold the images of Places365-Standard, the 256 x 256 edition (http://places2.csail.mit.edu): "
    "train/<category>/ and val/",
)
_INATURALIST_2018 = _DataSet(
    "inaturalist-2018",
    (
        _Edition(
            {"train": "train2018.json", "test": "val2018.json"},
            "https://github.com/visipedia/inat_comp, 2018, has them and the images",
        ),
        _Edition(
            {"train": "iNaturalist18_train.txt", "test": "iNaturalist18_val.txt"},
            f"{_LISTS}, data/iNaturalist18, has the lists",
        ),
    ),
    "iNaturalist18",
    {"train": 437_513, "test": 24_426},
    8142,
    "root must hold the images of iNaturalist 2018 (https://github.com/visipedia/inat_comp): train_val2018/",
)

TRAINING_IMAGES = {each.name: each.images["train"] for each in (_IMAGENET_LT, _PLACES_LT, _INATURALIST_2018)}
"""Data set to the length of its published training list."""


def imagenet_lt(root: str | PathLike[str], *, verify: bool = True) -> Published:
    r"""Return ImageNet-LT: 115,846 training images of 1,000 classes, 1,280 to 5 per class.

    20,000 images are for validation, 50,000 for test.

    Args:
        root: folder of ILSVRC 2012, ``train/<synset>/*.JPEG`` and ``val/*.JPEG``, and in it or in ``ImageNet_LT/`` the
            lists ``ImageNet_LT_train.txt``, ``ImageNet_LT_val.txt``, ``ImageNet_LT_test.txt``.
        verify: look for every image: one question to the file system each.

    Classes are named after the folders of their training images.

    Raises:
        DataError: if a list or an image is missing, or a list is wrong; says where it is had from.

    Warns:
        UserWarning: if the lists have other numbers of images or classes than the published ones.

    Source: Liu et al. 2019, arXiv:1904.05160; lists in facebookresearch/classifier-balancing, data/ImageNet_LT.

    >>> import warnings
    >>> for part in ("train", "val", "test"):
    ...     _ = Path(f"ImageNet_LT_{part}.txt").write_text(f"{part}/n01440764/1.JPEG 0\n")
    >>> with warnings.catch_warnings(action="ignore"):  # a list of one image is not the published one
    ...     train, test, validation = imagenet_lt(".", verify=False)
    >>> len(train), train.classes, test.paths[0]
    (1, ('n01440764',), 'test/n01440764/1.JPEG')
    """
    return _read(_IMAGENET_LT, Path(root), verify=verify)


def places_lt(root: str | PathLike[str], *, verify: bool = True) -> Published:
    r"""Return Places-LT: 62,500 training images of 365 classes, 4,980 to 5 per class.

    7,300 images are for validation, 36,500 for test.

    Args:
        root: folder of Places365-Standard, ``train/<category>/*.jpg`` and ``val/*.jpg``, and in it or in ``Places_LT/``
            the lists ``Places_LT_train.txt``, ``Places_LT_val.txt``, ``Places_LT_test.txt``.
        verify: as ``imagenet_lt``.

    Raises:
        DataError: as ``imagenet_lt``.

    Warns:
        UserWarning: as ``imagenet_lt``.

    Source: Liu et al. 2019, arXiv:1904.05160; lists in facebookresearch/classifier-balancing, data/Places_LT.

    >>> import warnings
    >>> for part in ("train", "val", "test"):
    ...     _ = Path(f"Places_LT_{part}.txt").write_text(f"{part}/airfield/1.jpg 0\n")
    >>> with warnings.catch_warnings(action="ignore"):  # a list of one image is not the published one
    ...     train, test, validation = places_lt(".", verify=False)
    >>> len(train), train.classes, test.paths[0]
    (1, ('airfield',), 'test/airfield/1.jpg')
    """
    return _read(_PLACES_LT, Path(root), verify=verify)


def inaturalist_2018(root: str | PathLike[str], *, verify: bool = True) -> Published:
    r"""Return iNaturalist 2018: 437,513 training images of 8,142 classes, 1,000 to 2 per class, and 24,426 for test.

    The test set is the published validation set, three images per class, as in every paper on long tails: the labels of
    the competition's own test set were never published. So there is no validation set.

    Args:
        root: folder of ``train_val2018/``, and in it or in ``iNaturalist18/`` the files ``train2018.json`` and
            ``val2018.json``, or ``iNaturalist18_train.txt`` and ``iNaturalist18_val.txt``, made of them.
        verify: as ``imagenet_lt``.

    Raises:
        DataError: as ``imagenet_lt``.

    Warns:
        UserWarning: as ``imagenet_lt``.

    Source: Van Horn et al. 2018, arXiv:1707.06642; visipedia/inat_comp, 2018. The text lists are those of
    facebookresearch/classifier-balancing, data/iNaturalist18.

    >>> import warnings
    >>> for part in ("train", "val"):
    ...     _ = Path(f"iNaturalist18_{part}.txt").write_text("train_val2018/Plantae/7.jpg 0\n")
    >>> with warnings.catch_warnings(action="ignore"):  # a list of one image is not the published one
    ...     train, test, validation = inaturalist_2018(".", verify=False)
    >>> len(train), test.paths[0], validation
    (1, 'train_val2018/Plantae/7.jpg', None)
    """
    return _read(_INATURALIST_2018, Path(root), verify=verify)


def _read(kind: _DataSet, root: Path, *, verify: bool) -> Published:
    lists = _lists(kind, root)
    train = _files(lists["train"], root, None)
    if lists["train"].suffix == ".txt":
        train = _named(train)
    others = {split: _files(path, root, train) for split, path in lists.items() if split != "train"}
    sets = {"train": train, **others}
    for split, files in sets.items() if verify else ():
        _refuse_missing(kind, lists[split], files)
    _warn_of_other_sizes(kind, sets)
    return Published(train, others["test"], others.get("validation"))


def _lists(kind: _DataSet, root: Path) -> dict[str, Path]:
    """Return the file of every split, of the first edition that is there.

    Raises:
        DataError: if a file is missing.
    """
    places = (root, root / kind.folder)
    for edition in kind.editions:
        found = {
            split: next((place / name for place in places if (place / name).is_file()), None)
            for split, name in edition.files.items()
        }
        lists = {split: path for split, path in found.items() if path is not None}
        if len(lists) == len(found):
            return lists
        if lists:
            lacking = next(name for split, name in edition.files.items() if split not in lists)
            raise DataError(_missing_list(kind, edition, root, lacking))
    first = kind.editions[0]
    raise DataError(_missing_list(kind, first, root, first.files["train"]))


def _missing_list(kind: _DataSet, edition: _Edition, root: Path, name: str) -> str:
    return (
        f"{root / name} is missing, a list of {kind.name}, and {kind.folder}/ there has none either; "
        f"{edition.had_from}: put them into {root}"
    )


def _files(path: Path, root: Path, train: ImageFiles | None) -> ImageFiles:
    reader = inaturalist if path.suffix == ".json" else image_list
    return reader(path, root, classes=train, verify=False)


def _named(files: ImageFiles) -> ImageFiles:
    """Name the classes of a list, which have numbers alone, by the folders of their images, where each has its own."""
    names: dict[int, str] = {}
    for path, label in zip(files.paths, files.labels.tolist(), strict=True):
        folder = path.partition("/")[2].rpartition("/")[0]
        if not folder or names.setdefault(label, folder) != folder:
            return files
    if len(set(names.values())) < len(files.classes):
        return files
    return replace(files, classes=tuple(names[label] for label in range(len(files.classes))))


def _refuse_missing(kind: _DataSet, path: Path, files: ImageFiles) -> None:
    missing = files.missing()
    if missing.size:
        first = int(missing[0])
        raise DataError(
            f"{path}: image {files.file(first)} is missing ({missing.size} of {len(files)} are); {kind.layout}"
        )


def _warn_of_other_sizes(kind: _DataSet, sets: Mapping[str, ImageFiles]) -> None:
    found = {split: len(files) for split, files in sets.items()}
    classes = len(sets["train"].classes)
    if found != dict(kind.images) or classes != kind.classes:
        published = _listed(f"{number:,} {split}" for split, number in kind.images.items())
        here = _listed(f"{found[split]:,}" for split in kind.images)
        warnings.warn(
            f"{kind.name} is published with {published} images of {kind.classes:,} classes, these lists have {here} of "
            f"{classes:,}: results do not compare with published ones",
            stacklevel=4,
        )


def _listed(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}"
