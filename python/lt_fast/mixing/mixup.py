"""Mixup: convex combinations of two images and of their labels, with one coefficient for both."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lt_fast._checks import seed as checked_seed
from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.mixing.draws import beta_coefficients, checked_alpha, checked_key, partner_positions
from lt_fast.mixing.mix import Labels, Mix, Mixer, mix_within
from lt_fast.registry import register


def mixup(
    target: Tensor, *, alpha: float = 1.0, per_sample: bool = False, seed: int = 0, epoch: int = 0, step: int = 0
) -> Mix:
    """Mix a batch and its labels with the same coefficient, ``lam_label = lam_input``, from Beta(alpha, alpha).

    Equals, up to the generator, ``lam = np.random.beta(alpha, alpha)`` and ``partner = torch.randperm(B)``; here both
    are pure functions of ``(seed, epoch, step)``. O(B log B).

    Args:
        target: class indices of the batch; only their number and device are used.
        alpha: both parameters of the Beta distribution; 1 is uniform.
        per_sample: one coefficient per sample; by default one for the whole batch, as in the authors' code.
        seed: key of the run.
        epoch: key of the epoch.
        step: key of the batch within the epoch.

    Shape:
        target (B,) int; returns partner (B,) int64, lam_input and lam_label (B,) float32, on the device of ``target``.

    Raises:
        TypeError: if ``target`` is not a tensor of integers, or a key is not an integer.
        ValueError: if ``alpha`` is not finite and positive, ``target`` not one-dimensional, or a key out of range.

    Source: Zhang et al. 2018, arXiv:1710.09412; code facebookresearch/mixup-cifar10, train.py. Differs from it:
    ``alpha <= 0`` is refused, where the code then does not mix.

    >>> import torch
    >>> mix = mixup(torch.tensor([0, 1, 2]), alpha=1.0, seed=0, epoch=0, step=0)  # the same again for the same keys
    >>> mix.partner, mix.lam_input, mix.lam_label
    (tensor([1, 2, 0]), tensor([0.1661, 0.1661, 0.1661]), tensor([0.1661, 0.1661, 0.1661]))
    >>> mix.apply(torch.tensor([[0.0], [1.0], [2.0]]))[:, 0]
    tensor([0.8339, 1.8339, 0.3321])
    """
    mixer = Mixup(alpha, per_sample=per_sample, seed=seed)
    return mix_within(mixer, target, epoch=epoch, step=step)


@register("mixer", "mixup")
class Mixup(Mixer):
    """``mixup`` as an object that a ``Loader`` and a loss share.

    Formula: ``x = lam * x_a + (1 - lam) * x_b``, ``label weight = lam``, ``lam`` from Beta(alpha, alpha).

    Args:
        alpha: both parameters of the Beta distribution, finite, > 0.
        per_sample: one coefficient per sample rather than one per batch.
        seed: key of the run, in [0, 2^64).

    Shape:
        ``plan`` gives (B,) partners and coefficients, ``label_weight`` a (B,) tensor.

    Raises:
        ValueError: if ``alpha`` is not finite and positive, or ``seed`` out of range.

    Source: Zhang et al. 2018, arXiv:1710.09412.

    >>> import numpy as np
    >>> mixer, rows = Mixup(alpha=1.0, seed=0), np.array([40, 7, 12])
    >>> plan = mixer.plan(BatchPlan(epoch=0, step=0, index=rows, position=np.arange(3)), labels=np.array([0, 1, 2]))
    >>> plan.partner, plan.lam.round(2)  # rows of the data set, the mixing coefficient
    (array([ 7, 12, 40]), array([0.17, 0.17, 0.17], dtype=float32))
    """

    label_rule = "mixup"

    def __init__(self, alpha: float = 1.0, *, per_sample: bool = False, seed: int = 0) -> None:
        self.alpha = checked_alpha(alpha)
        self.per_sample = per_sample
        self.seed = checked_seed(seed)
        self._fixed = True

    def plan(self, batch: BatchPlan, labels: Labels) -> MixPlan:  # noqa: ARG002  (the mixers' shared signature)
        """Return a random permutation of the batch as partners."""
        lam = self.coefficients(batch.epoch, batch.step, len(batch.index))
        at = partner_positions(len(lam), seed=self.seed, epoch=batch.epoch, step=batch.step)
        return MixPlan(batch.index[at], batch.position[at], lam)

    def coefficients(self, epoch: int, step: int, size: int) -> NDArray[np.float32]:
        """Return the mixing coefficients of ``size`` first images, (size,) float32."""
        checked_key(epoch=epoch, step=step)
        return beta_coefficients(self.alpha, size, per_sample=self.per_sample, seed=self.seed, epoch=epoch, step=step)

    def label_weight(self, lam: Tensor, target_a: Tensor, target_b: Tensor) -> Tensor:  # noqa: ARG002  (the mixers' shared signature)
        """Return ``lam``: labels are mixed as the images are."""
        return lam

    def __repr__(self) -> str:
        return f"Mixup(alpha={self.alpha!r}, per_sample={self.per_sample}, seed={self.seed})"
