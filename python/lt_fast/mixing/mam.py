"""Margin-aware mixup (MAM, MAMix): images mixed as in mixup, labels so that the rarer class keeps the wider margin."""

import math

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


def mam_label_weight(lam: Tensor | float, n_a: Tensor | int, n_b: Tensor | int, omega: float = 0.25) -> Tensor:
    """Weight of the first label from the mixing coefficient ``lam`` of the first image and the two class sizes.

    With ``b = 1 / (1 + (n_b / n_a)**omega)``, the share of image a at which the mix is on the decision boundary::

        lam / (2 * b)                  if lam <  b
        1 - (1 - lam) / (2 * (1 - b))  if lam >= b

    Continuous and increasing from 0 over (b, 1/2) to 1. The larger class has ``b > 1/2``: its image must be more than
    half of the mix to be half of the label. ``omega=0`` or ``n_a == n_b`` is mixup: ``lam`` itself. Swapping the images
    gives the complement: ``f(1 - lam, n_b, n_a) = 1 - f(lam, n_a, n_b)``.

    Args:
        lam: mixing coefficient of the first image, in [0, 1]; checked on the CPU only.
        n_a: training samples of the first label's class, > 0.
        n_b: training samples of the second label's class, > 0.
        omega: finite, >= 0; 0.25 is MAMix's, and LDAM's exponent.

    Shape:
        all broadcast against each other; returns float64 for a Python number or a float64 ``lam``, else float32.

    Raises:
        ValueError: if ``omega`` is negative or not finite, ``lam`` is outside [0, 1], or a class is empty.

    Source: Cheng, Mai and Lin 2023, arXiv:2308.15457; code ntucllab/imbalanced-DL, _mamix_drw.py, whose coefficient is
    that of the second image (``lam' = 1 - lam``). Differs from that code: ``lam`` equal to the threshold takes the
    upper branch (the code raises there), and ``b`` is computed from the quotient of the counts, which cannot underflow.

    >>> mam_label_weight(0.5, n_a=500, n_b=5).round(decimals=3)  # half of the image; the other class is rarer
    tensor(0.3290, dtype=torch.float64)
    >>> mam_label_weight(torch.tensor([0.2, 0.5, 0.8]), n_a=500, n_b=500)  # equal sizes: mixup
    tensor([0.2000, 0.5000, 0.8000])
    """
    omega = checked_omega(omega)
    lam, n_a, n_b = checked_pair(lam, n_a, n_b)
    a, b = 1 / (1 + (n_a / n_b) ** omega), 1 / (1 + (n_b / n_a) ** omega)
    # With omega in the hundreds a or b is 0, or 1 - b has no digits left; the clamps keep the result in its bounds.
    tiny = torch.finfo(lam.dtype).tiny
    upper = (1 - (1 - lam) / (2 * a.clamp_min(tiny))).clamp(0.5, 1)
    lower = (lam / (2 * b.clamp_min(tiny))).clamp(0, 0.5)
    return torch.where(lam >= b, upper, lower)


def mam(
    target: Tensor,
    class_counts: CountsLike,
    *,
    omega: float = 0.25,
    alpha: float = 1.0,
    per_sample: bool = False,
    seed: int = 0,
    epoch: int = 0,
    step: int = 0,
) -> Mix:
    """Mix a batch as ``mixup`` does and its labels by ``mam_label_weight``: the rarer class keeps more of its label.

    Args:
        target: class indices of the batch.
        class_counts: training samples per class.
        omega: strength, >= 0; 0 is plain mixup.
        alpha: both parameters of the Beta distribution of the coefficient.
        per_sample: one coefficient per sample; by default one for the whole batch, as in the authors' code. The label
            weights differ by pair either way.
        seed: key of the run.
        epoch: key of the epoch.
        step: key of the batch within the epoch.

    Shape:
        target (B,) int; class_counts (C,); returns partner (B,) int64, lam_input and lam_label (B,) float32, on the
        device of ``target``.

    Raises:
        TypeError: if ``target`` is not a tensor of integers.
        ValueError: if a class is empty, a label is outside [0, C), or ``omega``, ``alpha`` or a key out of range.

    Source: Cheng, Mai and Lin 2023, arXiv:2308.15457; code ntucllab/imbalanced-DL, _mamix_drw.py.

    >>> mix = mam(torch.tensor([0, 2, 1]), [500, 50, 5], omega=0.25, seed=0, epoch=0, step=0)
    >>> mix.partner, mix.lam_input, mix.lam_label
    (tensor([1, 2, 0]), tensor([0.1661, 0.1661, 0.1661]), tensor([0.1093, 0.2307, 0.2307]))
    """
    mixer = MAM(class_counts, omega=omega, alpha=alpha, per_sample=per_sample, seed=seed)
    return mix_within(mixer, target, epoch=epoch, step=step)


