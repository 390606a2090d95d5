"""Margin-aware mixup (MAM, MAMix): images mixed as in mixup, labels so that the rarer class keeps the wider margin."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.mixing.draws import checked_target, require_number
from lt_fast.mixing.mix import Mix, Mixer
from lt_fast.mixing.mixup import Mixup
from lt_fast.mixing.pairs import checked_pair, sizes_of


def mam_label_factor(lam: Tensor | float, n_a: Tensor | int, n_b: Tensor | int, omega: float = 0.25) -> Tensor:
    """Factor of the first label from the factor ``lam`` of the first image and the sizes of the two classes.

    With ``b = 1 / (1 + (n_b / n_a)**omega)``, the share of image a at which the mix lies on the boundary::

        lam / (2 * b)                  if lam <  b
        1 - (1 - lam) / (2 * (1 - b))  if lam >= b

    Continuous and increasing from 0 over (b, 1/2) to 1. The larger class has ``b > 1/2``: its image must be more than
    half of the mix to be half of the label. ``omega=0`` or ``n_a == n_b`` is mixup: ``lam`` itself. Swapping the images
    gives the complement: ``f(1 - lam, n_b, n_a) = 1 - f(lam, n_a, n_b)``.

    Args:
        lam: factor of the first image, in [0, 1]; checked where no device has to be waited for.
        n_a: training samples of the first label's class, > 0.
        n_b: training samples of the second label's class, > 0.
        omega: finite, >= 0; 0.25 is MAMix's, and LDAM's exponent.

    Shape:
        all broadcast against each other; returns float64 for a Python number or a float64 ``lam``, else float32.

    Raises:
        ValueError: if ``omega`` is negative or not finite, ``lam`` lies outside [0, 1], or a class is empty.

    Source: Cheng, Mai and Lin 2023, arXiv:2308.15457; code ntucllab/imbalanced-DL, _mamix_drw.py, whose factor belongs
    to the second image (``lam' = 1 - lam``). Differs from that code: ``lam`` equal to the threshold is the upper branch
    (the code raises there), and ``b`` is computed from the quotient of the counts, which cannot underflow.
    """
    omega = checked_omega(omega)
    lam, n_a, n_b = checked_pair(lam, n_a, n_b)
    a, b = 1 / (1 + (n_a / n_b) ** omega), 1 / (1 + (n_b / n_a) ** omega)
    # At omega of hundreds a or b is 0 and at its neighbours 1 - b has no digits left: the bounds hold all the same.
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
    """Mix a batch as ``mixup`` does and its labels by ``mam_label_factor``: a minority keeps its label for longer.

    Args:
        target: class indices of the batch.
        class_counts: training samples per class.
        omega: strength, >= 0; 0 is plain mixup.
        alpha: both parameters of the Beta distribution of the factor.
        per_sample: draw one factor a sample; by default one for the whole batch, as the authors' code does. The label
            factors differ by pair either way.
        seed: key of the run.
        epoch: key of the epoch.
        step: key of the batch within the epoch.

    Shape:
        target (B,) int; class_counts (C,); returns partner (B,) int64, lam_input and lam_label (B,) float32, on the
        device of ``target``.

    Raises:
        TypeError: if ``target`` is not a tensor of whole numbers.
        ValueError: if a class is empty, a label lies outside [0, C), or ``omega``, ``alpha`` or a key out of range.

    Source: Cheng, Mai and Lin 2023, arXiv:2308.15457; code ntucllab/imbalanced-DL, _mamix_drw.py.
    """
    mixer = MAM(class_counts, omega=omega, alpha=alpha, per_sample=per_sample, seed=seed)
    size, device = len(checked_target(target)), target.device
    lam = torch.from_numpy(mixer.factor(epoch, step, size)).to(device)
    partner = torch.from_numpy(mixer.partner(epoch, step, target)).to(device)
    return Mix(partner, lam, mixer.label_factor(lam, target, target[partner]))


class MAM(Mixer):
    """``mam`` as an object that a ``Loader`` and a loss share.

    Formula: ``x = lam * x_a + (1 - lam) * x_b``, ``label factor = mam_label_factor(lam, n_a, n_b, omega)``.

    Args:
        counts: training samples per class.
        omega: strength, finite, >= 0; 0 is plain mixup.
        alpha: both parameters of the Beta distribution of the factor, finite, > 0.
        per_sample: draw one factor a sample rather than one a batch.
        seed: key of the run, in [0, 2^64).
        empty: ``"ignore"`` allows classes without samples; their label factors are those of a class with one sample.

    Shape:
        ``partner`` and ``factor`` give (B,) arrays, ``label_factor`` a (B,) tensor.

    Raises:
        ValueError: if a class is empty, or ``omega``, ``alpha`` or ``seed`` out of range.

    Source: Cheng, Mai and Lin 2023, arXiv:2308.15457; code ntucllab/imbalanced-DL, _mamix_drw.py.
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
        """Both parameters of the Beta distribution of the factor."""
        return self._draws.alpha

    @property
    def per_sample(self) -> bool:
        """Whether every sample has its own factor."""
        return self._draws.per_sample

    @property
    def seed(self) -> int:
        """Key of the run."""
        return self._draws.seed

    def partner(self, epoch: int, step: int, labels: Any) -> NDArray[np.int64]:
        """Return every image's partner: a random permutation of the batch's positions, (B,) int64."""
        return self._draws.partner(epoch, step, labels)

    def factor(self, epoch: int, step: int, batch_size: int) -> NDArray[np.float32]:
        """Return the factor of every first image, (B,) float32."""
        return self._draws.factor(epoch, step, batch_size)

    def label_factor(self, lam: Tensor, target_a: Tensor, target_b: Tensor) -> Tensor:
        """Return the factor of every first label, (B,), on the device of the labels.

        Raises:
            TypeError: if the labels are not whole numbers.
            ValueError: if a label lies outside [0, C); on a GPU the look-up itself fails there, without a wait here.
        """
        n_a, n_b = sizes_of(self._sizes, target_a=target_a, target_b=target_b)
        return mam_label_factor(lam, n_a, n_b, self.omega)

    def __repr__(self) -> str:
        return (
            f"MAM(num_classes={len(self.counts)}, omega={self.omega:g}, alpha={self.alpha:g}, "
            f"per_sample={self.per_sample}, seed={self.seed})"
        )


def checked_omega(omega: float) -> float:
    """Return ``omega``; raise ``ValueError`` unless it is finite and >= 0."""
    require_number("omega", omega)
    if not (math.isfinite(omega) and omega >= 0):
        hint = f"; did you mean {-omega:g}? (the exponent is -omega)" if omega < 0 else ""
        raise ValueError(f"omega must be finite and >= 0, got {omega}{hint}")
    return float(omega)
