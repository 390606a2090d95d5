"""``PhotographTransform``: photographs of any size to tensors of one size, augmented by torchvision or by your own."""

import importlib
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_fast import _checks, _rust
from lt_fast._extras import require
from lt_fast._text import nearest
from lt_fast.data.decoders import as_picture, as_tensor
from lt_fast.errors import UsageError
from lt_fast.registry import register

AUGMENTATIONS = ("light", "standard", "strong", "autoaugment", "randaugment", "simclr", "inception", "imagenet")
"""The presets that ``augment`` names; ``"none"`` and ``module:function`` are taken too."""

INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming")

_OF_TENSORS = ("bicubic", "bilinear")
"""What torchvision resizes tensors by, antialiased as Pillow does."""

_MOST_PIXELS = 4096
_SMALLEST_SCALE = {**dict.fromkeys(AUGMENTATIONS, 0.2), "light": 0.35, "inception": 0.08, "imagenet": 0.08}
_JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}


@register("transform", "photograph")
@dataclass(frozen=True, kw_only=True)
class PhotographTransform:
    """From a ``PIL.Image`` in RGB, or its pixels, to a normalised ``(3, size, size)`` float32 tensor.

    A (3, H, W) uint8 tensor, which ``FileSource(decoder="torchvision")`` gives, is cropped and resized as a tensor, in
    a third of the time; the crop is the same, and its pixels differ from Pillow's by rounding. Colours are changed
    as Pillow does in both cases. Other interpolations than bicubic and bilinear, and a function of your own, have a
    ``PIL.Image`` made of it.

    For training, by ``augment``:

    - ``"light"``: ``RandomResizedCrop`` of 35 to 100 % of the area, and a mirror image with probability 1/2.
    - ``"standard"``: of 20 to 100 %, and ``ColorJitter`` of brightness, contrast and saturation by 0.4, hue by 0.05.
    - ``"inception"``: of 8 to 100 %, torchvision's own default, and the mirror image: how iNaturalist 2018 is trained.
    - ``"imagenet"``: as inception, and ``ColorJitter`` of brightness, contrast and saturation by 0.4, none of hue: how
      ImageNet-LT and Places-LT are trained (facebookresearch/classifier-balancing, data/dataloader.py).
    - ``"strong"``: as standard, with ``TrivialAugmentWide`` (Müller and Hutter 2021, arXiv:2103.10158) for the jitter.
    - ``"autoaugment"``: as standard, with the policy for ImageNet of arXiv:1805.09501 for the jitter.
    - ``"randaugment"``: as standard, with two operations of magnitude 9 of 30 (arXiv:1909.13719) for the jitter.
    - ``"simclr"``: for contrastive views (arXiv:2002.05709): as standard, with colours changed by 0.8 (hue by 0.2) in
      eight of ten images, two of ten grey, and every second one blurred by a tenth of its side.
    - ``"none"``: what ``plain()`` does.
    - ``"package.module:function"``: your own. The function is called as ``function(size=size)`` when the first image is
      read, and returns a callable from a ``PIL.Image`` to a ``PIL.Image`` of ``size`` x ``size`` or to a
      ``(3, size, size)`` tensor: uint8, or floats in [0, 1]. Normalising is done after it.

    ``plain()`` is for evaluation: the shorter side is resized to ``size / crop_share``, the centre is cut out.

    Args:
        size: height and width of the result, in pixels.
        mean: per channel, in units of ``pixel / 255``; by default ImageNet's, which most weights expect.
        std: per channel, in the same units, > 0.
        augment: see above.
        crop_share: the share of the resized image's side that evaluation cuts out, in (0, 1].
        interpolation: ``"bicubic"``, ``"bilinear"``, ``"nearest"``, ``"lanczos"``, ``"box"`` or ``"hamming"``.

    Random numbers are those of torch's and Python's global generators, which ``FileSource`` keys by (seed, epoch, view,
    position). The crop's area and shape are torchvision's (Szegedy et al. 2015, arXiv:1409.4842, section 6).

    Raises:
        TypeError, ValueError: if a value is out of its range.
        UsageError: if ``augment`` is unknown; when an image is read, if your function cannot be imported, has no
            parameter ``size``, or gives something else.

    >>> PhotographTransform(size=160).plain().augment
    'none'
    """

    size: int = 224
    mean: Sequence[float] = (0.485, 0.456, 0.406)
    std: Sequence[float] = (0.229, 0.224, 0.225)
    augment: str = "standard"
    crop_share: float = 0.875
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        _checks.integer("size", self.size, least=1, most=_MOST_PIXELS)
        _checks.number("crop_share", self.crop_share, above=0, most=1)
        _checks.choice("interpolation", self.interpolation, INTERPOLATIONS)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3:  # noqa: PLR2004
                raise ValueError(f"{name} must have one entry per channel (3), got {len(values)}")
            for value in values:
                _checks.number(name, value, above=0 if name == "std" else None)
        if ":" not in self.augment and self.augment not in (*AUGMENTATIONS, "none"):
            known = [*AUGMENTATIONS, "none"]
            raise UsageError(
                f"augment must be one of {', '.join(known)} or package.module:function, got {self.augment!r}"
                f"{nearest(self.augment, known)}"
            )

    def plain(self) -> "PhotographTransform":
        """Return the transform without augmentation: evaluation reads images by it."""
        return replace(self, augment="none")

    @property
    def shorter_side(self) -> int | None:
        """The fewest pixels of an image's shorter side that lose nothing: decoders may stop there. None for all."""
        if self.augment == "none":
            return math.ceil(self.size / self.crop_share)
        # The smallest crop is then enlarged or kept, never shrunk: no pixel is lost that the crop would have.
        return None if ":" in self.augment else math.ceil(self.size / _SMALLEST_SCALE[self.augment] ** 0.5)

    def __call__(self, image: Any) -> Tensor:
        """Return the image as a normalised ``(3, size, size)`` float32 tensor."""
        if isinstance(image, Tensor) and (":" in self.augment or self.interpolation not in _OF_TENSORS):
            image = as_picture(image)
        if ":" not in self.augment:
            return self._by_preset(image)
        tensor: Tensor = self._pipeline(image)
        if tuple(tensor.shape) != (3, self.size, self.size):
            raise UsageError(
                f"augment {self.augment} must give images of {self.size} x {self.size} pixels in RGB, got a tensor of "
                f"shape {tuple(tensor.shape)}; end it with a crop or resize to its argument size"
            )
        return tensor

    def _by_preset(self, image: Any) -> Tensor:
        placed, coloured = self._steps
        for step in placed:
            image = step(image)
        for step in coloured:
            by_pillow = isinstance(image, Tensor) and not isinstance(step, _Jitter)
            image = step(as_picture(image) if by_pillow else image)
        return _normalized(image if isinstance(image, Tensor) else as_tensor(image), self.mean, self.std)

    def imports(self) -> None:
        """Import what the first image needs: workers that are forked later share it, and need not do it each."""
        _torchvision()

    def __getstate__(self) -> dict[str, Any]:
        """Leave torchvision's objects out: a worker process makes its own."""
        return {name: value for name, value in vars(self).items() if name not in ("_pipeline", "_steps")}

    @cached_property
    def _pipeline(self) -> Callable[[Any], Any]:
        v2 = _torchvision()
        finish = [
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=list(self.mean), std=list(self.std)),
        ]
        pipeline: Callable[[Any], Any] = v2.Compose([_own(self.augment, self.size), *finish])
        return pipeline

    @cached_property
    def _steps(self) -> tuple[list[Any], list[Any]]:
        """What moves the pixels of an image, and what changes their colours, before they are normalised."""
        v2 = _torchvision()
        mode = v2.InterpolationMode(self.interpolation)
        if self.augment == "none":
            shorter = max(self.size, math.floor(self.size / self.crop_share))
            return [v2.Resize(shorter, interpolation=mode), v2.CenterCrop(self.size)], []
        crop = v2.RandomResizedCrop(self.size, scale=(_SMALLEST_SCALE[self.augment], 1.0), interpolation=mode)
        return [crop, v2.RandomHorizontalFlip()], self._colours(v2)

    def _colours(self, v2: Any) -> list[Any]:
        """Return what a preset does after crop and mirror image."""
        if self.augment == "simclr":
            kernel = self.size // 10 // 2 * 2 + 1  # odd, as a blur's must be
            jitter = _Jitter(v2.ColorJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2))
            blur = v2.GaussianBlur(kernel, sigma=(0.1, 2.0))
            return [v2.RandomApply([jitter], 0.8), v2.RandomGrayscale(0.2), v2.RandomApply([blur], 0.5)]
        return {
            "light": [],
            "standard": [_Jitter(v2.ColorJitter(**_JITTER, hue=0.05))],
            "inception": [],
            "imagenet": [_Jitter(v2.ColorJitter(**_JITTER))],
            "strong": [v2.TrivialAugmentWide()],
            "autoaugment": [v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET)],
            "randaugment": [v2.RandAugment()],
        }[self.augment]


