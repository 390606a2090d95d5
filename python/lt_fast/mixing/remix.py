"""Remix: images mixed as in mixup; the minority gets the whole label where the class sizes differ much."""

import numpy as np
import torch
from torch import Tensor

from lt_fast._checks import number
from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.mixing.mix import Labels, Mix, Mixer, mix_within
from lt_fast.mixing.mixup import Mixup
from lt_fast.mixing.pairs import checked_pair, sizes_of
from lt_fast.registry import register


def remix_label_weight(
    lam: Tensor | float, n_a: Tensor | int, n_b: Tensor | int, kappa: float = 3.0, tau: float = 0.5
) -> Tensor:
    """Weight of the first label from the mixing coefficient ``lam`` of the first image and the two class sizes.

    Equals::

        0    if n_a >= kappa * n_b and lam < tau          the second class is the minority: it gets the label
        1    if n_b >= kappa * n_a and 1 - lam < tau      the first is
        lam  otherwise

    Swapping the images gives the complement, ``f(1 - lam, n_b, n_a) = 1 - f(lam, n_a, n_b)``, for ``kappa > 1``.

    Args:
        lam: mixing coefficient of the first image, in [0, 1]; checked on the CPU only.
        n_a: training samples of the first label's class, > 0.
        n_b: training samples of the second label's class, > 0.
        kappa: ratio of the sizes from which the minority may get the whole label, finite, >= 1.
        tau: share of the majority's image below which it does, in [0, 1]; 0 is mixup.

    Shape:
        all broadcast against each other; returns float64 for a Python number or a float64 ``lam``, else float32.

    Raises:
        ValueError: if ``kappa`` or ``tau`` is out of range, ``lam`` is outside [0, 1], or a class is empty.

    Source: Chou et al. 2020, arXiv:2007.03943; code ntucllab/imbalanced-DL, _remix_drw.py.

    >>> remix_label_weight(torch.tensor([0.4, 0.6]), n_a=500, n_b=5)  # the second class is the minority
    tensor([0.0000, 0.6000])
    >>> remix_label_weight(torch.tensor([0.4, 0.6]), n_a=10, n_b=5)  # the sizes differ less than kappa times: mixup
    tensor([0.4000, 0.6000])
    """
    kappa, tau = checked_kappa(kappa), checked_tau(tau)
    lam, n_a, n_b = checked_pair(lam, n_a, n_b)
    to_b = (n_a >= kappa * n_b) & (lam < tau)
    to_a = (n_b >= kappa * n_a) & (1 - lam < tau)
    return torch.where(to_b, 0.0, torch.where(to_a, 1.0, lam))


def remix(
    target: Tensor,
    class_counts: CountsLike,
    *,
    kappa: float = 3.0,
    tau: float = 0.5,
    alpha: float = 1.0,
    per_sample: bool = False,
    seed: int = 0,
    epoch: int = 0,
    step: int = 0,
) -> Mix:
    """Mix a batch as ``mixup`` does and its labels by ``remix_label_weight``.

    Args:
        target: class indices of the batch.
        class_counts: training samples per class.
        kappa: ratio of the class sizes from which the minority may get the whole label.
        tau: share of the majority's image below which it does; 0 is mixup.
        alpha: both parameters of the Beta distribution of the coefficient.
        per_sample: one coefficient per sample; by default one for the whole batch, as in the code named below.
        seed: key of the run.
        epoch: key of the epoch.
        step: key of the batch within the epoch.

    Shape:
        target (B,) int; class_counts (C,); returns partner (B,) int64, lam_input and lam_label (B,) float32, on the
        device of ``target``.

    Raises:
        TypeError: if ``target`` is not a tensor of integers.
        ValueError: if a class is empty, a label is outside [0, C), or ``kappa``, ``tau``, ``alpha`` or a key out of
            range.

    Source: Chou et al. 2020, arXiv:2007.03943; code ntucllab/imbalanced-DL, _remix_drw.py.

    >>> mix = remix(torch.tensor([0, 2, 1]), [500, 50, 5], seed=0, epoch=0, step=0)
    >>> mix.partner, mix.lam_input, mix.lam_label
    (tensor([1, 2, 0]), tensor([0.1661, 0.1661, 0.1661]), tensor([0.0000, 0.1661, 0.1661]))
    """
    mixer = Remix(class_counts, kappa=kappa, tau=tau, alpha=alpha, per_sample=per_sample, seed=seed)
    return mix_within(mixer, target, epoch=epoch, step=step)


