"""Strong augmentation of images in memory: ``AutoAugment``, ``RandAugment``, ``TrivialAugmentWide``, ``SimCLR``."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lt_fast import _checks, _rust
from lt_fast.data import policies
from lt_fast.data.transforms import CropFlip
from lt_fast.registry import register

_MOST_CUTOUT = 4096
_MOST_BINS = 1000


@dataclass(frozen=True, kw_only=True)
class StrongTransform(CropFlip, ABC):
    """Crop, flip, a policy of operations on uint8, a black square, then normalisation: one pass in Rust.

    Every choice is keyed by (seed, epoch, view, position). A transform of your own defines ``stages``.

    Args:
        cutout: side of a square that is made black, with its centre anywhere in the image (Cutout, DeVries and Taylor
            2017, arXiv:1708.04552); 0 for none, None for half of the images' shorter side. An odd side is one pixel
            less, as in the authors' code.
        fill: value in [0, 255] of what an operation shows from outside the image.

    The other arguments are those of ``CropFlip``.

    Raises:
        TypeError, ValueError: if a value is out of its range. The source checks what depends on the images: they must
            have 1 or 3 channels, and ``cutout`` must not exceed their shorter side.

    >>> class Posterized(StrongTransform):
    ...     def stages(self, height, width):
    ...         return [(1.0, False, [[("posterize", 1.0, [1.0, 2.0], False)]])]  # keep one or two bits
    >>> import numpy as np
    >>> from lt_fast.data import ArraySource, FixedBatches, Loader
    >>> source = ArraySource(np.full((4, 8, 8, 1), 200, np.uint8), [0, 1, 0, 1])
    >>> transform = Posterized(mean=(0.0,), std=(1.0,), crop_padding=0)
    >>> batch = next(iter(Loader(source, FixedBatches(4, batch_size=4), transform=transform, seed=0)))
    >>> (batch.x[:, 0, 0, 0] * 255).int().tolist()
    [128, 192, 128, 128]
    """

    cutout: int | None = 0
    fill: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cutout is not None:
            _checks.integer("cutout", self.cutout, least=0, most=_MOST_CUTOUT)
        _checks.integer("fill", self.fill, least=0, most=255)

    @abstractmethod
    def stages(self, height: int, width: int) -> list[policies.Stage]:
        """Return the policy for images of this size: see ``lt_fast.data.policies``."""

    def policy(self, height: int, width: int) -> _rust.Augmentation:
        """Return what Rust applies to images of this size."""
        made = self._policies.get((height, width))
        if made is None:
            cutout = self._cutout(min(height, width))
            made = _rust.Augmentation(self.stages(height, width), self.fill, cutout)
            self._policies[height, width] = made
        return made

    def _cutout(self, side: int) -> int:
        if self.cutout is None:
            return side // 2
        if self.cutout > side:
            raise ValueError(f"cutout must be at most the images' shorter side ({side}), got {self.cutout}")
        return self.cutout

    @cached_property
    def _policies(self) -> dict[tuple[int, int], _rust.Augmentation]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave Rust's objects out: a copy makes its own."""
        return {name: value for name, value in vars(self).items() if name != "_policies"}


@register("transform", "autoaugment")
@dataclass(frozen=True, kw_only=True)
class AutoAugment(StrongTransform):
    """AutoAugment's policy for CIFAR-10 (Cubuk et al. 2019, arXiv:1805.09501) and Cutout.

    With the default values it is what ``microsoft/robustlearn: marc`` and the code of Balanced Meta-Softmax train
    CIFAR-LT with: crop, flip, one of 25 pairs of operations with the fill 128, Cutout 16 of 32 pixels, normalisation.
    Equal to that code bit for bit for the same choices: see ``policies.autoaugment``.

    Args:
        cutout: None is half of the images' shorter side, 16 for CIFAR.
        fill: 128 as in that code.

    >>> transform = AutoAugment(mean=(0.5,) * 3, std=(0.2,) * 3)
    >>> len(transform.stages(32, 32)), transform.fill, transform.plain().crop_padding
    (1, 128, 0)
    """

    cutout: int | None = None
    fill: int = 128

    def stages(self, height: int, width: int) -> list[policies.Stage]:
        """Return the 25 pairs."""
        return policies.autoaugment(height, width)


