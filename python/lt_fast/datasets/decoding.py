"""Open and decode one image file; every failure is one ``DataError`` that names the file and what to do."""

import os
from collections.abc import Sequence
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

from lt_fast._extras import require
from lt_fast.datasets.image_endings import HEIF_INSTALL, has_heif_reader, is_heif
from lt_fast.datasets.pixels import upright_rgb
from lt_fast.datasets.spelling import other_spelling
from lt_fast.errors import DataError, MissingExtraError

FilePath = str | PathLike[str]
_USUAL_BYTES = 1 << 24


def decoded(file: FilePath, root: Path, name: str, remarks: list[str], *, shorter_side: int | None = None) -> Any:
    """Return the image of ``file``, which is ``name`` under ``root``, by the rules of ``read_image``.

    What its user should know is appended to ``remarks``.

    Raises:
        DataError: if it cannot be read; a missing file's other spelling under ``root`` is suggested.
    """
    try:
        with opened(_content(file), file) as image:
            if shorter_side is not None:
                decode_smaller(image, shorter_side)
            return upright_rgb(image, file, remarks)
    except (DataError, MissingExtraError):
        raise
    except FileNotFoundError:
        raise DataError(f"image {file} is missing{_where_it_is(root, name)}") from None
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise unreadable(file, error) from error


def opened(source: FilePath | BytesIO, file: FilePath) -> Any:
    """Return an opened, not yet decoded ``PIL.Image`` of a file or its bytes; HEIC by its first bytes, not its ending.

    Raises:
        DataError: if it is HEIC and pillow-heif is not installed.
        OSError: and whatever else Pillow raises for a file that it cannot open.
    """
    pillow = require("PIL.Image", extra="train", purpose="reading images")
    try:
        return pillow.open(source)
    except pillow.UnidentifiedImageError:
        if not is_heif(_first_bytes(source)):
            raise
    if not has_heif_reader():
        raise DataError(f"image {file} is HEIC, which needs pillow-heif; run: {HEIF_INSTALL}")
    # The class itself: the library's opener would be registered for the whole process.
    return require("pillow_heif", extra="photos", purpose="reading HEIC").HeifImageFile(source)


def in_one_line(remarks: Sequence[str], images: int) -> str:
    """Return what there is to remark of some of ``images`` images: the remark itself, or the first and how many."""
    if len(remarks) == 1:
        return remarks[0]
    return f"{len(remarks)} of {images} images are read with a remark; the first: {remarks[0]}"


def decode_smaller(image: Any, shorter_side: int) -> None:
    """Let libjpeg decode an opened JPEG at 1/2, 1/4 or 1/8 where its shorter side stays ``shorter_side`` or more."""
    if image.format in ("JPEG", "MPO"):
        image.draft(None, (shorter_side, shorter_side))


def unreadable(file: FilePath, error: Exception) -> DataError:
    """Return the error that says why ``file`` cannot be read, and the next step."""
    kind = type(error).__name__
    # Pillow names the file once more, or the memory that it was read to.
    said = "cannot identify image file" if kind == "UnidentifiedImageError" else error
    return DataError(f"image {file} cannot be read ({kind}: {said}); {_remedy(file, error)}")


def _remedy(file: FilePath, error: Exception) -> str:
    kind = type(error).__name__
    if kind.startswith("DecompressionBomb"):
        return "scale it down, or raise PIL.Image.MAX_IMAGE_PIXELS"
    if isinstance(error, PermissionError):
        return "allow it: chmod u+r, or take it out of the list"
    remedy = "replace it, or take it out of the list"
    if kind != "UnidentifiedImageError":
        return remedy
    if os.stat(file).st_size == 0:  # noqa: PTH116  (one call, any kind of path)
        return f"{remedy}: it has 0 bytes"
    return f"{remedy}; where it is whole, this Pillow does not decode its format: convert it to PNG or JPEG"


def _content(file: FilePath) -> FilePath | BytesIO:
    """Return the bytes of a file of usual size, which Pillow would read in many small pieces; else the file."""
    with open(file, "rb") as opened_file:  # noqa: PTH123  (any kind of path)
        content = opened_file.read(_USUAL_BYTES)
        return BytesIO(content) if len(content) < _USUAL_BYTES else file


def _first_bytes(source: FilePath | BytesIO) -> bytes:
    if isinstance(source, BytesIO):
        return source.getvalue()[:12]
    with Path(source).open("rb") as file:
        return file.read(12)


def _where_it_is(root: Path, name: str) -> str:
    found = other_spelling(root, name)
    return "" if found is None else f"; {str(root / found.path)!r} is there ({found.difference})"
