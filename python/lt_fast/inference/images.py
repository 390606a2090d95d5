"""Images to predict: found in folders and lists, decoded and prepared; a damaged one is a message, never a crash."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lt_fast._extras import require
from lt_fast._files import read_bytes
from lt_fast._text import shown
from lt_fast.batch import BatchPlan
from lt_fast.data import ArraySource, CropFlip
from lt_fast.data.decoders import as_tensor, checked_decoder, pixels_and_remarks
from lt_fast.datasets.image_endings import image_endings, passed_over
from lt_fast.datasets.image_files import image_and_remarks
from lt_fast.datasets.pixels import upright_rgb
from lt_fast.errors import DataError, MissingExtraError, UsageError

_MOST_LIST_BYTES = 1 << 30
_MOST_CHANNELS = 4
_GREY, _COLOUR = 1, 3


class Found(NamedTuple):
    """Images that were named: their paths in order, and the files that are no images."""

    paths: list[str]
    passed_over: list[str]


def find_images(given: Sequence[str | os.PathLike[str]]) -> Found:
    """Return the image files that ``given`` names.

    A folder stands for the image files in it at any depth, sorted by path; hidden files and links to folders are left
    out. A ``.txt`` file stands for the paths on its lines, relative to its own folder; an integer after a path, as in
    the lists that training reads, is left out. Every other name is an image file. A path that comes twice counts once.

    Raises:
        UsageError: if nothing is given, or a name is not there.
        DataError: if a folder or list cannot be read, or no image is found.

    >>> from PIL import Image
    >>> Path("new/sub").mkdir(parents=True)
    >>> for name in ("new/b.png", "new/sub/a.png"):
    ...     Image.new("RGB", (8, 8)).save(name)
    >>> [Path(path).as_posix() for path in find_images(["new", "new/b.png"]).paths]
    ['new/b.png', 'new/sub/a.png']
    """
    if not given:
        raise UsageError("images are needed: a folder, a .txt list of paths, or image files")
    paths: list[str] = []
    others: list[str] = []
    endings = image_endings()
    for name in [os.fspath(each) for each in given]:
        if os.path.isdir(name):  # noqa: PTH112  (takes any string)
            for file in _files_in(name):
                (paths if file.lower().endswith(endings) else others).append(file)
        elif not os.path.lexists(name):
            raise UsageError(f"{name} is not there; name a folder, a .txt list of paths, or image files")
        else:
            paths += _listed(Path(name)) if name.lower().endswith(".txt") else [name]
    if not paths:
        more = f", got {len(others)} other files, the first {others[0]}" if others else ", which is empty"
        raise DataError(f"{given[0]} must hold images{more}; they end in {', '.join(endings[:4])}, ...")
    return Found(list(dict.fromkeys(paths)), others)


def _files_in(folder: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read as a folder: {error.strerror}") from error

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not passed_over(name))
        yield from (os.path.join(place, name) for name in sorted(files) if not passed_over(name))  # noqa: PTH118


def _listed(file: Path) -> list[str]:
    try:
        lines = read_bytes(file, most=_MOST_LIST_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{file} must be text in UTF-8: {error}") from None
    return [str(_entry(file.parent, line.strip())) for line in lines if line.strip()]


def _entry(root: Path, line: str) -> Path:
    path, _, last = line.rpartition(" ")
    return root / (path.strip() if path and last.isdecimal() and not (root / line).exists() else line)


class Prepared(NamedTuple):
    """One image: its pixels, or why there are none; whether it had another size than the network was trained on.

    ``remarks`` is what ``read_image`` would have warned of.
    """

    pixels: Any
    error: str | None = None
    resized: bool = False
    remarks: tuple[str, ...] = ()


Preparation: TypeAlias = Callable[[Any], Prepared]
"""From an upright ``PIL.Image`` in RGB to what ``stacked`` takes."""


class ForMemory:
    """Preparation for a network trained on images in memory, all of one size.

    An image of another size is scaled by its shorter side and cropped around its centre (``PIL.ImageOps.fit``).

    Args:
        shape: (height, width, channels).
        transform: without augmentation.
    """

    def __init__(self, shape: tuple[int, int, int], transform: CropFlip) -> None:
        self.shape, self.transform = shape, transform
        if shape[2] not in (_GREY, _COLOUR):
            raise UsageError(f"images must have 1 or 3 channels to be read from files, this network takes {shape[2]}")

    def __call__(self, image: Any) -> Prepared:
        """Return the pixels (height, width, channels) uint8."""
        height, width, channels = self.shape
        other = image.size != (width, height)
        if other:
            operations = require("PIL.ImageOps", extra="train", purpose="reading images")
            filters = require("PIL.Image", extra="train", purpose="reading images").Resampling
            image = operations.fit(image, (width, height), method=filters.BICUBIC)
        pixels = np.array(image.convert("L" if channels == _GREY else "RGB"), dtype=np.uint8)
        return Prepared(pixels.reshape(self.shape), resized=other)

    def stacked(self, pixels: list[NDArray[np.uint8]]) -> Tensor:
        """Return the batch (B, Ch, H, W) as training and evaluation read it, to the last bit."""
        rows = np.arange(len(pixels))
        source = ArraySource(np.stack(pixels), np.zeros(len(pixels), np.int64))
        return source.read(BatchPlan(0, 0, rows, rows), self.transform, 0)[0]

    @property
    def words(self) -> str:
        """What happens to an image of another size."""
        return f"scaled and cropped to {self.shape[1]} x {self.shape[0]} pixels, the size of the training images"


class ForFiles:
    """Preparation for a network trained on image files: the run's own transform without augmentation.

    Args:
        transform: the transform.
        decoder: of the run's images; see ``FileSource``.
    """

    words = "resized"

    def __init__(self, transform: Callable[[Any], Tensor], *, decoder: str = "pillow") -> None:
        self.transform, self.decoder = transform, checked_decoder(decoder)

    def __call__(self, image: Any) -> Prepared:
        """Return the pixels (Ch, H, W) float."""
        as_tensors = self.decoder != "pillow" and not isinstance(image, Tensor)
        return Prepared(self.transform(as_tensor(image) if as_tensors else image))

    def stacked(self, pixels: list[Tensor]) -> Tensor:
        """Return the batch (B, Ch, H, W)."""
        return torch.stack(pixels)


class _Images(Dataset[Prepared]):
    def __init__(self, items: Sequence[Any], prepare: Preparation) -> None:
        self._items, self._prepare = items, prepare
        # As in training: the decoder may stop at this size, and its pixels then differ in the last bits.
        self._shorter = getattr(getattr(prepare, "transform", None), "shorter_side", None)
        is_pillow = getattr(prepare, "decoder", "pillow") == "pillow"
        self._read: Any = image_and_remarks if is_pillow else pixels_and_remarks

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Prepared:
        item = self._items[index]
        try:
            image, remarks = (
                self._read(item, shorter_side=self._shorter) if isinstance(item, str) else _upright(item, index)
            )
            return self._prepare(image)._replace(remarks=tuple(remarks))
        except MissingExtraError:
            raise
        except (DataError, OSError, ValueError) as error:
            return Prepared(None, " ".join(str(error).split()))


def read_batches(
    items: Sequence[Any], prepare: Preparation, *, batch_size: int, workers: int
) -> Iterator[list[Prepared]]:
    """Yield the prepared images in order, ``batch_size`` at a time, decoded here or in ``workers`` processes."""
    loader: Any = DataLoader(
        _Images(items, prepare),
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=_ignore_interrupt,
        generator=torch.Generator(),  # otherwise DataLoader reads the global generator
    )
    yield from loader


def _ignore_interrupt(worker: int) -> None:  # noqa: ARG001  (DataLoader's signature)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def as_items(images: Any) -> list[Any]:
    """Return images of any form as a list of paths (str), ``PIL.Image`` and uint8 arrays.

    Raises:
        TypeError: naming the first that is none of these.
        UsageError: if there is none.
    """
    if isinstance(images, str | os.PathLike):
        return list(find_images([os.fspath(images)]).paths)
    if _is_picture(images) or (_is_array(images) and _is_one_image(images)):
        images = [images]
    items = [_item(image, place) for place, image in enumerate(images)]
    if not items:
        raise UsageError("images must hold at least one, got none")
    return items


def _item(image: Any, place: int) -> Any:
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    if _is_picture(image):
        return image
    if not _is_array(image):
        raise TypeError(f"images must be paths, PIL images or uint8 arrays, got {shown(image)} at position {place}")
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise TypeError(f"images must be uint8, pixels from 0 to 255, got dtype {array.dtype} at position {place}")
    if not _is_one_image(array) or 0 in array.shape:
        raise ValueError(
            f"images must have shape (H, W), (H, W, 1) or (H, W, 3), got {array.shape} at position {place}; "
            "channels come last"
        )
    return array


def _is_picture(image: Any) -> bool:
    return hasattr(image, "getbands") and hasattr(image, "convert")  # Pillow need not be loaded to know


def _is_array(image: Any) -> bool:
    return isinstance(image, np.ndarray | Tensor)


def _is_one_image(array: Any) -> bool:
    return bool(array.ndim == 2 or (array.ndim == 3 and array.shape[2] <= _MOST_CHANNELS))  # noqa: PLR2004


def _upright(item: Any, index: int) -> tuple[Any, list[str]]:
    if isinstance(item, np.ndarray):
        pillow = require("PIL.Image", extra="train", purpose="reading images")
        item = pillow.fromarray(item[..., 0] if item.ndim == 3 and item.shape[2] == 1 else item)  # noqa: PLR2004
    remarks: list[str] = []
    return upright_rgb(item.copy(), f"at position {index}", remarks), remarks
