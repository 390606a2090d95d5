"""``ImageFiles``: image files with their labels, decoded on access."""

import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks
from lt_fast.counts import ClassCounts, EmptyPolicy
from lt_fast.datasets.classes import checked_names
from lt_fast.datasets.decoding import decoded
from lt_fast.datasets.paths import Paths
from lt_fast.datasets.spelling import other_root, other_spelling
from lt_fast.errors import DataError

Transform = Callable[[Any], Any]
_MOST_SIDE = 1 << 20


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files, their labels and the classes' names; a map data set for torch's loaders.

    Args:
        paths: of the images, relative to ``root`` or absolute.
        labels: (N,) integers in [0, C).
        classes: C distinct names, in the order of their numbers.
        root: folder that the paths start from; the current one by default.
        transform: called with each image, a ``PIL.Image`` in RGB; see ``read_image``.

    Attributes:
        class_counts: images of each class.
        fingerprint: SHA-256 over the labels (little-endian int64) and the SHA-256 of the paths (``Paths.sha256``):
            equal for the same list, wherever its images lie. The images' content does not enter.

    Raises:
        TypeError: if the labels are not integers.
        ValueError: if lengths differ, a class is named twice, or a label is outside [0, C).

    >>> files = ImageFiles(["a/1.jpg", "a/2.jpg", "b/1.jpg"], [0, 0, 1], ("a", "b"), root=Path("photos"))
    >>> len(files), files.class_counts, files.file(2).as_posix()
    (3, ClassCounts([2, 1], num_classes=2, imbalance_ratio=2), 'photos/b/1.jpg')
    >>> files.subset([0, 2]).labels
    array([0, 1])
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
        labels = _checks.class_labels("labels", self.labels)
        if len(paths) != len(labels):
            raise ValueError(f"labels must have one entry a path ({len(paths)}), got {len(labels)}")
        object.__setattr__(self, "paths", paths)
        object.__setattr__(self, "classes", checked_names(self.classes, "classes"))
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "class_counts", ClassCounts.from_labels(labels, names=self.classes))
        object.__setattr__(self, "fingerprint", _fingerprint(labels, paths))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        remarks: list[str] = []
        image = decoded(self.file(index), self.root, self.paths[index], remarks)
        for remark in remarks:
            warnings.warn(remark, stacklevel=2)
        return (image if self.transform is None else self.transform(image)), int(self.labels[index])

    def file(self, index: int) -> Path:
        """Return the path of image ``index``."""
        return self.root / self.paths[index]

    def subset(self, indices: ArrayLike) -> "ImageFiles":
        """Return the images at ``indices``, in that order, with the same classes."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(self, paths=self.paths.take(chosen), labels=self.labels[chosen])

    def missing(self) -> NDArray[np.int64]:
        """Return the indices of the images that do not exist or are not files, with one file system query per image."""
        # Without Path objects: they cost more than the question itself.
        found = (os.path.isfile(os.path.join(self.root, name)) for name in self.paths)  # noqa: PTH113, PTH118
        return np.flatnonzero(~np.fromiter(found, dtype=bool, count=len(self)))

    def __repr__(self) -> str:
        return f"ImageFiles({len(self)} images under {str(self.root)!r}, {self.class_counts})"


def read_image(file: str | PathLike[str], *, shorter_side: int | None = None) -> Any:
    """Return an image file as an upright ``PIL.Image`` in RGB, 8 bits per channel.

    The EXIF orientation is applied (``PIL.ImageOps.exif_transpose``), mirrored ones included; torchvision's loader
    ignores it. Of an animation or a file of several pages the first frame is read. HEIC needs the extra ``photos``
    (pillow-heif) and is known by its first bytes, whatever its ending. Every mode of Pillow has a rule:

    - 8 bits (grey, palette, CMYK, YCbCr) and 1 bit: Pillow's conversion.
    - 16 bits: the high byte, ``pixel >> 8``, for grey and colour alike. Pixels that all stay below 16384, a quarter of
      the range, are warned of: whether they are 12- or 14-bit values or a dark image cannot be known. TIFF files that
      say 12 bits are scaled from 12.
    - floats: ``pixel * 255``, rounded, where all are in [0, 1]; others are an error.
    - 32-bit integers: an error, because their range is unknown.
    - transparency: the image on white, as browsers and viewers show it. The colour that is stored for a transparent
      pixel is often black, or what was cut away; torchvision's loader shows that colour.

    Damaged EXIF data is warned of, and the image is read as stored.

    Args:
        file: the path.
        shorter_side: decode a JPEG at 1/2, 1/4 or 1/8 of its size (libjpeg's scaled decoding, Pillow's ``draft``) where
            its shorter side is still ``shorter_side`` pixels or more: several times faster for photographs that are
            resized anyway, and pixels that differ a little from those of a full decoding. Other formats are decoded
            whole. None decodes every file whole.

    Raises:
        DataError: if the file is missing, damaged, of no format that Pillow decodes, or its pixels have no known range;
            it is named.
        MissingExtraError: if Pillow is not installed.
        ValueError: if ``shorter_side`` is not an integer >= 1.

    >>> from PIL import Image
    >>> Image.new("RGBA", (403, 302), (0, 0, 0, 0)).save("drawing.png")  # transparent
    >>> image = read_image("drawing.png")
    >>> image.mode, image.size, image.getpixel((0, 0))
    ('RGB', (403, 302), (255, 255, 255))
    """
    if shorter_side is not None:
        shorter_side = _checks.integer("shorter_side", shorter_side, least=1, most=_MOST_SIDE)
    image, remarks = image_and_remarks(file, shorter_side=shorter_side)
    for remark in remarks:
        warnings.warn(remark, stacklevel=2)
    return image


def image_and_remarks(file: str | PathLike[str], *, shorter_side: int | None = None) -> tuple[Any, list[str]]:
    """Return what ``read_image`` returns, and what it warns of: for callers that read a file more than once."""
    remarks: list[str] = []
    return decoded(file, Path(), str(file), remarks, shorter_side=shorter_side), remarks


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
    gaps = files.class_counts.empty
    if empty == "error" and gaps.size:
        name = files.classes[gaps[0]]
        called = "" if name == str(gaps[0]) else f" ({name})"
        raise DataError(
            f"{source}: labels must hold every class from 0 to {len(files.classes) - 1}, got no image of class "
            f"{gaps[0]}{called}{_more(gaps.size)}; {_shifted(gaps)}number the classes 0..C-1, or pass empty='ignore'"
        )
    missing = files.missing() if verify else np.empty(0, np.int64)
    if missing.size:
        first = int(missing[0])
        raise DataError(
            f"{source}: {where(first)}: image {files.file(first)} is missing ({missing.size} of {len(files)} are); "
            f"{_how_to_find(files, first, source)}"
        )
    return files


def _how_to_find(files: ImageFiles, index: int, source: str) -> str:
    name = files.paths[index]
    found = other_spelling(files.root, name)
    if found is not None:
        return f"{found.path!r} is there: write the path {found.difference}, or rename the file"
    root = other_root(files.root, name, Path(source))
    if root is not None:
        return f"it is there under another root: pass root={str(root)!r}"
    return "check root, or pass verify=False"


def warn_of_contradictions(files: ImageFiles, *, source: str, where: Callable[[int], str]) -> None:
    """Warn of an image that is listed with two labels."""
    hashes = np.fromiter(map(hash, files.paths), np.int64, len(files))  # a million strings would take 100 MB
    order = np.argsort(hashes, kind="stable")
    same = hashes[order[1:]] == hashes[order[:-1]]
    suspects = np.flatnonzero(same & (files.labels[order[1:]] != files.labels[order[:-1]]))
    pairs = [(int(order[at]), int(order[at + 1])) for at in suspects]
    pairs = [(a, b) for a, b in pairs if files.paths[a] == files.paths[b]]
    if pairs:
        a, b = min(pairs)
        more = f", and {len(pairs) - 1} more such pairs" if len(pairs) > 1 else ""
        warnings.warn(
            f"{source}: image {files.paths[a]!r} has label {files.labels[a]} at {where(a)} and {files.labels[b]} at "
            f"{where(b)}{more}; keep the right one",
            stacklevel=3,
        )


def _shifted(gaps: NDArray[np.int64]) -> str:
    return "where the labels start at 1, subtract 1; " if gaps.tolist() == [0] else ""


def _more(gaps: int) -> str:
    return f" and of {gaps - 1} more" if gaps > 1 else ""


def _fingerprint(labels: NDArray[np.int64], paths: Paths) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(labels, dtype="<i8").data)
    digest.update(bytes.fromhex(paths.sha256()))
    return digest.hexdigest()
