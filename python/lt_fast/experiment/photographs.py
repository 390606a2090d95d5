"""The data set ``photographs``: images of your own, checked, grouped and split, and the same for a run that goes on."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks
from lt_fast._extras import require
from lt_fast.data import FileSource
from lt_fast.data.decoders import DECODERS, checked_decoder
from lt_fast.datasets import ImageFiles, Paths, long_tailed_indices, splits
from lt_fast.datasets.decoding import in_one_line
from lt_fast.datasets.hugging_face import PREFIX, hugging_face_files, hugging_face_folder
from lt_fast.datasets.photographs import TABLES, Columns, read_photographs
from lt_fast.datasets.splits import IMAGES, TEST_SHARE, ImageRow, read_images
from lt_fast.errors import DataError, MissingExtraError, UsageError
from lt_fast.inspection.facts import Facts, look_at, look_without_hash
from lt_fast.inspection.groups import grouped
from lt_fast.inspection.scanning import Look, facts_of
from lt_fast.records import LIST, OBJECT, TEXT, read_json

NAME = "photographs"
"""What configurations and the registry of data sets call it."""

DAMAGED = ("exclude", "error")
GROUPS = ("auto", "duplicates", "none")

_PROTOCOL = "protocol.json"
_SHOWN = 3


class Photographs(FileSource):
    """Photographs of one split: a ``FileSource`` that knows how it was made.

    What there is to remark about the images was said when they were checked, and is not said again in every epoch.

    Attributes:
        groups: (N,) name of each image's group, or "".
    """

    quiet = True
    groups: tuple[str, ...] = ()

    def subset(self, rows: ArrayLike) -> Self:
        """Return the images at ``rows``, in that order, with the same classes, groups and protocol."""
        chosen = super().subset(rows)
        chosen.groups = tuple(self.groups[row] for row in np.asarray(rows).tolist()) if self.groups else ()
        return chosen

    def moved(self, home: Path) -> Self:
        """Return the same images in the folder ``home``."""
        chosen = self.subset(np.arange(len(self)))
        chosen.root = home
        return chosen


class Collection(NamedTuple):
    """Every readable image, before it is split.

    Attributes:
        files: all images; those of a test set of its own after the others.
        given_test: how many of them are of a test set of its own.
        groups: (N,) name of each image's group, or "".
        damaged: path to reason, of the images that were left out.
        decoder: of the images, see ``FileSource``.
    """

    files: ImageFiles
    given_test: int
    groups: tuple[str, ...]
    damaged: Mapping[str, str]
    decoder: str = "pillow"


def photographs(
    path: str = "",
    root: str | os.PathLike[str] | None = None,
    *,
    test: str | None = None,
    test_share: float = TEST_SHARE,
    validation: float = 0.0,
    folds: int = 0,
    fold: int | None = None,
    groups: str = "auto",
    damaged: str = "exclude",
    decoder: str = "pillow",
    image_column: str = "path",
    label_column: str = "label",
    delimiter: str = ",",
    imbalance_ratio: float = 1.0,
    profile: str = "exp",
    seed: int = 0,
    run: Path | None = None,
    progress: bool = False,
) -> tuple[Photographs, ...]:
    """Return the training set, the test set, and the validation set where there is one.

    Every image is decoded once before: what cannot be read never stops a training. What ``lt-fast inspect`` or an
    earlier training has found is taken from the cache of ``facts_of``, and not decoded again while path, size and time
    of a file are the same. Photographs of one group are never divided. The classes of the training set decide the class
    numbers everywhere.

    Args:
        path: a folder of class folders, ``LIST.txt``, ``TABLE.csv``, ``FILE.json`` or ``hf:NAME``; see
            ``read_photographs``.
        root: folder that the paths start from; where the images are now, if they have been moved since ``run`` began.
        test: a test set of its own, named like ``path``; without it a part of the images is taken.
        test_share: of each class, for the test set.
        validation: share of each class for the validation set, which the curves of a training are measured on.
        folds: number of folds; 0 for one split.
        fold: the fold that is the test set; None where there are none.
        groups: ``"auto"`` keeps together what ``lt_fast.inspection.groups_of`` finds: copies, near duplicates, bursts,
            versions of a file, without the extra ``photos`` exact duplicates alone; ``"duplicates"`` those alone;
            ``"none"`` takes every image by itself.
        damaged: ``"exclude"`` leaves images out that cannot be read, with a warning; ``"error"`` refuses them.
        decoder: ``"pillow"`` or ``"torchvision"``; see ``FileSource``.
        image_column: of a table.
        label_column: of a table.
        delimiter: of a table.
        imbalance_ratio: 1 trains on all images; more makes the training set long-tailed by ``long_tailed_indices``.
        profile: shape of that tail.
        seed: of the split and the tail.
        run: folder of a run that has begun: its images and its split.
        progress: show a bar while the images are checked.

    Raises:
        DataError: if images are missing or damaged, or the test set has a class that the training set has not.
        UsageError: if an option is none of its choices.
    """
    if run is not None and (run / IMAGES).exists() and (run / _PROTOCOL).exists():
        if path.startswith(PREFIX):
            hugging_face_files(path)  # its files may have been removed from the cache
        return _of_run(run, home_of(path, root), checked_decoder(decoder))
    if not path:
        raise UsageError("path must name a folder of class folders, LIST.txt, TABLE.csv or FILE.json, got none")
    options = {"damaged": (damaged, DAMAGED), "groups": (groups, GROUPS), "decoder": (decoder, DECODERS)}
    for name, (value, known) in options.items():
        _checks.choice(name, value, known)
    columns = Columns(image_column, label_column, delimiter)
    checked_decoder(decoder)
    found = collect(path, root, test=test, columns=columns, damaged=damaged, groups=groups, progress=progress)
    return divide(
        found._replace(decoder=decoder),
        test_share=test_share,
        validation=validation,
        folds=folds,
        fold=fold,
        imbalance_ratio=imbalance_ratio,
        profile=profile,
        seed=seed,
    )


def home_of(path: str | os.PathLike[str], root: str | os.PathLike[str] | None) -> Path:
    """Return the folder that the paths of ``images.csv`` start from."""
    if str(path).startswith(PREFIX):
        return hugging_face_folder(str(path))
    if root is not None:
        return Path(root)
    place = Path(path)
    return place.parent if place.suffix.lower() in TABLES and not place.is_dir() else place


def collect(
    path: str,
    root: str | os.PathLike[str] | None = None,
    *,
    test: str | None = None,
    columns: Columns = Columns(),  # noqa: B008  (immutable)
    damaged: str = "exclude",
    groups: str = "auto",
    progress: bool = False,
) -> Collection:
    """Read, check and group the images; see ``photographs``."""
    home = home_of(path, root)
    root = None if path.startswith(PREFIX) else root
    place = path if root is None or not Path(path).is_dir() else home
    listed = read_photographs(place, root, columns=columns)
    _refuse_one_class(listed, path)
    look = _look(groups)
    own = _checked(listed, look, damaged=damaged, progress=progress)
    _refuse_lost_class(own.files)
    names, labels, facts = list(own.files.paths), own.files.labels, own.facts
    given, without = 0, own.damaged
    if test is not None:
        others = read_photographs(test, classes=own.files, columns=columns)
        tested = _checked(others, look, damaged=damaged, progress=progress)
        without, given = {**without, **tested.damaged}, len(tested.files)
        names += [os.path.relpath(tested.files.file(row), home) for row in range(given)]
        labels, facts = np.concatenate([labels, tested.files.labels]), facts + tested.facts
    whole = ImageFiles(Paths(names), labels, own.files.classes, home)
    same = _same_content(facts)
    _warn_of_leaks(whole, same, given)
    return Collection(whole, given, _groups(names, facts, same, groups, look), without)


def divide(
    found: Collection,
    *,
    test_share: float = TEST_SHARE,
    validation: float = 0.0,
    folds: int = 0,
    fold: int | None = None,
    imbalance_ratio: float = 1.0,
    profile: str = "exp",
    seed: int = 0,
) -> tuple[Photographs, ...]:
    """Split a collection; see ``photographs``."""
    labels, own = found.files.labels, len(found.files) - found.given_test
    own_groups = found.groups[:own]
    if fold is not None:
        where = fold_of_each(found, folds, seed)
        test, rest = np.flatnonzero(where == fold), np.flatnonzero(where != fold)
        rest_groups = [own_groups[row] for row in rest]
        inner = splits.split(labels[rest], groups=rest_groups, test=0, validation=validation, seed=seed)
        train, held = rest[inner.train], rest[inner.validation]
    else:
        share = 0.0 if found.given_test else test_share
        train, held, test = splits.split(labels[:own], groups=own_groups, test=share, validation=validation, seed=seed)
        if found.given_test:
            test = np.arange(own, len(labels))
    if not test.size:
        raise DataError(
            "no image is left for the test set: every class is a single image or group; name one with --test"
        )
    if imbalance_ratio > 1:
        train = train[long_tailed_indices(labels[train], imbalance_ratio=imbalance_ratio, profile=profile, seed=seed)]
    protocol = _protocol(found, test, folds=folds, fold=fold, seed=seed)
    parts = [train, test, *([held] if held.size else [])]
    return tuple(_source(found, rows, protocol) for rows in parts)


def fold_of_each(found: Collection, folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of every image, -1 for those that every training has."""
    if found.given_test:
        raise UsageError("folds must be left out with a test set of its own, got both; leave out --folds or --test")
    return splits.folds(found.files.labels, folds, groups=found.groups, seed=seed)


