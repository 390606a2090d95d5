"""Convert decoded images of every Pillow mode to upright 8-bit RGB, or raise an error that names the file."""

from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast._extras import require
from lt_fast.errors import DataError

_DARK = 1 << 14  # a quarter of 16 bits: the range of 14-bit cameras, and too dark for an image that fills 16 bits
_COLOUR = {"RGB": 3, "RGBA": 3, "LA": 1}  # channels before alpha
_PHOTOMETRIC, _WHITE_IS_ZERO, _BITS = 262, 0, 258  # TIFF tags


def upright_rgb(image: Any, file: str | PathLike[str], remarks: list[str]) -> Any:
    """Return an opened ``PIL.Image`` upright and in RGB, by the rules of ``read_image``.

    Args:
        image: opened, perhaps not loaded yet.
        file: how messages name it.
        remarks: gets what its user should know. Whether and how often that is said is the caller's decision.

    Raises:
        DataError: if the range of its pixels cannot be known.
    """
    deep = _has_sixteen_bits(image)
    image.load()
    if deep and image.mode in _COLOUR:
        remarks += _dark_colour(image, file)
    tags = dict(getattr(image, "tag_v2", {}))
    remarks += _turned_upright(image, file)
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):  # "I": 16 bits in older Pillows
        return _grey(_high_byte(np.asarray(image), tags, file, remarks))
    if mode == "I":
        raise DataError(_unknown_range(image, file, "32-bit integers"))
    if mode == "F":
        return _grey(_scaled(image, tags, file))
    if image.has_transparency_data:
        return _on_white(image)
    # As convert, which copies the pixels of an image that is RGB already; the opened file is not used again.
    return image._new(image.im) if image.mode == "RGB" else image.convert("RGB")  # noqa: SLF001


def _on_white(image: Any) -> Any:
    """Return an image with transparency as it looks on white, where browsers and viewers show it."""
    pillow = require("PIL.Image", extra="train", purpose="reading images")
    image = image.convert("RGBA")
    white = pillow.new("RGBA", image.size, "white")
    return pillow.alpha_composite(white, image).convert("RGB")


def _turned_upright(image: Any, file: str | PathLike[str]) -> list[str]:
    """Turn an image by its EXIF orientation, in place; return what is to be said of damaged EXIF data."""
    operations = require("PIL.ImageOps", extra="train", purpose="reading images")
    try:
        operations.exif_transpose(image, in_place=True)
    except Exception as error:  # noqa: BLE001  (the parser of EXIF raises whatever damaged bytes lead it to)
        remark = (
            f"image {file}: its EXIF data cannot be read ({type(error).__name__}: {error}); the image is read as "
            "stored, perhaps not upright"
        )
        return [remark]
    return []


def _high_byte(
    pixels: NDArray[Any], tags: dict[int, Any], file: str | PathLike[str], remarks: list[str]
) -> NDArray[np.uint8]:
    values = pixels.astype(np.uint16)
    bits = 12 if tags.get(_BITS) == (12,) else 16
    largest = int(values.max(initial=0))
    if bits == 16 and largest > 0:  # noqa: PLR2004
        remarks += _dark(largest, "I;16", file)
    return _in_sense((values >> (bits - 8)).astype(np.uint8), tags)


def _has_sixteen_bits(image: Any) -> bool:
    """Whether an image that is not loaded yet has 16 bits per channel; Pillow keeps only the high byte of colours."""
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def _dark_colour(image: Any, file: str | PathLike[str]) -> list[str]:
    colours = np.asarray(image)[..., : _COLOUR[image.mode]]
    return _dark(int(colours.max(initial=0)) << 8 | 0xFF, f"{image.mode};16", file)


def _dark(largest: int, mode: str, file: str | PathLike[str]) -> list[str]:
    """Return a remark if 16-bit pixels use at most a quarter of the range: they may be values of fewer bits."""
    if largest >= _DARK:
        return []
    remark = (
        f"image {file} has mode {mode!r} and pixels of at most {largest}, which come out almost black (16 bits are "
        f"read as their high byte); where they are {max(largest.bit_length(), 8)}-bit values, scale the image and "
        "save it as 8 bits"
    )
    return [remark]


def _scaled(image: Any, tags: dict[int, Any], file: str | PathLike[str]) -> NDArray[np.uint8]:
    pixels = np.asarray(image, dtype=np.float32)
    if not np.all((pixels >= 0) & (pixels <= 1)):  # NaN is neither
        raise DataError(_unknown_range(image, file, "floats beyond [0, 1]"))
    return _in_sense(np.rint(pixels * 255).astype(np.uint8), tags)


def _in_sense(grey: NDArray[np.uint8], tags: dict[int, Any]) -> NDArray[np.uint8]:
    """Return grey pixels with 0 as black; in a TIFF 0 may be white."""
    return 255 - grey if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else grey


def _unknown_range(image: Any, file: str | PathLike[str], kind: str) -> str:
    pixels = np.asarray(image)
    return (
        f"image {file} has mode {image.mode!r} ({kind}: {pixels.min():g} to {pixels.max():g}), and which of its values "
        "are black and white cannot be known; scale it to 0..255 and save it as 8 bits"
    )


def _grey(pixels: NDArray[np.uint8]) -> Any:
    pillow = require("PIL.Image", extra="train", purpose="reading images")
    return pillow.fromarray(pixels).convert("RGB")