class _Jitter:
    """``v2.ColorJitter`` of a ``PIL.Image`` by the same draws, bit for bit, in Rust; also of uint8 pixels (3, H, W)."""

    def __init__(self, jitter: Any) -> None:
        self._jitter = jitter

    def __call__(self, image: Any) -> Any:
        drawn = self._jitter.make_params([])
        steps = []
        for at in drawn["fn_idx"].tolist():
            name = ("brightness", "contrast", "saturation", "hue")[at]
            factor = drawn[f"{name}_factor"]
            steps += [] if factor is None else [(name, 1.0, [factor], False)]  # None: it is not changed
        colours = _rust.Augmentation([(1.0, False, [steps])], 0, 0)
        if isinstance(image, Tensor):
            return as_tensor(_coloured(image.permute(1, 2, 0).numpy(), colours))
        return as_picture(as_tensor(_coloured(np.asarray(image), colours)))


def _coloured(pixels: NDArray[np.uint8], colours: _rust.Augmentation) -> NDArray[np.uint8]:
    first = np.zeros(1, np.int64)
    (changed,) = _rust.augmented(np.ascontiguousarray(pixels)[None], first, colours, 0, 0, 0)
    return np.asarray(changed)


def _torchvision() -> Any:
    return require("torchvision.transforms.v2", extra="train", purpose="photographs")


