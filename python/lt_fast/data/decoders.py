"""How an image file becomes pixels: Pillow, or torchvision's decoder of JPEG, which gives tensors."""

from contextlib import suppress
from io import BytesIO
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lt_fast import _checks
from lt_fast._extras import require
from lt_fast.datasets.decoding import decode_smaller
from lt_fast.datasets.image_files import image_and_remarks

DECODERS = ("pillow", "torchvision")

_ORIENTATION, _UPRIGHT = 0x0112, 1  # the tag of EXIF, and its value for an image that is stored upright
_PURPOSE = "the decoder torchvision"


def checked_decoder(name: str) -> str:
    """Return ``name`` if it is a decoder that can be used here.

    Raises:
        ValueError: if it is another name.
        MissingExtraError: if torchvision is not installed.
    """
    _checks.choice("decoder", name, DECODERS)
    if name == "torchvision":
        require("torchvision.io", extra="train", purpose=_PURPOSE)
    return name


def pixels_and_remarks(file: str | PathLike[str], *, shorter_side: int | None = None) -> tuple[Tensor, list[str]]:
    """Return an image file as a (3, H, W) uint8 tensor, upright and in RGB, and what ``read_image`` would warn of.

    A JPEG in RGB or grey is decoded by ``torchvision.io.decode_jpeg``: the same pixels as Pillow's where both have the
    same libjpeg-turbo, else within 3 of 255. Pillow decodes what is left: other formats and modes, an image that EXIF
    turns, one that may be decoded smaller (``shorter_side``, as ``read_image``), and one that cannot be read, so that
    the messages are the same.

    Raises:
        DataError: as ``read_image``.
    """
    with suppress(Exception):  # whatever it is, Pillow meets it too and says it in the words of every reader
        pixels = _by_torchvision(file, shorter_side)
        if pixels is not None:
            return pixels, []
    image, remarks = image_and_remarks(file, shorter_side=shorter_side)
    return as_tensor(image), remarks


def as_tensor(image: Any) -> Tensor:
    """Return a ``PIL.Image`` in RGB as (3, H, W) uint8, a view of (H, W, 3) as ``decode_jpeg`` gives it."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def as_picture(pixels: Tensor) -> Any:
    """Return (3, H, W) uint8 pixels as a ``PIL.Image``."""
    pillow = require("PIL.Image", extra="train", purpose=_PURPOSE)
    return pillow.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))


def _by_torchvision(file: str | PathLike[str], shorter_side: int | None) -> Tensor | None:
    """Return the pixels, or None for what Pillow reads."""
    with open(file, "rb") as opened:  # noqa: PTH123  (a Path would be made for each image)
        content = bytearray(opened.read())
    if not _is_plain(content, shorter_side):
        return None
    io = require("torchvision.io", extra="train", purpose=_PURPOSE)
    pixels: Tensor = io.decode_jpeg(torch.frombuffer(content, dtype=torch.uint8), mode=io.ImageReadMode.RGB)
    return pixels


def _is_plain(content: bytearray, shorter_side: int | None) -> bool:
    """Whether a file is a JPEG in RGB or grey that is stored upright and has to be decoded whole."""
    pillow = require("PIL.Image", extra="train", purpose=_PURPOSE)
    if content[:2] != b"\xff\xd8":
        return False
    with pillow.open(BytesIO(content)) as image:  # reads the header only
        size = image.size
        if shorter_side is not None:
            decode_smaller(image, shorter_side)
        upright = image.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT
        return image.size == size and image.mode in ("RGB", "L") and upright
