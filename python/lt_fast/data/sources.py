"""Where pixels come from: images in memory, or files that are decoded when a batch needs them."""

import copy
import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from lt_fast import _checks, _rust
from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.counts import ClassCounts
from lt_fast.data.buffers import Buffers, PageLockedBuffers
from lt_fast.data.decoders import checked_decoder, pixels_and_remarks
from lt_fast.data.transforms import (
    DTYPES,
    CropFlip,
    FileTransform,
    kept_randomness,
    key_randomness,
)
from lt_fast.datasets.image_files import ImageFiles, image_and_remarks
from lt_fast.datasets.image_set import image_array
from lt_fast.datasets.paths import Paths


@runtime_checkable
class ImageSource(Protocol):
    """Labelled images that a ``Loader`` reads by plans.

    Attributes:
        labels: (N,) int64 in [0, C).
        classes: C names.
        class_counts: images per class.
        fingerprint: equal for equal content: of files, labels and paths and sizes, not the pixels.

    >>> source = ArraySource(np.zeros((3, 8, 8, 1), np.uint8), [0, 1, 1])
    >>> isinstance(source, ImageSource), source.class_counts.counts, source.in_memory
    (True, array([1, 2]), True)
    """

    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    class_counts: ClassCounts

    @property
    def fingerprint(self) -> str:
        """Identify the content."""

    @property
    def in_memory(self) -> bool:
        """Whether threads can read a batch faster than processes: pixels are there, nothing is decoded."""

    def __len__(self) -> int: ...

    def check(self, transform: Any) -> None:
        """Raise unless ``transform`` is one for this source's images."""

    def read(self, plan: BatchPlan, transform: Any, seed: int) -> tuple[Tensor, ...]:
        """Return the plan's images, augmented and mixed, one (B, Ch, H, W) tensor per view."""


