"""``ImageFiles``: image files with their labels, decoded when asked for."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast.counts import ClassCounts, EmptyPolicy
from lt_fast.datasets.checks import label_array
from lt_fast.datasets.paths import Paths
from lt_fast.errors import DataError, require

Transform = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files, their labels and the classes' names; a map data set for torch's loaders.

    Args:
        paths: of the images, relative to ``root`` or absolute.
        labels: (N,) whole numbers in [0, C).
        classes: C distinct names.
        root: folder that the paths start from; the current one by default.
        transform: called with each image, a ``PIL.Image`` in RGB.

    Attributes:
        class_counts: images of each class.
        fingerprint: SHA-256 over the labels (little-endian int64) and the SHA-256 of the paths (``Paths.sha256``):
            equal for the same list, wherever its images lie. The images' content does not enter.

    Raises:
        TypeError: if the labels are not whole numbers.
        ValueError: if lengths differ, or a label lies outside [0, C).
    """

    paths: Paths
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    root: Path = Path()
    transform: Transform | None = None
    class_counts: ClassCounts = field(init=False)
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        paths = self.paths if isinstance(self.paths, Paths) else Paths(self.paths)
        labels = label_array(self.labels)
        if len(paths) != len(labels):
            raise ValueError(f"labels must have one entry a path ({len(paths)}), got {len(labels)}")
        object.__setattr__(self, "paths", paths)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "class_counts", ClassCounts.from_labels(labels, names=self.classes))
        object.__setattr__(self, "fingerprint", _fingerprint(labels, paths))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = read_image(self.file(index))
        return (image if self.transform is None else self.transform(image)), int(self.labels[index])

    def file(self, index: int) -> Path:
        """Return where image ``index`` lies."""
        return self.root / self.paths[index]

    def subset(self, indices: ArrayLike) -> "ImageFiles":
        """Return the images at ``indices``, in that order, with the same classes."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(self, paths=self.paths.take(chosen), labels=self.labels[chosen])

    def missing(self) -> NDArray[np.int64]:
        """Return the indices of the images that are not there, or are no file; asks the file system once an image."""
        # Without Path objects: they cost more than the question itself.
        found = (os.path.isfile(os.path.join(self.root, name)) for name in self.paths)  # noqa: PTH113, PTH118
        return np.flatnonzero(~np.fromiter(found, dtype=bool, count=len(self)))

    def __repr__(self) -> str:
        return f"ImageFiles({len(self)} images under {str(self.root)!r}, {self.class_counts})"


def read_image(file: str | PathLike[str]) -> Any:
    """Return an image file as a ``PIL.Image`` in RGB.

    Raises:
        DataError: if the file is missing or damaged; it is named.
        MissingExtraError: if Pillow is not installed.
    """
    pillow = require("PIL.Image", extra="train", purpose="reading images")
    try:
        with pillow.open(file) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise DataError(f"image {file} is missing") from None
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise DataError(
            f"image {file} cannot be read ({type(error).__name__}: {error}); replace it, or take it out of the list"
        ) from error


def checked_files(
    files: ImageFiles, *, source: str, empty: EmptyPolicy, verify: bool, where: Callable[[int], str]
) -> ImageFiles:
    """Return ``files`` after the checks that every reader makes.

    Args:
        files: what was read.
        source: the file or folder it was read from, to open a message.
        empty: see ``ClassCounts.require_no_empty``.
        verify: whether every image must be there.
        where: says where image ``i`` stands in the source: ``"line 7"``.

    Raises:
        DataError: if a class has no image, or an image is missing.
    """
    if not isinstance(empty, str) or empty not in ("error", "ignore"):
        raise ValueError(f"empty must be 'error' or 'ignore', got {empty!r}")
    gaps = files.class_counts.empty
    if empty == "error" and gaps.size:
        name = files.classes[gaps[0]]
        called = "" if name == str(gaps[0]) else f" ({name})"
        raise DataError(
            f"{source}: labels must hold every class from 0 to {len(files.classes) - 1}, got no image of class "
            f"{gaps[0]}{called}{_more(gaps.size)}; number the classes 0..C-1, or pass empty='ignore'"
        )
    missing = files.missing() if verify else np.empty(0, np.int64)
    if missing.size:
        first = int(missing[0])
        raise DataError(
            f"{source}: {where(first)}: image {files.file(first)} is missing ({missing.size} of {len(files)} are); "
            "check root, or pass verify=False"
        )
    return files


def class_names(labels: NDArray[np.int64], names: Sequence[str] | None, source: str) -> tuple[str, ...]:
    """Return ``names``, or the class numbers up to the largest label.

    Raises:
        DataError: if the labels leave more classes out than there are images: no counts are made for those.
    """
    if names is not None:
        return tuple(names)
    top = int(labels.max())
    if top >= 2 * len(labels) + 1024:
        raise DataError(
            f"{source}: labels must number the classes 0..C-1, got a largest label of {top} for {len(labels)} images"
        )
    return tuple(map(str, range(top + 1)))


def _more(gaps: int) -> str:
    return f" and of {gaps - 1} more" if gaps > 1 else ""


def _fingerprint(labels: NDArray[np.int64], paths: Paths) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(labels, dtype="<i8").data)
    digest.update(bytes.fromhex(paths.sha256()))
    return digest.hexdigest()
