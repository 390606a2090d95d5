"""CMO, context-rich minority oversampling: rectangles of rare images are pasted onto the images of ordinary batches."""

from typing import Any

import numpy as np
from torch import Tensor

from lt_fast._checks import integer, number
from lt_fast._schedules import epoch_at
from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.mixing.cutmix import CutMix
from lt_fast.mixing.draws import checked_key
from lt_fast.mixing.mix import Labels, Mixer
from lt_fast.mixing.partners import ClassDrawnPartners
from lt_fast.registry import register


@register("mixer", "cmo")
class CMO(Mixer):
    """CutMix whose foreground is drawn from the whole data set by class size, with the batch as background.

    Formula: ``x = background`` with the foreground's pixels in a rectangle, ``label weight = lam``, the background's
    share of the pixels; the rectangle as in ``CutMix``. A foreground has the weight ``n_c ** (q - 1)``: for ``q=0``
    every class is equally frequent among the foregrounds. For any loss, and for the loaders of your own loop::

        mixer = lt.mixing.CMO(labels, image_size=32, epochs=200, seed=0)
        for batch in lt.data.Loader(source, sampler, transform=transform, mixer=mixer, seed=0):
            loss = criterion(model(batch.x), batch.target, batch.target_b, batch.lam)

    The foreground of an image is a pure function of (seed, epoch, the image's position in the epoch), so that it is the
    same for any number of ranks and workers.

    Args:
        labels: the class of every image of the data set, integers or strings, or a data set as samplers take it.
        image_size: (height, width) of the images in a batch in pixels, or one number for both.
        epochs: of the whole training, >= 1: ``start_at`` and ``stop_at`` are fractions of it.
        q: exponent of the class sizes, finite: 0 is class-balanced, 1 instance-balanced, -1 reverse.
        alpha: both parameters of the Beta distribution of the background's share, finite, > 0.
        probability: of mixing a batch at all, in [0, 1].
        start_at: fraction of the epochs, to the nearest epoch, before which nothing is mixed, in [0, 1].
        stop_at: fraction of the epochs, to the nearest epoch, from which on nothing is mixed, in [0, 1].
        per_sample: a rectangle and a decision to mix for each image rather than for each batch.
        seed: key of the run, in [0, 2^64).

    Shape:
        labels (N,); ``plan`` gives (B,) partners and coefficients and (B, 4) boxes, ``label_weight`` a (B,) tensor.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a label is negative, a number is out of range, or ``start_at`` is above ``stop_at``.

    Source: Park et al. 2022, arXiv:2112.00412; code naver-ai/cmo, cifar_train.py and imbalance_data/imbalance_cifar.py,
    where ``weighted_alpha`` is ``1 - q``. Differs from it: every random number is keyed. An unmixed image is its own
    partner. Nothing is mixed in the first 2 and the last 1.5 percent of the epochs; the code has the first 4
    (``3 < epoch``) and the last 3 of any number, the same for 200. With class weights and ``normalization="weights"`` a
    loss here divides by the weights of both labels together, where the code divides each label's loss by its own.

    >>> mixer = CMO([0] * 90 + [1] * 10, image_size=32, epochs=200, probability=1.0, seed=0)
    >>> rows = np.arange(64)
    >>> plan = mixer.plan(BatchPlan(epoch=100, step=0, index=rows, position=rows), np.zeros(64, dtype=np.int64))
    >>> int((plan.partner >= 90).sum()), plan.boxes[0].tolist()  # foregrounds of the rare class; the first box
    (31, [16, 0, 32, 15])
    """

    label_rule = "mixup"

    def __init__(
        self,
        labels: Any,
        image_size: int | tuple[int, int],
        *,
        epochs: int,
        q: float = 0.0,
        alpha: float = 1.0,
        probability: float = 0.5,
        start_at: float = 0.02,
        stop_at: float = 0.985,
        per_sample: bool = False,
        seed: int = 0,
    ) -> None:
        self._boxes = CutMix(image_size, alpha=alpha, probability=probability, per_sample=per_sample, seed=seed)
        self._partners = ClassDrawnPartners(labels, q=q, seed=seed)
        self.epochs = integer("epochs", epochs, least=1)
        self.start_at = number("start_at", start_at, least=0, most=1)
        self.stop_at = number("stop_at", stop_at, least=0, most=1)
        if self.start_at > self.stop_at:
            raise ValueError(f"start_at must be <= stop_at ({stop_at}), got {start_at}; nothing would be mixed")
        self._fixed = True

    def plan(self, batch: BatchPlan, labels: Labels) -> MixPlan:
        """Return foregrounds from the whole data set, and the rectangles that they fill."""
        return self._pasting(batch, labels) if self._mixes(batch.epoch) else self._unmixed(batch)

    def _pasting(self, batch: BatchPlan, labels: Labels) -> MixPlan:
        plan = self._boxes.plan(batch, labels)
        partner, position = self._partners.of(batch)
        # Where nothing is pasted, another image would be read in vain.
        pasted = plan.lam < 1
        return plan._replace(
            partner=np.where(pasted, partner, batch.index), position=np.where(pasted, position, batch.position)
        )

    def _unmixed(self, batch: BatchPlan) -> MixPlan:
        checked_key(epoch=batch.epoch, step=batch.step)
        rows = len(batch.index)
        return MixPlan(batch.index, batch.position, np.ones(rows, np.float32), np.zeros((rows, 4), np.int32))

    def _mixes(self, epoch: int) -> bool:
        return epoch_at(self.start_at, self.epochs) <= epoch < epoch_at(self.stop_at, self.epochs)

    def label_weight(self, lam: Tensor, target_a: Tensor, target_b: Tensor) -> Tensor:  # noqa: ARG002  (the mixers' shared signature)
        """Return ``lam``: a label weighs what its image covers."""
        return lam

    def __repr__(self) -> str:
        return (
            f"CMO({self._partners!r}, {self._boxes!r}, epochs={self.epochs}, start_at={self.start_at!r}, "
            f"stop_at={self.stop_at!r})"
        )
