"""What every mixer gives: for each image of a batch a partner, the factor of the image and the factor of the label."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.mixing.fixed import FixedSettings


class Mix(NamedTuple):
    """How one batch is mixed: ``x = lam_input * x_i + (1 - lam_input) * x_partner(i)``, labels by ``lam_label``.

    Attributes:
        partner: (B,) int64, position in the batch of the second image.
        lam_input: (B,) float32, factor of the first image, in [0, 1].
        lam_label: (B,) float32, factor of the first label, in [0, 1].

    ``loss = lam_label * CE(logits, target) + (1 - lam_label) * CE(logits, target[partner])``, or pass ``lam_input`` and
    the mixer's ``label_rule`` to a loss of ``lt_fast.losses``, which computes the label factor itself.
    """

    partner: Tensor
    lam_input: Tensor
    lam_label: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """Mix a batch of images: equals ``lam * x + (1 - lam) * x[partner]`` with ``lam`` one factor an image.

        Half-precision images are mixed in float32 and rounded once, so that the factor that the label was mixed with
        is the factor that the image got. O(B * pixels), two temporaries of the size of ``x``.

        Shape:
            x (B, ...) float; returns the same shape, dtype and device.

        Raises:
            TypeError: if ``x`` is not floating point: whole numbers would round the mix.
            ValueError: if ``x`` holds another number of images.
        """
        if not x.is_floating_point():
            raise TypeError(f"x must be floating point to be mixed, got {x.dtype}; convert it with x.float() first")
        if x.ndim == 0 or len(x) != len(self.partner):
            raise ValueError(f"x must hold one image per partner ({len(self.partner)}), got shape {tuple(x.shape)}")
        wide = torch.promote_types(x.dtype, torch.float32)
        lam = self.lam_input.to(x.device, wide).reshape(-1, *[1] * (x.ndim - 1))
        mixed: Tensor = lam * x.to(wide) + (1 - lam) * x[self.partner.to(x.device)].to(wide)
        return mixed.to(x.dtype)


class Mixer(FixedSettings, ABC):
    """What ``MIXERS`` hold: draws keyed by (seed, epoch, step), with no state that moves.

    ``lt_fast.data.Loader(..., mixer=mixer)`` mixes the images while a batch is made; a loss with
    ``label_rule=mixer.label_rule`` mixes the labels.
    """

    label_rule: str
    """Name of the label rule in ``lt_fast.ops.mixed_margin_loss``."""

    def plan(self, batch: BatchPlan, labels: NDArray[np.int64]) -> MixPlan:
        """Return the partner of every image in a batch, and how much of the image remains.

        The partners are images of the same batch, augmented as they are in their own position.

        Args:
            batch: the images before mixing.
            labels: (B,) of the images.
        """
        at = self.partner(batch.epoch, batch.step, labels)
        return MixPlan(batch.index[at], batch.position[at], self.factor(batch.epoch, batch.step, len(labels)))

    @abstractmethod
    def partner(self, epoch: int, step: int, labels: Any) -> NDArray[np.int64]:
        """Position in the batch of every image's partner, (B,)."""

    @abstractmethod
    def factor(self, epoch: int, step: int, batch_size: int) -> NDArray[np.float32]:
        """Factor of every first image, (B,)."""

    @abstractmethod
    def label_factor(self, lam: Tensor, target_a: Tensor, target_b: Tensor) -> Tensor:
        """Factor of every first label, (B,)."""