def rows_of(train: Any, test: Any, validation: Any = None, *, fold: str = "") -> Iterable[ImageRow]:
    """Return the rows of ``images.csv``, for sources of any kind that have paths."""
    for name, images in (("train", train), ("validation", validation), ("test", test)):
        if images is None:
            continue
        groups = getattr(images, "groups", ()) or ("",) * len(images)
        for path, label, group in zip(images.paths, images.labels.tolist(), groups, strict=True):
            yield ImageRow(path, images.classes[label], name, fold, group)


def _of_run(run: Path, home: Path, decoder: str) -> tuple[Photographs, ...]:
    """Return the images of a run that has begun, from its ``images.csv``."""
    if not home.is_dir():
        raise DataError(f"{home} is missing, where the photographs of {run} were; name their folder now with --root")
    rules = {"data": OBJECT, "data.class_names": LIST, "data.class_names.*": TEXT, "data.construction": OBJECT}
    recorded = read_json(run / _PROTOCOL, rules)["data"]
    classes = tuple(recorded["class_names"])
    number = {name: label for label, name in enumerate(classes)}
    rows = read_images(run)
    unknown = next((row for row in rows if row.class_name not in number), None)
    if unknown is not None:
        raise DataError(f"{run / IMAGES} is damaged: class {unknown.class_name!r} is none of {run / _PROTOCOL}")
    parts = []
    for name in ("train", "test", "validation"):
        chosen = [row for row in rows if row.split == name]
        if chosen:
            labels = np.array([number[row.class_name] for row in chosen], np.int64)
            paths = Paths(row.path for row in chosen)
            source = Photographs(paths, labels, classes, root=home, decoder=decoder)
            source.groups, source.protocol = tuple(row.group for row in chosen), recorded["construction"]
            parts.append(source)
    missing = next((path for part in parts for path in part.paths if not os.path.isfile(home / path)), None)  # noqa: PTH113
    if missing is not None:
        raise DataError(
            f"image {home / missing} of {run / IMAGES} is missing; name the photographs' folder with --root"
        )
    return tuple(parts)


