"""CP-Mix: confused images mixed as in mixup; part of the label weight is given to the rarer class."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.mixing.mix import Labels, Mix, Mixer, mix_within
from lt_fast.mixing.mixup import Mixup
from lt_fast.mixing.pairs import checked_pair, sizes_of
from lt_fast.mixing.remix import checked_tau
from lt_fast.registry import register


def cp_mix_label_weight(lam: Tensor | float, n_a: Tensor | int, n_b: Tensor | int, tau: float = 0.5) -> Tensor:
    """Weight of the first label from the mixing coefficient ``lam`` of the first image and the two class sizes.

    Equals ``(1 - tau) * lam + tau * n_b / (n_a + n_b)``: between the sampled coefficient and one that favours the
    rarer class. ``tau=0`` is mixup; ``tau=1`` disregards ``lam``. Swapping the images gives the complement:
    ``f(1 - lam, n_b, n_a) = 1 - f(lam, n_a, n_b)``.

    Args:
        lam: mixing coefficient of the first image, in [0, 1]; checked on the CPU only.
        n_a: training samples of the first label's class, > 0.
        n_b: training samples of the second label's class, > 0.
        tau: share of the class sizes, in [0, 1]; the default is ours.

    Shape:
        all broadcast against each other; returns float64 for a Python number or a float64 ``lam``, else float32.

    Raises:
        ValueError: if ``tau`` or ``lam`` is outside [0, 1], or a class is empty.

    Source: CP-Mix, arXiv:2411.07621, equations (9) and (10), reconstructed from the text around them: it describes a
    randomly mixed label interpolated with one mixed by a parameter that depends on the class sizes, for the rarer one.
    Which of the two ``tau`` multiplies, its value, and ``n_b / (n_a + n_b)``, UniMix's choice, are ours.

    >>> cp_mix_label_weight(0.5, n_a=90, n_b=10, tau=0.5)  # half way from 0.5 to 10 / 100
    tensor(0.3000, dtype=torch.float64)
    """
    tau = checked_tau(tau)
    lam, n_a, n_b = checked_pair(lam, n_a, n_b)
    return (1 - tau) * lam + tau * n_b / (n_a + n_b)


def cp_mix(
    target: Tensor,
    class_counts: CountsLike,
    *,
    tau: float = 0.5,
    alpha: float = 1.0,
    per_sample: bool = False,
    seed: int = 0,
    epoch: int = 0,
    step: int = 0,
) -> Mix:
    """Mix a batch with itself as ``mixup`` does and its labels by ``cp_mix_label_weight``: CP-Mix's regularisation.

    The other half of the method mixes the pairs of ``lt_fast.sampling.ConfusionPairBatchSampler``: see ``CPMix``.

    Args:
        target: class indices of the batch.
        class_counts: training samples per class.
        tau: share of the class sizes in the label weight; 0 is mixup.
        alpha: both parameters of the Beta distribution of the coefficient.
        per_sample: one coefficient per sample; by default one for the whole batch, as in mixup's code.
        seed: key of the run.
        epoch: key of the epoch.
        step: key of the batch within the epoch.

    Shape:
        target (B,) int; class_counts (C,); returns partner (B,) int64, lam_input and lam_label (B,) float32, on the
        device of ``target``.

    Raises:
        TypeError: if ``target`` is not a tensor of integers.
        ValueError: if a class is empty, a label is outside [0, C), or ``tau``, ``alpha`` or a key out of range.

    Source: CP-Mix, arXiv:2411.07621, equation (16); see ``cp_mix_label_weight`` for what is reconstructed.

    >>> mix = cp_mix(torch.tensor([0, 2, 1]), [500, 50, 5], tau=0.5, seed=0, epoch=0, step=0)
    >>> mix.partner, mix.lam_input, mix.lam_label
    (tensor([1, 2, 0]), tensor([0.1661, 0.1661, 0.1661]), tensor([0.0880, 0.5376, 0.5376]))
    """
    mixer = CPMix(class_counts, tau=tau, alpha=alpha, per_sample=per_sample, seed=seed)
    return mix_within(mixer, target, epoch=epoch, step=step)


@register("mixer", "cp_mix")
class CPMix(Mixer):
    """``cp_mix`` as an object that batches and a loss share.

    Formula: ``x = lam * x_a + (1 - lam) * x_b``, ``label weight = cp_mix_label_weight(lam, n_a, n_b, tau)``.

    Of a batch of confusion pairs, images ``x`` and labels ``y`` gathered as ``i0, j0, i1, j1, ...``::

        lam = torch.from_numpy(mixer.coefficients(epoch, step, len(x) // 2))
        mixed = lam * x[0::2] + (1 - lam) * x[1::2]                      # lam shaped to broadcast
        label_lam = mixer.label_weight(lam, y[0::2], y[1::2])

    ``lt_fast.data.PairPlans(sampler, labels, mixer.coefficients)`` does this in one pass. Where one training also mixes
    plain batches, give it a mixer with another seed, so that the two kinds of batches do not share their coefficients.

    Args:
        counts: training samples per class.
        tau: share of the class sizes in the label weight, in [0, 1]; 0 is mixup.
        alpha: both parameters of the Beta distribution of the coefficient, finite, > 0.
        per_sample: one coefficient per sample rather than one per batch.
        seed: key of the run, in [0, 2^64).
        empty: ``"ignore"`` allows classes without samples; their label weights are those of a class with one sample.

    Shape:
        ``plan`` gives (B,) partners and coefficients, ``label_weight`` a (B,) tensor.

    Raises:
        ValueError: if a class is empty, or ``tau``, ``alpha`` or ``seed`` out of range.

    Source: CP-Mix, arXiv:2411.07621, equations (7) to (10); see ``cp_mix_label_weight`` for what is reconstructed.

    >>> mixer = CPMix([90, 10], tau=0.5, seed=0)
    >>> lam = torch.from_numpy(mixer.coefficients(epoch=0, step=0, pairs=2))
    >>> lam, mixer.label_weight(lam, torch.tensor([0, 1]), torch.tensor([1, 0]))
    (tensor([0.1661, 0.1661]), tensor([0.1330, 0.5330]))
    """

    label_rule = "cp_mix"

    def __init__(
        self,
        counts: CountsLike,
        *,
        tau: float = 0.5,
        alpha: float = 1.0,
        per_sample: bool = False,
        seed: int = 0,
        empty: EmptyPolicy = "error",
    ) -> None:
        self.counts = ClassCounts(counts).require_no_empty(empty)
        self.tau = checked_tau(tau)
        self._draws = Mixup(alpha, per_sample=per_sample, seed=seed)
        self._sizes = torch.from_numpy(np.maximum(self.counts.counts, 1))
        self._fixed = True

    def plan(self, batch: BatchPlan, labels: Labels) -> MixPlan:
        """Return a random permutation of the batch as partners, and mixup's coefficients."""
        return self._draws.plan(batch, labels)

    def coefficients(self, epoch: int, step: int, pairs: int) -> NDArray[np.float32]:
        """Return the mixing coefficients of the first images of a batch of pairs, (pairs,) float32."""
        return self._draws.coefficients(epoch, step, pairs)

    def label_weight(self, lam: Tensor, target_a: Tensor, target_b: Tensor) -> Tensor:
        """Return the weight of every first label, (B,), on the device of the labels.

        Raises:
            TypeError: if the labels are not integers.
            ValueError: if a label is outside [0, C); checked on the CPU only.
        """
        n_a, n_b = sizes_of(self._sizes, target_a=target_a, target_b=target_b)
        return cp_mix_label_weight(lam, n_a, n_b, self.tau)

    def __repr__(self) -> str:
        return (
            f"CPMix(counts={self.counts!r}, tau={self.tau!r}, alpha={self._draws.alpha!r}, "
            f"per_sample={self._draws.per_sample}, seed={self._draws.seed})"
        )
