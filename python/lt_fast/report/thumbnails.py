"""Small pictures inside the page, as data: URLs, within a budget of bytes."""

from base64 import b64encode
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

from lt_fast._extras import require
from lt_fast.errors import DataError

MOST_BYTES = 3_000_000
"""Bytes that the pictures of one page have at most, as text."""

SIDE = 160
"""Pixels of a picture's longer side: it is shown at 112, so that it is sharp on most screens."""

_SMALL = 64  # an image of at most this side is stored as it is, and its pixels are enlarged
_QUALITY = 75

Picture = Callable[[int], Any]
"""From the position of an image to its ``PIL.Image``, or its pixels as an (H, W, Ch) uint8 array."""


class Thumbnail(NamedTuple):
    """A picture as a ``data:`` URL; whether its pixels are to be enlarged."""

    url: str
    pixels: bool


class Thumbnails:
    """The small pictures of images, each made once.

    Args:
        picture: opens an image; None where the images are not there.
        most: bytes of all of them at most.

    Attributes:
        left_out: positions of the images that there was no room for.
        unreadable: position to the reason, for the images that cannot be read any more.
    """

    def __init__(self, picture: Picture | None, *, most: int = MOST_BYTES) -> None:
        self._picture, self._room = picture, most
        self._made: dict[int, Thumbnail] = {}
        self.left_out: set[int] = set()
        self.unreadable: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._made)

    def make(self, rows: Iterable[int]) -> None:
        """Make the pictures of ``rows``, in that order, as long as there is room."""
        for row in rows:
            if self._picture is not None and row not in self._made and row not in self.unreadable:
                self._make(row, self._picture)

    def of(self, row: int) -> Thumbnail | None:
        """Return the picture of the image ``row``, or None."""
        return self._made.get(row)

    def _make(self, row: int, picture: Picture) -> None:
        try:
            made = encoded(picture(row))
        except DataError as error:  # the file was there when the run was measured
            self.unreadable[row] = str(error)
            return
        if len(made.url) > self._room:
            self.left_out.add(row)
            return
        self._room -= len(made.url)
        self.left_out.discard(row)
        self._made[row] = made


def encoded(picture: Any) -> Thumbnail:
    """Return a picture as a ``data:`` URL: a small one in full as PNG, a larger one reduced to 160 pixels as JPEG."""
    image = _image(picture)
    data = BytesIO()
    small = max(image.size) <= _SMALL
    if small:
        image.save(data, "PNG", optimize=True)
    else:
        image.thumbnail((SIDE, SIDE))
        image.convert("RGB").save(data, "JPEG", quality=_QUALITY, optimize=True)
    kind = "png" if small else "jpeg"
    return Thumbnail(f"data:image/{kind};base64,{b64encode(data.getvalue()).decode()}", small)


def heat_map(shares: Any, *, colour: tuple[int, int, int] = (0, 114, 178)) -> str:
    """Return a matrix of numbers in [0, 1] as a PNG of one pixel per entry: the larger, the less transparent."""
    pixels = np.empty((*np.shape(shares), 4), np.uint8)
    pixels[..., :3] = colour
    pixels[..., 3] = np.rint(255 * np.sqrt(np.clip(shares, 0, 1)))  # the root makes small shares visible
    data = BytesIO()
    _pillow().fromarray(pixels, "RGBA").save(data, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(data.getvalue()).decode()}"


def _image(picture: Any) -> Any:
    if not isinstance(picture, np.ndarray):
        return picture.copy()
    grey = picture.ndim == 3 and picture.shape[-1] == 1  # noqa: PLR2004
    return _pillow().fromarray(picture[..., 0] if grey else picture)


def _pillow() -> Any:
    return require("PIL.Image", extra="train", purpose="small pictures")
