"""Mixup: convex combinations of two images and of their labels, with one factor for both."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_fast.mixing.draws import beta_factors, checked_alpha, checked_key, checked_target, partner_positions
from lt_fast.mixing.mix import Mix, Mixer


def mixup(
    target: Tensor, *, alpha: float = 1.0, per_sample: bool = False, seed: int = 0, epoch: int = 0, step: int = 0
) -> Mix:
    """Mix a batch and its labels alike: ``lam_label = lam_input = lam`` with ``lam`` from Beta(alpha, alpha).

    Equals, up to the generator, ``lam = np.random.beta(alpha, alpha)`` and ``partner = torch.randperm(B)``; here both
    are a pure function of ``(seed, epoch, step)``. O(B log B).

    Args:
        target: class indices of the batch; only their number and device are used.
        alpha: both parameters of the Beta distribution; 1 is uniform.
        per_sample: draw one factor a sample; by default one for the whole batch, as the authors' code does.
        seed: key of the run.
        epoch: key of the epoch.
        step: key of the batch within the epoch.

    Shape:
        target (B,) int; returns partner (B,) int64, lam_input and lam_label (B,) float32, on the device of ``target``.

    Raises:
        TypeError: if ``target`` is not a tensor of whole numbers, or a key is none.
        ValueError: if ``alpha`` is not finite and positive, ``target`` not one-dimensional, or a key out of range.

    Source: Zhang et al. 2018, arXiv:1710.09412; code facebookresearch/mixup-cifar10, train.py. Differs from it:
    ``alpha <= 0`` is refused, where the code then does not mix.
    """
    mixer = Mixup(alpha, per_sample=per_sample, seed=seed)
    size, device = len(checked_target(target)), target.device
    lam = torch.from_numpy(mixer.factor(epoch, step, size)).to(device)
    return Mix(torch.from_numpy(mixer.partner(epoch, step, target)).to(device), lam, lam)


class Mixup(Mixer):
    """``mixup`` as an object that a ``Loader`` and a loss share.

    Formula: ``x = lam * x_a + (1 - lam) * x_b``, ``label factor = lam``, ``lam`` from Beta(alpha, alpha).

    Args:
        alpha: both parameters of the Beta distribution, finite, > 0.
        per_sample: draw one factor a sample rather than one a batch.
        seed: key of the run, in [0, 2^64).

    Shape:
        ``partner`` and ``factor`` give (B,) arrays, ``label_factor`` a (B,) tensor.

    Raises:
        ValueError: if ``alpha`` is not finite and positive, or ``seed`` out of range.

    Source: Zhang et al. 2018, arXiv:1710.09412.
    """

    label_rule = "mixup"

    def __init__(self, alpha: float = 1.0, *, per_sample: bool = False, seed: int = 0) -> None:
        checked_key(seed=seed)
        self.alpha = checked_alpha(alpha)
        self.per_sample = per_sample
        self.seed = seed
        self._fixed = True

    def partner(self, epoch: int, step: int, labels: Any) -> NDArray[np.int64]:
        """Return every image's partner: a random permutation of the batch's positions, (B,) int64."""
        checked_key(seed=self.seed, epoch=epoch, step=step)
        return partner_positions(len(labels), seed=self.seed, epoch=epoch, step=step)

    def factor(self, epoch: int, step: int, batch_size: int) -> NDArray[np.float32]:
        """Return the factor of every first image, (B,) float32."""
        checked_key(seed=self.seed, epoch=epoch, step=step)
        return beta_factors(self.alpha, batch_size, per_sample=self.per_sample, seed=self.seed, epoch=epoch, step=step)

    def label_factor(self, lam: Tensor, target_a: Tensor, target_b: Tensor) -> Tensor:  # noqa: ARG002  (the mixers' shared signature)
        """Return ``lam``: labels are mixed as the images are."""
        return lam

    def __repr__(self) -> str:
        return f"Mixup(alpha={self.alpha:g}, per_sample={self.per_sample}, seed={self.seed})"
