"""CutMix: a rectangle of the image is replaced by the partner's pixels, and the labels are mixed by the areas."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lt_fast._checks import integer, number
from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.mixing.draws import box_draws
from lt_fast.mixing.mix import Labels, Mix, Mixer, mix_within
from lt_fast.mixing.mixup import Mixup
from lt_fast.registry import register


def cutmix(
    target: Tensor,
    image_size: int | tuple[int, int],
    *,
    alpha: float = 1.0,
    probability: float = 1.0,
    per_sample: bool = False,
    seed: int = 0,
    epoch: int = 0,
    step: int = 0,
) -> Mix:
    """Replace a rectangle of every image by that of another image of the batch: ``lam_label = lam_input = 1 - area``.

    Args:
        target: class indices of the batch; only their number and device are used.
        image_size: (height, width) of the images in pixels, or one number for both.
        alpha: both parameters of the Beta distribution of the share outside the rectangle, before it is clipped to the
            image; 1 is uniform.
        probability: of mixing at all, in [0, 1]: the authors use 1 for ImageNet and 0.5 for CIFAR.
        per_sample: one rectangle per sample; by default one for the whole batch, as in the authors' code.
        seed: key of the run.
        epoch: key of the epoch.
        step: key of the batch within the epoch.

    Shape:
        target (B,) int; returns partner (B,) int64, lam_input and lam_label (B,) float32, boxes (B, 4) int32, on the
        device of ``target``.

    Raises:
        TypeError: if ``target`` is not a tensor of integers, or another argument has the wrong type.
        ValueError: if an argument is out of range.

    Source: Yun et al. 2019, arXiv:1905.04899; code clovaai/CutMix-PyTorch, train.py; for what differs see ``CutMix``.

    >>> import torch
    >>> mix = cutmix(torch.tensor([0, 1, 2]), image_size=32, seed=0, epoch=0, step=0)
    >>> mix.boxes[0], mix.lam_label  # what is pasted covers 1 - lam of the image
    (tensor([10,  1, 32, 29], dtype=torch.int32), tensor([0.3984, 0.3984, 0.3984]))
    >>> mix.apply(torch.zeros(3, 3, 32, 32)).shape
    torch.Size([3, 3, 32, 32])
    """
    mixer = CutMix(image_size, alpha=alpha, probability=probability, per_sample=per_sample, seed=seed)
    return mix_within(mixer, target, epoch=epoch, step=step)


@register("mixer", "cutmix")
class CutMix(Mixer):
    """``cutmix`` as an object that a ``Loader`` and a loss share.

    Formula: with ``lam`` from Beta(alpha, alpha), the rectangle reaches ``int(H * sqrt(1 - lam)) // 2`` pixels up and
    down and ``int(W * sqrt(1 - lam)) // 2`` left and right of a uniformly sampled pixel, and is clipped to the image.
    The coefficient of image and label is the share of the pixels outside: ``lam = 1 - area / (H * W)``.

    Args:
        image_size: (height, width) of the images in a batch in pixels, or one number for both.
        alpha: both parameters of the Beta distribution, finite, > 0.
        probability: of mixing at all, in [0, 1]; an image that is not mixed has ``lam = 1`` and is its own partner.
        per_sample: one rectangle per sample rather than one per batch.
        seed: key of the run, in [0, 2^64).

    Shape:
        ``plan`` gives (B,) partners and coefficients and (B, 4) boxes, ``label_weight`` a (B,) tensor.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument is out of range.

    Source: Yun et al. 2019, arXiv:1905.04899; code clovaai/CutMix-PyTorch, train.py: partners, rectangle and corrected
    ``lam`` are its own. Differs from it: every random number is a pure function of (seed, epoch, step); an image whose
    rectangle is empty is its own partner; ``alpha <= 0``, which switches mixing off there, is refused.

    >>> mixer, rows = CutMix(image_size=(32, 64), per_sample=True, seed=0), np.array([40, 7, 12])
    >>> plan = mixer.plan(BatchPlan(epoch=0, step=0, index=rows, position=np.arange(3)), labels=np.array([0, 1, 2]))
    >>> plan.boxes.tolist(), plan.lam.round(2)
    ([[10, 1, 32, 59], [3, 28, 23, 64], [1, 0, 25, 34]], array([0.38, 0.65, 0.6 ], dtype=float32))
    """

    label_rule = "mixup"

    def __init__(
        self,
        image_size: int | tuple[int, int],
        *,
        alpha: float = 1.0,
        probability: float = 1.0,
        per_sample: bool = False,
        seed: int = 0,
    ) -> None:
        self.image_size = _checked_size(image_size)
        self.probability = number("probability", probability, least=0, most=1)
        self._draws = Mixup(alpha, per_sample=per_sample, seed=seed)
        self._fixed = True

    def plan(self, batch: BatchPlan, labels: Labels) -> MixPlan:
        """Return a random permutation of the batch as partners, and the rectangles that they fill."""
        blend = self._draws.plan(batch, labels)
        boxes = self._boxes(batch, blend.lam)
        area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        lam = (1 - area / np.prod(self.image_size)).astype(np.float32)
        # Where nothing is pasted, another image would be read in vain.
        partner = np.where(area > 0, blend.partner, batch.index)
        position = np.where(area > 0, blend.position, batch.position)
        return MixPlan(partner, position, lam, boxes)

    def label_weight(self, lam: Tensor, target_a: Tensor, target_b: Tensor) -> Tensor:  # noqa: ARG002  (the mixers' shared signature)
        """Return ``lam``: a label weighs what its image covers."""
        return lam

    def _boxes(self, batch: BatchPlan, lam: NDArray[np.float32]) -> NDArray[np.int32]:
        """Return (B, 4) rectangles: ``rand_bbox`` of the authors' code for each image."""
        key = {"seed": self._draws.seed, "epoch": batch.epoch, "step": batch.step}
        uniform = box_draws(len(lam), per_sample=self._draws.per_sample, **key)
        size = np.array(self.image_size)
        reach = (size * np.sqrt(1 - lam.astype(np.float64))[:, None]).astype(np.int64) // 2
        reach[uniform[:, 2] >= self.probability] = 0
        centre = (uniform[:, :2] * size).astype(np.int64)
        edges = np.concatenate([(centre - reach).clip(0), np.minimum(centre + reach, size)], axis=1)
        return edges.astype(np.int32)

    def __repr__(self) -> str:
        return (
            f"CutMix(image_size={self.image_size}, alpha={self._draws.alpha!r}, probability={self.probability!r}, "
            f"per_sample={self._draws.per_sample}, seed={self._draws.seed})"
        )


def _checked_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    sides = tuple(image_size) if isinstance(image_size, Sequence) else (image_size, image_size)
    if len(sides) != 2:  # noqa: PLR2004
        raise ValueError(f"image_size must be one integer or (height, width), got {image_size!r}")
    height, width = (integer("image_size", side, least=1) for side in sides)
    return height, width