@register("transform", "randaugment")
@dataclass(frozen=True, kw_only=True)
class RandAugment(StrongTransform):
    """RandAugment (Cubuk et al. 2019, arXiv:1909.13719): operations of one strength.

    Equals ``torchvision.transforms.v2.RandAugment`` on PIL images for the same choices, bit for bit.

    Args:
        num_ops: operations per image, in [0, 100].
        magnitude: their strength, in [0, num_magnitude_bins).
        num_magnitude_bins: of the scale of magnitudes, in [2, 1000].

    >>> transform = RandAugment(mean=(0.5,) * 3, std=(0.2,) * 3, num_ops=3, magnitude=9)
    >>> len(transform.stages(32, 32))  # operations one after the other
    3
    """

    num_ops: int = 2
    magnitude: int = 9
    num_magnitude_bins: int = 31

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.integer("num_ops", self.num_ops, least=0, most=100)
        _checks.integer("num_magnitude_bins", self.num_magnitude_bins, least=2, most=_MOST_BINS)
        _checks.integer("magnitude", self.magnitude, least=0, most=self.num_magnitude_bins - 1)

    def stages(self, height: int, width: int) -> list[policies.Stage]:
        """Return ``num_ops`` times the same choice."""
        return policies.randaugment(
            height,
            width,
            num_ops=self.num_ops,
            magnitude=self.magnitude,
            num_magnitude_bins=self.num_magnitude_bins,
        )


@register("transform", "trivialaugment")
@dataclass(frozen=True, kw_only=True)
class TrivialAugmentWide(StrongTransform):
    """TrivialAugment (Müller and Hutter 2021, arXiv:2103.10158): one operation of any strength.

    Equals ``torchvision.transforms.v2.TrivialAugmentWide`` on PIL images for the same choices, bit for bit.

    Args:
        num_magnitude_bins: of the scale of magnitudes, in [2, 1000].

    >>> transform = TrivialAugmentWide(mean=(0.5,) * 3, std=(0.2,) * 3)
    >>> len(transform.stages(32, 32))  # one operation for each image
    1
    """

    num_magnitude_bins: int = 31

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.integer("num_magnitude_bins", self.num_magnitude_bins, least=2, most=_MOST_BINS)

    def stages(self, height: int, width: int) -> list[policies.Stage]:
        """Return the one choice, of any size."""
        del height, width
        return policies.trivialaugment(num_magnitude_bins=self.num_magnitude_bins)


@register("transform", "simclr")
@dataclass(frozen=True, kw_only=True)
class SimCLR(StrongTransform):
    """Views for contrastive learning: colour jitter, grayscale, Gaussian blur (Chen et al. 2020, arXiv:2002.05709).

    Equals torchvision's ``ColorJitter`` and ``RandomGrayscale`` on PIL images and ``PIL.ImageFilter.GaussianBlur`` for
    the same choices, bit for bit. Crops are those of ``CropFlip``, not the paper's crops of random size. A ``Loader``
    with ``views=2`` gives two views of each image.

    Args:
        jitter: the paper's strength s, in [0, 1]: factors of brightness, contrast and saturation within 0.8 s of 1,
            a turn of the hue within 0.2 s. 0.5 as in the paper for CIFAR-10.
        jitter_probability: in [0, 1].
        grayscale: probability, in [0, 1].
        blur: probability, in [0, 1]; 0 as in the paper for CIFAR-10, 0.5 for ImageNet.
        least_sigma: least standard deviation of the blur, in pixels.
        most_sigma: most of it, in [least_sigma, 100].

    >>> import numpy as np
    >>> from lt_fast.data import ArraySource, FixedBatches, Loader
    >>> source = ArraySource(np.full((4, 32, 32, 3), 128, np.uint8), [0, 1, 0, 1])
    >>> transform = SimCLR(mean=(0.5,) * 3, std=(0.2,) * 3)
    >>> batch = next(iter(Loader(source, FixedBatches(4, batch_size=4), transform=transform, views=2, seed=0)))
    >>> len(batch.views), batch.x.shape, batch.views[0].equal(batch.views[1])
    (2, torch.Size([4, 3, 32, 32]), False)
    """

    jitter: float = 0.5
    jitter_probability: float = 0.8
    grayscale: float = 0.2
    blur: float = 0.0
    least_sigma: float = 0.1
    most_sigma: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("jitter", "jitter_probability", "grayscale", "blur"):
            _checks.number(name, getattr(self, name), least=0, most=1)
        _checks.number("least_sigma", self.least_sigma, least=0, most=100)
        _checks.number("most_sigma", self.most_sigma, least=self.least_sigma, most=100)

    def stages(self, height: int, width: int) -> list[policies.Stage]:
        """Return the three stages, of any size."""
        del height, width
        return policies.simclr(
            jitter=self.jitter,
            jitter_probability=self.jitter_probability,
            grayscale=self.grayscale,
            blur=self.blur,
            sigma=(self.least_sigma, self.most_sigma),
        )
