"""Augmentation, keyed by (seed, epoch, view, position): the same pixels for any number of workers and ranks."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch

from lt_fast import _checks, _rust
from lt_fast.registry import register

FileTransform: TypeAlias = Callable[[Any], torch.Tensor]
"""From a ``PIL.Image`` in RGB to a (Ch, H, W) tensor of one size: a ``torchvision.transforms.v2`` pipeline, say."""

_MOST_PADDING = 1024

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MEMORY_FORMATS = {"contiguous_format": torch.contiguous_format, "channels_last": torch.channels_last}


@register("transform", "crop_flip")
@dataclass(frozen=True, kw_only=True)
class CropFlip:
    """Random crop and flip, then normalisation, for images in memory: one pass in Rust.

    Equals torchvision's ``RandomCrop((H, W), padding=crop_padding)``, ``RandomHorizontalFlip()``, ``ToTensor()`` and
    ``Normalize(mean, std)`` for the same offsets and flips, bit for bit. Black is added around the raw pixels, before
    normalising.

    Args:
        mean: per channel, in units of ``pixel / 255``.
        std: per channel, in the same units, > 0.
        crop_padding: width of the black border that crops may reach into; 0 does not move the image.
        flip: mirror left and right with probability 1/2.
        dtype: ``"float32"``, or ``"bfloat16"`` or ``"float16"``, which round the float32 result.
        memory_format: ``"contiguous_format"`` or ``"channels_last"``, of the tensors; their values are the same.

    Raises:
        TypeError, ValueError: if ``dtype`` or ``memory_format`` is another one or ``crop_padding`` not an integer in
            [0, 1024]; the other rules are checked by the source, which knows the images.

    >>> transform = CropFlip(mean=(0.49, 0.48, 0.45), std=(0.2, 0.2, 0.2), dtype="bfloat16")
    >>> transform
    CropFlip(mean=(0.49, 0.48, 0.45), std=(0.2, 0.2, 0.2), crop_padding=4, flip=True, dtype='bfloat16')
    >>> transform.plain()  # for evaluation
    CropFlip(mean=(0.49, 0.48, 0.45), std=(0.2, 0.2, 0.2), crop_padding=0, flip=False, dtype='bfloat16')
    """

    mean: Sequence[float]
    std: Sequence[float]
    crop_padding: int = 4
    flip: bool = True
    dtype: str = "float32"
    # Not shown: a training may resume with another one, for the values are the same.
    memory_format: str = field(default="contiguous_format", repr=False)

    def __post_init__(self) -> None:
        _checks.integer("crop_padding", self.crop_padding, least=0, most=_MOST_PADDING)
        _checks.choice("dtype", self.dtype, DTYPES)
        _checks.choice("memory_format", self.memory_format, MEMORY_FORMATS)

    def plain(self) -> "CropFlip":
        """Return the transform without augmentation: evaluation reads images by it."""
        return CropFlip(
            mean=self.mean,
            std=self.std,
            crop_padding=0,
            flip=False,
            dtype=self.dtype,
            memory_format=self.memory_format,
        )

    def policy(self, height: int, width: int) -> _rust.Augmentation | None:  # noqa: ARG002
        """Return what else changes images of this size before they are normalised: nothing."""
        return None


@contextmanager
def keyed_randomness(seed: int, epoch: int, view: int, position: int) -> Iterator[None]:
    """Give ``random``, NumPy's and torch's global generators a state that follows from the key; restore them after.

    For transforms of other libraries, which use the global generators: inside, their random numbers are a pure function
    of the key; outside, nothing has changed.

    >>> with keyed_randomness(seed=0, epoch=3, view=0, position=7):
    ...     first = random.random()
    >>> with keyed_randomness(seed=0, epoch=3, view=0, position=7):
    ...     print(first == random.random(), round(first, 4))
    True 0.415
    """
    with kept_randomness():
        key_randomness(seed, epoch, view, position)
        yield


@contextmanager
def kept_randomness() -> Iterator[None]:
    """Restore the global generators at the end: once per batch, for a state takes longer to copy than to set."""
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.default_generator.set_state(states[2])


def key_randomness(seed: int, epoch: int, view: int, position: int) -> None:
    """Give the global generators the state of ``keyed_randomness``, within ``kept_randomness``."""
    words = np.random.SeedSequence([seed, epoch, view, position]).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])  # noqa: NPY002  (the legacy generator is what such transforms use)
    torch.default_generator.manual_seed(int(words[2]))
