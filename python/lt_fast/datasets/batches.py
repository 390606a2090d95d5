"""``ImageBatches``: ready batches from images in memory, each a pure function of (seed, epoch, step)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lt_fast import _rust
from lt_fast.datasets.checks import label_array, whole_number
from lt_fast.datasets.fixed import FixedBatches, index_array
from lt_fast.datasets.image_set import image_array

Partner: TypeAlias = Callable[[int, int, NDArray[np.int64]], ArrayLike]
Factor: TypeAlias = Callable[[int, int, int], ArrayLike]
ImageBatch: TypeAlias = tuple[Tensor, Tensor, Tensor | None, Tensor | None]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@runtime_checkable
class PositionedBatchSampler(Protocol):
    """A batch sampler that knows where it is; those of ``lt_fast.sampling`` do."""

    batch_size: int
    epoch: int

    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...
    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through."""

    def state_dict(self) -> dict[str, Any]:
        """Return the place after the batch handed out last; ``"position"`` counts batches."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a place."""


class ImageBatches:
    """Batches of cropped, flipped, normalised and mixed images: gathered and written in one pass, in Rust.

    For each image of a batch, equals torchvision's ``RandomCrop((H, W), padding=crop_padding)``,
    ``RandomHorizontalFlip()``, ``ToTensor()`` and ``Normalize(mean, std)`` for the same offsets and flips, bit for bit,
    and then ``lam * x + (1 - lam) * x[partner]``. Black is added around the raw pixels, before normalising. An image
    looks the same in its own place and as a partner: it is cropped and flipped once a batch.

    Crop and flip of a sample are keyed by ``(seed, epoch, step * batch_size + place in the batch)``, with the step
    counted over all ranks: the same images whether the epoch runs through, is resumed, or is split over ranks.

    Args:
        images: (N, H, W, Ch) uint8, any size and number of channels.
        labels: (N,) whole numbers.
        batch_sampler: a batch sampler of ``lt_fast.sampling``, or a sequence of index arrays, which is walked in order
            (evaluation: pass ``crop_padding=0, flip=False``).
        mean: of every channel, in units of ``pixel / 255``.
        std: of every channel, in the same units, > 0.
        crop_padding: width of the black border that crops may reach into; 0 keeps the image where it is.
        flip: mirror left and right with probability 1/2.
        partner: ``(epoch, step, labels of the batch) -> (B,)`` places in the batch; given together with ``lam``.
        lam: ``(epoch, step, batch size) -> (B,)`` or one number: factor of the first image, in [0, 1].
        dtype: of the images; the arithmetic is float32, ``"bfloat16"`` rounds its result.
        seed: key of crops and flips, in [0, 2**64).

    Shape:
        yields ``(x, y_a, y_b, lam)``: x (B, Ch, H, W) of ``dtype``; y_a (B,) int64; y_b (B,) int64 and lam (B,)
        float32, the factor of the first *image*, or None and None without mixing.

    Raises:
        TypeError: if the images are not uint8, labels, indices or partners not whole numbers, or the batch sampler has
            no position.
        ValueError: if a shape, length, ``mean``, ``std``, ``dtype`` or a factor breaks its rule.
        IndexError: while iterating, if an index or a partner is out of range.

    ``len``, ``set_epoch``, ``state_dict`` and ``load_state_dict`` are the batch sampler's: iterating after
    ``load_state_dict`` goes on at its position, with the same bits.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: ArrayLike,
        batch_sampler: PositionedBatchSampler | Sequence[ArrayLike],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        crop_padding: int = 4,
        flip: bool = True,
        partner: Partner | None = None,
        lam: Factor | None = None,
        dtype: str = "float32",
        seed: int = 0,
    ) -> None:
        self.images, self.labels = image_array(images), label_array(labels)
        if len(self.images) != len(self.labels):
            raise ValueError(f"labels must have one entry an image ({len(self.images)}), got {len(self.labels)}")
        if (partner is None) != (lam is None):
            raise ValueError("partner and lam must be given together, or neither, to mix images")
        if dtype not in _DTYPES:
            raise ValueError(f"dtype must be 'float32' or 'bfloat16', got {dtype!r}")
        self.batch_sampler = _positioned(batch_sampler)
        self.dtype = _DTYPES[dtype]
        self.seed = whole_number("seed", seed, bits=64)
        self._crop_padding = whole_number("crop_padding", crop_padding, bits=32)
        self._flip = bool(flip)
        self._mean, self._std = _channels("mean", mean), _channels("std", std)
        self._partner, self._lam = partner, lam
        self._pixels(0, 0, np.empty(0, np.int64), None)  # an empty batch: every setting passes Rust's own checks now

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[ImageBatch]:
        sampler = self.batch_sampler
        batches = iter(sampler)
        place = sampler.state_dict()  # of the iterator just made: where a resumed epoch goes on
        step = place["position"] + getattr(sampler, "rank", 0)
        for indices in batches:
            yield self._batch(place["epoch"], step, self._checked(indices))
            step += getattr(sampler, "world_size", 1)

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration goes through."""
        return self.batch_sampler.epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through."""
        self.batch_sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the place after the batch that was handed out last."""
        return self.batch_sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration go on from ``state``."""
        self.batch_sampler.load_state_dict(state)

    def _batch(self, epoch: int, step: int, indices: NDArray[np.int64]) -> ImageBatch:
        labels = self.labels[indices]
        pairs = self._pairs(epoch, step, labels)
        x = self._pixels(epoch, step, indices, pairs).to(self.dtype)
        if pairs is None:
            return x, torch.from_numpy(labels), None, None
        partner, lam = pairs
        return x, torch.from_numpy(labels), torch.from_numpy(labels[partner]), torch.from_numpy(lam)

    def _pixels(
        self,
        epoch: int,
        step: int,
        indices: NDArray[np.int64],
        pairs: tuple[NDArray[np.int64], NDArray[np.float32]] | None,
    ) -> Tensor:
        first = step * self.batch_sampler.batch_size
        places = _rust.placements(self.seed, epoch, first, len(indices), self._crop_padding, self._flip)
        _, height, width, channels = self.images.shape
        x = torch.empty((len(indices), channels, height, width))
        _rust.fill_batch(self.images, indices, places, self._mean, self._std, pairs, x.numpy())
        return x

    def _pairs(
        self, epoch: int, step: int, labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
        if self._partner is None or self._lam is None:
            return None
        partner = np.asarray(self._partner(epoch, step, labels))
        if not np.issubdtype(partner.dtype, np.integer):
            raise TypeError(f"partner must give integer places in the batch, got dtype {partner.dtype}")
        lam = np.asarray(self._lam(epoch, step, len(labels)), dtype=np.float32)
        for name, shape in (("partner", partner.shape), ("lam", lam.shape or labels.shape)):
            if shape != labels.shape:
                raise ValueError(f"{name} must give one value an image of the batch, {labels.shape}, got shape {shape}")
        return np.ascontiguousarray(partner, dtype=np.int64), np.array(np.broadcast_to(lam, labels.shape))

    def _checked(self, indices: ArrayLike) -> NDArray[np.int64]:
        array = index_array(indices)
        outside = np.flatnonzero((array < 0) | (array >= len(self.labels)))
        if outside.size:
            at = int(outside[0])
            raise IndexError(
                f"batch_sampler must give indices in [0, {len(self.labels)}), got {array[at]} at place {at} of a batch"
            )
        return array


def _positioned(batch_sampler: Any) -> PositionedBatchSampler:
    if isinstance(batch_sampler, PositionedBatchSampler):
        return batch_sampler
    if isinstance(batch_sampler, Sequence | np.ndarray):
        return FixedBatches(list(batch_sampler))
    raise TypeError(
        "batch_sampler must know its epoch and position, as those of lt_fast.sampling do, or be a sequence of index "
        f"arrays, got {type(batch_sampler).__name__}; list(batch_sampler) fixes the batches of one pass"
    )


def _channels(name: str, values: Sequence[float]) -> NDArray[np.float32]:
    array = np.asarray(values, dtype=np.float32)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one entry a channel, got shape {array.shape}")
    return np.ascontiguousarray(array)