@register("mixer", "mam")
class MAM(Mixer):
    """``mam`` as an object that a ``Loader`` and a loss share.

    Formula: ``x = lam * x_a + (1 - lam) * x_b``, ``label weight = mam_label_weight(lam, n_a, n_b, omega)``.

    Args:
        counts: training samples per class.
        omega: strength, finite, >= 0; 0 is plain mixup.
        alpha: both parameters of the Beta distribution of the coefficient, finite, > 0.
        per_sample: one coefficient per sample rather than one per batch.
        seed: key of the run, in [0, 2^64).
        empty: ``"ignore"`` allows classes without samples; their label weights are those of a class with one sample.

    Shape:
        ``plan`` gives (B,) partners and coefficients, ``label_weight`` a (B,) tensor.

    Raises:
        ValueError: if a class is empty, or ``omega``, ``alpha`` or ``seed`` out of range.

    Source: Cheng, Mai and Lin 2023, arXiv:2308.15457; code ntucllab/imbalanced-DL, _mamix_drw.py.

    >>> from lt_fast.losses import LDAMLoss
    >>> mixer = MAM([500, 50, 5], omega=0.25, seed=0)
    >>> target, partner, lam = torch.tensor([0, 2]), torch.tensor([2, 0]), torch.tensor([0.5, 0.5])
    >>> mixer.label_weight(lam, target, partner)
    tensor([0.3291, 0.6709])
    >>> criterion = LDAMLoss([500, 50, 5], label_rule=mixer.label_rule)  # computes the same weights itself
    >>> round(criterion(torch.zeros(2, 3), target, partner, lam).item(), 3)
    12.32
    """

    label_rule = "mam"

    def __init__(
        self,
        counts: CountsLike,
        *,
        omega: float = 0.25,
        alpha: float = 1.0,
        per_sample: bool = False,
        seed: int = 0,
        empty: EmptyPolicy = "error",
    ) -> None:
        self.counts = ClassCounts(counts).require_no_empty(empty)
        self.omega = checked_omega(omega)
        self._draws = Mixup(alpha, per_sample=per_sample, seed=seed)
        self._sizes = torch.from_numpy(np.maximum(self.counts.counts, 1))
        self._fixed = True

    @property
    def alpha(self) -> float:
        """Both parameters of the Beta distribution of the coefficient."""
        return self._draws.alpha

    @property
    def per_sample(self) -> bool:
        """Whether every sample has its own coefficient."""
        return self._draws.per_sample

    @property
    def seed(self) -> int:
        """Key of the run."""
        return self._draws.seed

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
        return mam_label_weight(lam, n_a, n_b, self.omega)

    def __repr__(self) -> str:
        return (
            f"MAM(counts={self.counts!r}, omega={self.omega!r}, alpha={self.alpha!r}, "
            f"per_sample={self.per_sample}, seed={self.seed})"
        )


def checked_omega(omega: float) -> float:
    """Return ``omega``; raise unless it is finite and >= 0."""
    # A tuple: the compiler of an older torch does not trace a union of types.
    wrong_sign = isinstance(omega, (int, float)) and -math.inf < omega < 0
    hint = f"; did you mean {-omega:g}? (the exponent is -omega)" if wrong_sign else ""
    return number("omega", omega, least=0, hint=hint)