def _normalized(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (3, H, W) uint8 pixels as ``v2.ToDtype(scale=True)`` and ``v2.Normalize`` do, bit for bit."""
    # In one piece of memory, which a tensor of an image, (H, W, 3) in memory, is not: their way takes twice as long.
    x = torch.empty(pixels.shape).copy_(pixels)
    return x.mul_(1 / 255).sub_(_per_channel(mean)).div_(_per_channel(std))


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)


def _own(place: str, size: int) -> Callable[[Any], Any]:
    """Return the transform that the function at ``package.module:function`` gives."""
    module, _, name = place.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"augment must name an importable function as package.module:function, got {place!r} ({error}); is its "
            "folder on PYTHONPATH?"
        ) from error
    # The name may be that of a run that somebody else made: no function but one written for this is called.
    if not inspect.isfunction(function) or "size" not in inspect.signature(function).parameters:
        raise UsageError(
            f"augment must name a function with the parameter size, got {place!r}, {_kind(function)}; define "
            f"{name}(size) that returns the transform"
        )
    made = function(size=size)
    if not callable(made):
        raise UsageError(f"augment {place} must return a callable from a PIL image, got {type(made).__name__}")
    transform: Callable[[Any], Any] = made
    return transform


def _kind(value: Any) -> str:
    return "which has none" if inspect.isfunction(value) else f"a {type(value).__name__}"