class ArraySource:
    """Images of one size in memory: a batch is gathered, augmented, normalised and mixed in one pass in Rust.

    Args:
        images: (N, H, W, Ch) uint8.
        labels: (N,) integers in [0, C).
        classes: C distinct names; ``"0"``, ``"1"``, ... when left out.

    Attributes:
        class_counts: images per class.
        buffers: the memory of its batches.

    Raises:
        TypeError: if the images are not uint8 or the labels not integers.
        ValueError: if the images do not have four dimensions, lengths differ, or a label is outside [0, C).

    >>> images = np.zeros((3, 32, 32, 3), dtype=np.uint8)
    >>> source = ArraySource(images, [0, 1, 1], classes=["oak", "beech"])
    >>> len(source), source.class_counts.counts, source.classes, source.fingerprint[:8]
    (3, array([1, 2]), ('oak', 'beech'), '1d372295')
    >>> len(source.subset([2, 0]))
    2
    """

    in_memory = True

    def __init__(self, images: NDArray[np.uint8], labels: ArrayLike, classes: Sequence[str] | None = None) -> None:
        self.images, self.labels = image_array(images), _checks.class_labels("labels", labels)
        if len(self.images) != len(self.labels):
            raise ValueError(f"labels must have one entry per image ({len(self.images)}), got {len(self.labels)}")
        self.class_counts = ClassCounts.from_labels(self.labels, names=classes)
        self.classes = self.class_counts.names
        self.buffers: Buffers | PageLockedBuffers = Buffers()

    def __len__(self) -> int:
        return len(self.labels)

    def page_locked(self) -> Self:
        """Return the same images, read into page-locked memory; copies no pixel."""
        other = copy.copy(self)
        other.buffers = PageLockedBuffers()
        return other

    def subset(self, rows: ArrayLike) -> Self:
        """Return the images at ``rows``, in that order, with the same classes; copies their pixels."""
        chosen = _rows(rows, len(self))
        return type(self)(self.images[chosen], self.labels[chosen], self.classes)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the labels (little-endian int64) and the pixels."""
        digest = hashlib.sha256(np.ascontiguousarray(self.labels, dtype="<i8").data)
        digest.update(self.images.reshape(-1).data)
        return digest.hexdigest()

    def check(self, transform: Any) -> None:
        """Raise unless ``transform`` is a ``CropFlip``, or a kind of it, for the shape of these images."""
        if not isinstance(transform, CropFlip):
            raise TypeError(
                f"transform must be a lt_fast.data.CropFlip for images in memory, got {type(transform).__name__}; "
                "other transforms take image files (FileSource)"
            )
        shorter = min(self.images.shape[1:3])
        if transform.crop_padding > shorter:
            raise ValueError(
                f"crop_padding must be at most the images' shorter side ({shorter}), got {transform.crop_padding}; a "
                "crop further outside shows nothing of the image"
            )
        nothing = np.empty(0, np.int64)  # an empty batch: every setting passes Rust's own checks
        self.read(BatchPlan(0, 0, nothing, nothing), transform, 0)

    def read(self, plan: BatchPlan, transform: CropFlip, seed: int) -> tuple[Tensor, ...]:
        """Return the plan's images, one (B, Ch, H, W) tensor per view. O(B x pixels).

        The memory of a tensor is used again after nothing refers to it any more, directly or through a view.
        """
        return tuple(self._view(plan, transform, seed, view) for view in range(plan.views))

    def _view(self, plan: BatchPlan, transform: CropFlip, seed: int, view: int) -> Tensor:
        _, height, width, channels = self.images.shape
        channels_last = transform.memory_format == "channels_last"
        image = (height, width, channels) if channels_last else (channels, height, width)
        numbers = np.float32 if transform.dtype == "float32" else np.uint16  # Rust writes 16 bits as bits
        dense, memory = self.buffers.empty((len(plan.index), *image), numbers)
        _rust.fill_batch(
            self.images,
            plan.index,
            plan.position,
            (seed, plan.epoch, view, transform.crop_padding, transform.flip),
            _channels("mean", transform.mean),
            _channels("std", transform.std),
            plan.mix,
            memory,
            transform.policy(height, width),
            transform.dtype,
            channels_last,
        )
        x = dense if numbers is np.float32 else dense.view(DTYPES[transform.dtype])
        return x.permute(0, 3, 1, 2) if channels_last else x


class FileSource:
    """Image files of any size, decoded when a batch needs them; only paths and labels are in memory.

    An image is opened as ``PIL.Image`` in RGB, upright by its EXIF orientation, and handed to the transform, which must
    give a (Ch, H, W) float tensor of one size. An image that a batch needs twice, for itself and as a partner with the
    same augmentation, is decoded once. What ``read_image`` would warn of is warned of once per file, however many
    epochs and workers read it.

    Args:
        paths: of the images, relative to ``root`` or absolute.
        labels: (N,) integers in [0, C).
        classes: C distinct names; ``"0"``, ``"1"``, ... when left out.
        root: folder that the paths start from.
        decoder: ``"pillow"``, or ``"torchvision"``, with which an epoch takes about two thirds of the time: the
            transform is then given a (3, H, W) uint8 tensor instead of a ``PIL.Image``, which every transform of
            ``torchvision.transforms.v2`` takes and resizes faster. Its results differ from Pillow's by rounding. What
            torchvision does not decode (other formats, CMYK, an image that EXIF turns) is decoded by Pillow.

    Attributes:
        class_counts: images per class.
        protocol: how the images were chosen, in plain JSON values, where that is known.

    Raises:
        TypeError: if the labels are not integers.
        ValueError: if lengths differ, a label is outside [0, C), or the decoder is another one.
        MissingExtraError: if the decoder is torchvision and that is not installed.

    >>> from PIL import Image
    >>> from lt_fast.data import FixedBatches, Loader, PhotographTransform
    >>> _ = [Image.new("RGB", (40, 30)).save(name) for name in ("1.jpg", "2.jpg")]
    >>> source = FileSource(["1.jpg", "2.jpg"], [0, 1], classes=["oak", "beech"])
    >>> loader = Loader(source, FixedBatches(2, batch_size=2), transform=PhotographTransform(size=16, augment="light"))
    >>> next(iter(loader)).x.shape
    torch.Size([2, 3, 16, 16])
    """

    in_memory = False
    decoder: str = "pillow"
    quiet = False
    """Whether what there is to remark about an image is left out, because it has been said."""
    protocol: Mapping[str, Any] = {}

    def __init__(
        self,
        paths: Paths | Sequence[str | PathLike[str]],
        labels: ArrayLike,
        classes: Sequence[str] | None = None,
        *,
        root: str | PathLike[str] = ".",
        decoder: str = "pillow",
    ) -> None:
        self.decoder = checked_decoder(decoder)
        self.paths = paths if isinstance(paths, Paths) else Paths(map(str, paths))
        self.labels, self.root = _checks.class_labels("labels", labels), Path(root)
        if len(self.paths) != len(self.labels):
            raise ValueError(f"labels must have one entry per path ({len(self.paths)}), got {len(self.labels)}")
        self.class_counts = ClassCounts.from_labels(self.labels, names=classes)
        self.classes = self.class_counts.names
        self._said: set[str] = set()

    @classmethod
    def of(cls, files: ImageFiles, *, decoder: str = "pillow") -> Self:
        """Return the images of a reader of ``lt_fast.datasets`` as a source; their own transform is not used."""
        return cls(files.paths, files.labels, files.classes, root=files.root, decoder=decoder)

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, rows: ArrayLike) -> Self:
        """Return the images at ``rows``, in that order, with the same classes and protocol."""
        chosen = _rows(rows, len(self))
        paths, labels = self.paths.take(chosen), self.labels[chosen]
        part = type(self)(paths, labels, self.classes, root=self.root, decoder=self.decoder)
        part.protocol = self.protocol
        return part

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the labels, the relative paths and the files' sizes; one call of the file system per image."""
        digest = hashlib.sha256(np.ascontiguousarray(self.labels, dtype="<i8").data)
        digest.update(bytes.fromhex(self.paths.sha256()))
        # Without Path objects: they cost more than the question itself.
        sizes = (os.stat(os.path.join(self.root, path)).st_size for path in self.paths)  # noqa: PTH116, PTH118
        known = np.fromiter(sizes, np.int64, len(self))
        digest.update(np.ascontiguousarray(known, dtype="<i8").data)
        return digest.hexdigest()

    def check(self, transform: Any) -> None:
        """Raise unless ``transform`` can be called."""
        if not callable(transform):
            raise TypeError(
                "transform must be callable, from a PIL image to a (channels, height, width) tensor, got "
                f"{type(transform).__name__}; torchvision.transforms.v2.Compose([...]) makes one"
            )

    def read(self, plan: BatchPlan, transform: FileTransform, seed: int) -> tuple[Tensor, ...]:
        """Return the plan's images, one (B, Ch, H, W) tensor per view.

        Raises:
            DataError: if a file is missing or damaged; it is named.
            ValueError: if the transform gives tensors of different shapes.
        """
        return tuple(self._view(plan, transform, seed, view) for view in range(plan.views))

    def _view(self, plan: BatchPlan, transform: FileTransform, seed: int, view: int) -> Tensor:
        keys = list(_keys(plan.index, plan.position))
        partners = [] if plan.mix is None else list(_keys(plan.mix.partner, plan.mix.position))
        places: dict[tuple[int, int], list[int]] = {}
        for at, key in enumerate(keys):
            places.setdefault(key, []).append(at)
        x, kept, mixed_in = torch.empty(0), {}, set(partners)
        with kept_randomness():
            for row, position in dict.fromkeys([*keys, *partners]):
                image = self._image(row, (seed, plan.epoch, view, position), transform)
                x = x if x.ndim > 1 else _batch_of(len(keys), image)
                self._check_fits(image, row, x, keys[0][0])
                for at in places.get((row, position), ()):
                    x[at] = image
                if (row, position) in mixed_in:
                    kept[row, position] = image
        return x if plan.mix is None else mixed(x, [kept[key] for key in partners], plan.mix)

    def _image(self, row: int, key: tuple[int, int, int, int], transform: FileTransform) -> Tensor:
        shorter_side = getattr(transform, "shorter_side", None)
        read: Any = image_and_remarks if self.decoder == "pillow" else pixels_and_remarks
        image, remarks = read(self.root / self.paths[row], shorter_side=shorter_side)
        for remark in () if self.quiet else remarks:
            self.warn_once(remark)
        key_randomness(*key)
        return transform(image)

    def _check_fits(self, image: Tensor, row: int, x: Tensor, first: int) -> None:
        if image.shape != x.shape[1:] or image.dtype != x.dtype:
            kinds = [f"{tuple(each.shape)} {each.dtype}".replace(" torch.float32", "") for each in (x[0], image)]
            raise ValueError(
                f"transform must give tensors of one shape, got {kinds[0]} for {self.paths[first]} and {kinds[1]} for "
                f"{self.paths[row]}; add a resize or crop to a fixed size"
            )

    def warn_once(self, text: str, category: type[Warning] = UserWarning) -> None:
        """Warn unless the same has been said."""
        if text not in self._said:
            self._said.add(text)
            warnings.warn(text, category, stacklevel=3)