def _source(found: Collection, rows: NDArray[np.int64], protocol: Mapping[str, Any]) -> Photographs:
    files = found.files
    paths, labels = files.paths.take(rows), files.labels[rows]
    source = Photographs(paths, labels, files.classes, root=files.root, decoder=found.decoder)
    source.groups, source.protocol = tuple(found.groups[row] for row in rows.tolist()), protocol
    return source


class _Checked(NamedTuple):
    """Images that can be decoded, what each is, and path to reason of the others."""

    files: ImageFiles
    facts: list[Facts]
    damaged: Mapping[str, str]


def _checked(files: ImageFiles, look: Look, *, damaged: str, progress: bool) -> _Checked:
    """Decode every image that is not known yet, and leave out those that cannot be read."""
    with _bar(len(files), enabled=progress) as advance:
        facts = facts_of(files.paths, files.root, advance=advance, look=look)
    remarks = [each.warning for each in facts if each.problem is None and each.warning is not None]
    if remarks:
        more = f"; `lt-fast inspect {files.root} --csv FILE` writes all into a table" if len(remarks) > 1 else ""
        warnings.warn(in_one_line(remarks, len(files)) + more, stacklevel=4)
    faults = {row: each.problem for row, each in enumerate(facts) if each.problem is not None}
    if not faults:
        return _Checked(files, facts, {})
    _refuse_or_warn(files, faults, damaged)
    reasons = {files.paths[row]: fault.replace(f"{files.root}{os.sep}", "") for row, fault in faults.items()}
    kept = np.array([row for row in range(len(files)) if row not in faults], np.int64)
    whole = files.subset(kept) if kept.size else _nothing(files)
    return _Checked(whole, [facts[row] for row in kept.tolist()], reasons)