@register("mixer", "remix")
class Remix(Mixer):
    """``remix`` as an object that a ``Loader`` and a loss share.

    Formula: ``x = lam * x_a + (1 - lam) * x_b``, ``label weight = remix_label_weight(lam, n_a, n_b, kappa, tau)``.

    A loss with ``label_rule="remix"`` uses 3 and 0.5; for another ``kappa`` or ``tau`` pass it the label weight
    and ``label_rule="mixup"``.

    Args:
        counts: training samples per class.
        kappa: ratio of the class sizes from which the minority may get the whole label, finite, >= 1.
        tau: share of the majority's image below which it does, in [0, 1].
        alpha: both parameters of the Beta distribution of the coefficient, finite, > 0.
        per_sample: one coefficient per sample rather than one per batch.
        seed: key of the run, in [0, 2^64).
        empty: ``"ignore"`` allows classes without samples; their label weights are those of a class with one sample.

    Shape:
        ``plan`` gives (B,) partners and coefficients, ``label_weight`` a (B,) tensor.

    Raises:
        ValueError: if a class is empty, or ``kappa``, ``tau``, ``alpha`` or ``seed`` out of range.

    Source: Chou et al. 2020, arXiv:2007.03943; code ntucllab/imbalanced-DL, _remix_drw.py.

    >>> mixer = Remix([500, 50, 5], kappa=3, tau=0.5, seed=0)
    >>> mixer.label_weight(torch.tensor([0.4, 0.6]), torch.tensor([0, 0]), torch.tensor([2, 2]))
    tensor([0.0000, 0.6000])
    """

    label_rule = "remix"

    def __init__(
        self,
        counts: CountsLike,
        *,
        kappa: float = 3.0,
        tau: float = 0.5,
        alpha: float = 1.0,
        per_sample: bool = False,
        seed: int = 0,
        empty: EmptyPolicy = "error",
    ) -> None:
        self.counts = ClassCounts(counts).require_no_empty(empty)
        self.kappa, self.tau = checked_kappa(kappa), checked_tau(tau)
        self._draws = Mixup(alpha, per_sample=per_sample, seed=seed)
        self._sizes = torch.from_numpy(np.maximum(self.counts.counts, 1))
        self._fixed = True

    def plan(self, batch: BatchPlan, labels: Labels) -> MixPlan:
        """Return a random permutation of the batch as partners, and mixup's coefficients."""
        return self._draws.plan(batch, labels)

    def label_weight(self, lam: Tensor, target_a: Tensor, target_b: Tensor) -> Tensor:
        """Return the weight of every first label, (B,), on the device of the labels.

        Raises:
            TypeError: if the labels are not integers.
            ValueError: if a label is outside [0, C); checked on the CPU only.
        """
        n_a, n_b = sizes_of(self._sizes, target_a=target_a, target_b=target_b)
        return remix_label_weight(lam, n_a, n_b, self.kappa, self.tau)

    def __repr__(self) -> str:
        return (
            f"Remix(counts={self.counts!r}, kappa={self.kappa!r}, tau={self.tau!r}, "
            f"alpha={self._draws.alpha!r}, per_sample={self._draws.per_sample}, seed={self._draws.seed})"
        )


def checked_kappa(kappa: float) -> float:
    """Return ``kappa``; raise unless it is finite and >= 1."""
    # A tuple: the compiler of an older torch does not trace a union of types.
    inverse = isinstance(kappa, (int, float)) and 0 < kappa < 1
    hint = f"; did you mean {1 / kappa:g}? (larger over smaller class)" if inverse else ""
    return number("kappa", kappa, least=1, hint=hint)


def checked_tau(tau: float) -> float:
    """Return ``tau``; raise unless it lies in [0, 1]."""
    return number("tau", tau, least=0, most=1)