def _batch_of(size: int, image: Tensor) -> Tensor:
    """Return memory for ``size`` such images: in a worker process shared with the main one, which saves a copy."""
    if get_worker_info() is None:
        return image.new_empty((size, *image.shape))
    new_shared: Any = torch.UntypedStorage._new_shared  # noqa: SLF001  (as torch's default_collate does)
    empty: Any = image.new_empty(0)
    batch: Tensor = empty.set_(new_shared(size * image.nbytes), 0, (size, *image.shape))
    return batch


def mixed(x: Tensor, partners: Sequence[Tensor], mix: MixPlan) -> Tensor:
    """Blend or paste ``partners`` into the images ``x`` (B, Ch, H, W), in place.

    Raises:
        ValueError: if a box is not inside the images.
    """
    if mix.boxes is not None:
        return _pasted(x, partners, mix.boxes)
    lam = torch.from_numpy(mix.lam)
    for b, partner in enumerate(partners):
        x[b] = lam[b] * x[b] + (1 - lam[b]) * partner
    return x


def _pasted(x: Tensor, partners: Sequence[Tensor], boxes: NDArray[np.int32]) -> Tensor:
    height, width = x.shape[-2:]
    for b, partner in enumerate(partners):
        top, left, bottom, right = boxes[b].tolist()
        if not (0 <= top <= bottom <= height and 0 <= left <= right <= width):  # a slice would be cut off silently
            raise ValueError(
                f"boxes must be (top, left, bottom, right) inside the image ({height}, {width}), got "
                f"{boxes[b].tolist()} at position {b}"
            )
        x[b, :, top:bottom, left:right] = partner[:, top:bottom, left:right]
    return x


def _rows(rows: ArrayLike, size: int) -> NDArray[np.int64]:
    chosen = _checks.index_array("rows", rows)
    outside = np.flatnonzero((chosen < 0) | (chosen >= size))
    if outside.size:
        raise IndexError(f"rows must lie in [0, {size}), got {chosen[outside[0]]} at position {outside[0]}")
    return chosen


def _keys(rows: NDArray[np.int64], positions: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    return zip(rows.tolist(), positions.tolist(), strict=True)


def _channels(name: str, values: Sequence[float]) -> NDArray[np.float32]:
    array = np.asarray(values, dtype=np.float32)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one entry per channel, got shape {array.shape}")
    return np.ascontiguousarray(array)
