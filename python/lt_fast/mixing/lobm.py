"""Label-occurrence-balanced mixup: both images of every pair come from class-balanced draws."""

from typing import Any

from torch import Tensor

from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.mixing.mix import Labels, Mixer
from lt_fast.mixing.mixup import Mixup
from lt_fast.mixing.partners import ClassDrawnPartners
from lt_fast.registry import register


@register("mixer", "lobm")
class LOBM(Mixer):
    """Mixup whose partners are drawn class-balanced from the whole data set, for batches that are class-balanced too.

    Formula: ``x = lam * x_a + (1 - lam) * x_b``, ``label weight = lam``, ``lam`` from Beta(alpha, alpha); ``x_b`` is
    drawn by a class of probability ``n_c ** q`` over the sum, then any image of it. ``x_a`` is what the sampler gives::

        sampler = lt.sampling.ClassBalancedBatchSampler(labels, batch_size=128, within_class="replace", seed=0)
        mixer = lt.mixing.LOBM(labels, seed=0)
        for batch in lt.data.Loader(source, sampler, transform=transform, mixer=mixer, seed=0):
            loss = criterion(model(batch.x), batch.target, batch.target_b, batch.lam)

    With ``q=0`` and such a sampler every class has the same expected label weight, ``1 / C``, whatever the class sizes.
    The partner of an image is a pure function of (seed, epoch, its position in the epoch), so that it is the same for
    any number of ranks and workers. Partners are independent of a sampler's draws with the same seed.

    Args:
        labels: the class of every image of the data set, integers or strings, or a data set as samplers take it.
        q: exponent of the class sizes, finite: 0 is class-balanced, 1 instance-balanced.
        alpha: both parameters of the Beta distribution, finite, > 0.
        per_sample: one coefficient per sample rather than one per batch.
        seed: key of the run, in [0, 2^64).

    Shape:
        labels (N,); ``plan`` gives (B,) partners and coefficients, ``label_weight`` a (B,) tensor.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a label is negative, or a number is out of range.

    Source: Zhang, Chen, Zhang, Peng 2022, arXiv:2110.04964: two independent class-balanced samplers. Of the paper only
    its abstract and introduction were available, and no public code was found: the distribution of ``lam`` and that the
    draws are with replacement are ours.

    >>> import numpy as np
    >>> mixer, rows = LOBM([0] * 90 + [1] * 10, seed=0), np.arange(64)
    >>> plan = mixer.plan(BatchPlan(epoch=0, step=0, index=rows, position=rows), np.zeros(64, dtype=np.int64))
    >>> int((plan.partner >= 90).sum())  # partners of the rare class, a tenth of the images
    35
    """

    label_rule = "mixup"

    def __init__(
        self, labels: Any, *, q: float = 0.0, alpha: float = 1.0, per_sample: bool = False, seed: int = 0
    ) -> None:
        self._draws = Mixup(alpha, per_sample=per_sample, seed=seed)
        self._partners = ClassDrawnPartners(labels, q=q, seed=seed)
        self._fixed = True

    def plan(self, batch: BatchPlan, labels: Labels) -> MixPlan:  # noqa: ARG002  (the mixers' shared signature)
        """Return partners from the whole data set, and mixup's coefficients."""
        lam = self._draws.coefficients(batch.epoch, batch.step, len(batch.index))
        return MixPlan(*self._partners.of(batch), lam)

    def label_weight(self, lam: Tensor, target_a: Tensor, target_b: Tensor) -> Tensor:  # noqa: ARG002  (the mixers' shared signature)
        """Return ``lam``: labels are mixed as the images are."""
        return lam

    def __repr__(self) -> str:
        return (
            f"LOBM({self._partners!r}, alpha={self._draws.alpha!r}, per_sample={self._draws.per_sample}, "
            f"seed={self._draws.seed})"
        )
