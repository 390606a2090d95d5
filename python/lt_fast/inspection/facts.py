"""What one image file is: size, mode, damage, hashes of its bytes, its pixels and its looks, and when it was taken."""

import base64
import hashlib
import math
import os
import re
import stat
import warnings
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

from lt_fast._extras import require
from lt_fast._files import flags
from lt_fast.datasets.decoding import opened, unreadable
from lt_fast.datasets.pixels import upright_rgb
from lt_fast.errors import DataError, MissingExtraError

HASHED_SIDE = 32
"""Side of the grey image from which imagehash computes the perceptual hash."""

SMALL_SIDE = 16
"""Side of the grey image by which images with similar hashes are compared."""

_FLAT = 2.0  # standard deviation of grey values, of 255: below it the signs in the perceptual hash are noise
_MAKE, _MODEL, _EXIF, _SERIAL = 271, 272, 34665, 42033
_TAKEN, _FRACTION = 36867, 37521  # DateTimeOriginal, SubSecTimeOriginal
_Looks = Callable[[Any], tuple[int | None, str]]
_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")


class Facts(NamedTuple):
    """What one file is. Of a file that cannot be read, ``problem`` and perhaps ``content`` are all.

    Attributes:
        problem: why it cannot be read, with the next step; None for an image.
        width: of the upright image, in pixels.
        height: of the upright image, in pixels.
        mode: of the file, in Pillow's words: ``RGB``, ``L``, ``CMYK``, ``I;16``, ...
        format: ``JPEG``, ``PNG``, ...
        warning: what was warned of when it was read: damaged EXIF data, 12 bits in 16.
        content: BLAKE2b of the file's bytes, 32 hexadecimal digits.
        pixels: BLAKE2b of the size and the upright RGB pixels, 32 hexadecimal digits.
        looks: 64-bit perceptual hash; None for an image of one colour, whose hash would be noise.
        small: the 16 x 16 grey image, row by row, in base64; empty where ``looks`` is None.
        taken: seconds since 1970 of EXIF's DateTimeOriginal, read as UTC: only differences have a meaning.
        camera: maker, model and serial number in the EXIF data.
    """

    problem: str | None
    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
    warning: str | None = None
    content: str = ""
    pixels: str = ""
    looks: int | None = None
    small: str = ""
    taken: float | None = None
    camera: str | None = None


def look_at(file: str) -> Facts:
    """Read one file whole and return its facts; a file that cannot be read is a fact, too, not an error.

    The perceptual hash is imagehash's ``phash`` (DCT of the 32 x 32 grey image, 64 bits), of the upright image.

    Raises:
        MissingExtraError: if Pillow or imagehash is not installed.
    """
    return _looked_at(file, looks_of)


def look_without_hash(file: str) -> Facts:
    """Return the facts of ``look_at`` that need no imagehash: ``looks`` is None and ``small`` empty for every image.

    Raises:
        MissingExtraError: if Pillow is not installed.
    """
    return _looked_at(file, lambda _: (None, ""))


def _looked_at(file: str, looks: _Looks) -> Facts:
    content = ""
    try:
        data = _bytes_of(file)
        content = hashlib.blake2b(data, digest_size=16).hexdigest()
        return _facts(file, data, content, looks)
    except MissingExtraError:
        raise
    except FileNotFoundError:
        return Facts(f"image {file} is missing; take it out of the list")
    except DataError as error:
        return Facts(str(error), content=content)
    except Exception as error:  # noqa: BLE001  (Pillow's decoders raise whatever a damaged file leads them to)
        return Facts(str(unreadable(file, error)), content=content)


def _bytes_of(file: str) -> bytes:
    # Without blocking: what was a file in the listing may be a pipe by now.
    with os.fdopen(os.open(file, os.O_RDONLY | flags("NONBLOCK")), "rb") as read:
        if not stat.S_ISREG(os.fstat(read.fileno()).st_mode):
            raise DataError(f"image {file} is no regular file; take it out of the list")
        return read.read()


def _facts(file: str, data: bytes, content: str, looks_by: _Looks) -> Facts:
    remarks: list[str] = []
    with warnings.catch_warnings(record=True) as caught:  # Pillow's own
        warnings.simplefilter("always")
        with opened(BytesIO(data), file) as image:
            mode, form = image.mode, image.format or ""
            rgb = upright_rgb(image, file, remarks)
            taken, camera = _exif(image)
    looks, small = looks_by(rgb)
    return Facts(
        problem=None,
        width=rgb.width,
        height=rgb.height,
        mode=mode,
        format=form,
        warning=next(iter([*remarks, *(str(each.message) for each in caught)]), None),
        content=content,
        pixels=_hash_of_pixels(rgb),
        looks=looks,
        small=small,
        taken=taken,
        camera=camera,
    )


def _hash_of_pixels(rgb: Any) -> str:
    digest = hashlib.blake2b(f"{rgb.width}x{rgb.height}".encode(), digest_size=16)
    digest.update(rgb.tobytes())
    return digest.hexdigest()


def looks_of(image: Any) -> tuple[int | None, str]:
    """Return imagehash's 64-bit ``phash`` of a ``PIL.Image`` as an integer, and the small grey image of ``Facts``.

    An image of one colour has neither.
    """
    hashes = require("imagehash", extra="photos", purpose="the search for near duplicates")
    filters = require("PIL.Image", extra="train", purpose="reading images").Resampling
    # What `phash` does first, done once for all.
    grey = image.convert("L").resize((HASHED_SIDE, HASHED_SIDE), filters.LANCZOS)
    if np.asarray(grey, dtype=np.float32).std() < _FLAT:
        return None, ""
    bits = np.packbits(hashes.phash(grey).hash).tobytes()
    small = grey.resize((SMALL_SIDE, SMALL_SIDE), filters.BOX).tobytes()
    return int.from_bytes(bits, "big"), base64.b64encode(small).decode()


def _exif(image: Any) -> tuple[float | None, str | None]:
    try:
        exif = image.getexif()
        details = exif.get_ifd(_EXIF)
    except Exception:  # noqa: BLE001  (the parser of EXIF raises whatever damaged bytes lead it to)
        return None, None
    named = (exif.get(_MAKE), exif.get(_MODEL), details.get(_SERIAL))
    camera = " ".join(str(part).strip(" \0") for part in named if part)
    return _seconds(details.get(_TAKEN), details.get(_FRACTION)), camera or None


def _seconds(taken: Any, fraction: Any) -> float | None:
    found = _DATE.match(str(taken))
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat("{}-{}-{}T{}:{}:{}+00:00".format(*found.groups()))
    except ValueError:  # "0000:00:00 00:00:00" of a camera whose clock was never set
        return None
    digits = str(fraction).strip(" \0")
    part = float(f"0.{digits}") if digits.isascii() and digits.isdigit() else 0.0
    return math.floor(moment.timestamp()) + part