@contextmanager
def _bar(total: int, *, enabled: bool) -> Iterator[Callable[[int], Any]]:
    if not enabled:
        yield lambda _: None
        return
    tqdm = require("tqdm", extra="train", purpose="a progress bar").tqdm
    with tqdm(total=total, desc="checking images", unit="image", leave=False) as bar:
        yield bar.update


def _refuse_or_warn(files: ImageFiles, faults: Mapping[int, str], damaged: str) -> None:
    first = faults[min(faults)]
    if damaged == "error":
        more = f" ({len(faults)} such images)" if len(faults) > 1 else ""
        raise DataError(f"{first}{more}; --set data.damaged=exclude leaves them out")
    shown = ", ".join(files.paths[row] for row in sorted(faults)[:_SHOWN])
    warnings.warn(
        f"{len(faults)} of {len(files)} images cannot be read and are left out "
        f"({shown}{', ...' * (len(faults) > _SHOWN)}); "
        "the run's protocol.json names them all",
        stacklevel=5,
    )


def _nothing(files: ImageFiles) -> ImageFiles:
    raise DataError(
        f"{files.root} holds no image that can be read, got {len(files)} damaged ones; `lt-fast inspect {files.root}` "
        "says what is wrong with them"
    )


def _refuse_one_class(files: ImageFiles, path: str) -> None:
    if len(files.classes) == 1:
        raise DataError(
            f"{path} holds one class, {files.classes[0]!r}, and a classifier needs two at least; name the folder that "
            "holds the class folders"
        )


def _refuse_lost_class(files: ImageFiles) -> None:
    lost = files.class_counts.empty
    if lost.size:
        raise DataError(
            f"class {files.classes[lost[0]]!r} has no image that can be read; mend its images, or take the class out"
        )


def _same_content(facts: Sequence[Facts]) -> NDArray[np.int64]:
    """Return for every image the first row with the same bytes."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(each.content, row) for row, each in enumerate(facts)], np.int64)


def _look(kind: str) -> Look:
    """Return what looks at a file: with the perceptual hash where imagehash is installed."""
    try:
        require("imagehash", extra="photos", purpose="the search for near duplicates")
    except MissingExtraError as error:
        if kind == "auto":
            warnings.warn(f"{error}; until then exact duplicates alone are kept together", stacklevel=4)
        return look_without_hash
    return look_at


def _groups(
    names: Sequence[str], facts: Sequence[Facts], same: NDArray[np.int64], kind: str, look: Look
) -> tuple[str, ...]:
    """Return the name of every image's group, "" where it is by itself."""
    if kind == "none":
        return ("",) * len(names)
    if kind == "duplicates" or look is look_without_hash:
        return _named_groups(same)
    found = grouped(names, facts).names
    several = {name for name, count in Counter(found).items() if count > 1}
    return tuple(name if name in several else "" for name in found)


def _named_groups(first: NDArray[np.int64]) -> tuple[str, ...]:
    several = {row for row, count in Counter(first.tolist()).items() if count > 1}
    return tuple(f"same-{row}" if row in several else "" for row in first.tolist())


def _warn_of_leaks(files: ImageFiles, first: NDArray[np.int64], given_test: int) -> None:
    """Warn of images of a test set of its own that are in the training set as well."""
    own = len(files) - given_test
    leaked = [row for row in range(own, len(files)) if first[row] < own]
    if leaked:
        warnings.warn(
            f"{len(leaked)} of {given_test} test images are in the training set too (first {files.paths[leaked[0]]}): "
            "what is measured on them flatters; take them out of one",
            stacklevel=4,
        )


def _protocol(found: Collection, test: NDArray[np.int64], *, folds: int, fold: int | None, seed: int) -> dict[str, Any]:
    labels, classes = found.files.labels, found.files.classes
    untested: Sequence[str] = [classes[label] for label in splits.without_test(labels, test).tolist()]
    if untested and fold is None:
        shown = ", ".join(untested[:_SHOWN]) + (", ..." if len(untested) > _SHOWN else "")
        warnings.warn(
            f"{len(untested)} of {len(classes)} classes have no test image ({shown}): nothing is known about them",
            stacklevel=4,
        )
    return {
        "name": NAME,
        "seed": seed,
        "test": "given" if found.given_test else "split",
        **({} if fold is None else {"folds": folds, "fold": fold}),
        "groups": len({name for name in found.groups if name}),
        "classes_without_test_image": untested,
        "damaged": dict(found.damaged),
    }
