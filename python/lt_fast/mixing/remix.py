"""Remix: images mixed as in mixup; the label goes wholly to the minority where the classes differ much in size."""

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


def remix_label_factor(
    lam: Tensor | float, n_a: Tensor | int, n_b: Tensor | int, kappa: float = 3.0, tau: float = 0.5
) -> Tensor:
    """Factor of the first label from the factor ``lam`` of the first image and the sizes of the two classes.

    Equals::

        0    if n_a >= kappa * n_b and lam < tau          the second class is the minority: it takes the label
        1    if n_b >= kappa * n_a and 1 - lam < tau      the first is
        lam  otherwise

    Swapping the images gives the complement, ``f(1 - lam, n_b, n_a) = 1 - f(lam, n_a, n_b)``, for ``kappa > 1``.

    Args:
        lam: factor of the first image, in [0, 1]; checked where no device has to be waited for.
        n_a: training samples of the first label's class, > 0.
        n_b: training samples of the second label's class, > 0.
        kappa: quotient of the sizes from which on the minority may take all, finite, >= 1.
        tau: share of the majority's image below which it does, in [0, 1]; 0 is mixup.

    Shape:
        all broadcast against each other; returns float64 for a Python number or a float64 ``lam``, else float32.

    Raises:
        ValueError: if ``kappa`` or ``tau`` is out of range, ``lam`` lies outside [0, 1], or a class is empty.

    Source: Chou et al. 2020, arXiv:2007.03943; code ntucllab/imbalanced-DL, _remix_drw.py.
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
    """Mix a batch as ``mixup`` does and its labels by ``remix_label_factor``.

    Args:
        target: class indices of the batch.
        class_counts: training samples per class.
        kappa: quotient of the class sizes from which on the minority may take the whole label.
        tau: share of the majority's image below which it does; 0 is mixup.
        alpha: both parameters of the Beta distribution of the factor.
        per_sample: draw one factor a sample; by default one for the whole batch, as the code named below does.
        seed: key of the run.
        epoch: key of the epoch.
        step: key of the batch within the epoch.

    Shape:
        target (B,) int; class_counts (C,); returns partner (B,) int64, lam_input and lam_label (B,) float32, on the
        device of ``target``.

    Raises:
        TypeError: if ``target`` is not a tensor of whole numbers.
        ValueError: if a class is empty, a label lies outside [0, C), or ``kappa``, ``tau``, ``alpha`` or a key out of
            range.

    Source: Chou et al. 2020, arXiv:2007.03943; code ntucllab/imbalanced-DL, _remix_drw.py.
    """
    mixer = Remix(class_counts, kappa=kappa, tau=tau, alpha=alpha, per_sample=per_sample, seed=seed)
    size, device = len(checked_target(target)), target.device
    lam = torch.from_numpy(mixer.factor(epoch, step, size)).to(device)
    partner = torch.from_numpy(mixer.partner(epoch, step, target)).to(device)
    return Mix(partner, lam, mixer.label_factor(lam, target, target[partner]))


class Remix(Mixer):
    """``remix`` as an object that a ``Loader`` and a loss share.

    Formula: ``x = lam * x_a + (1 - lam) * x_b``, ``label factor = remix_label_factor(lam, n_a, n_b, kappa, tau)``.

    A loss with ``label_rule="remix"`` takes 3 and 0.5; for another ``kappa`` or ``tau`` give it the label factor itself
    and ``label_rule="mixup"``.

    Args:
        counts: training samples per class.
        kappa: quotient of the class sizes from which on the minority may take the whole label, finite, >= 1.
        tau: share of the majority's image below which it does, in [0, 1].
        alpha: both parameters of the Beta distribution of the factor, finite, > 0.
        per_sample: draw one factor a sample rather than one a batch.
        seed: key of the run, in [0, 2^64).
        empty: ``"ignore"`` allows classes without samples; their label factors are those of a class with one sample.

    Shape:
        ``partner`` and ``factor`` give (B,) arrays, ``label_factor`` a (B,) tensor.

    Raises:
        ValueError: if a class is empty, or ``kappa``, ``tau``, ``alpha`` or ``seed`` out of range.

    Source: Chou et al. 2020, arXiv:2007.03943; code ntucllab/imbalanced-DL, _remix_drw.py.
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
        return remix_label_factor(lam, n_a, n_b, self.kappa, self.tau)

    def __repr__(self) -> str:
        return (
            f"Remix(num_classes={len(self.counts)}, kappa={self.kappa:g}, tau={self.tau:g}, "
            f"alpha={self._draws.alpha:g}, per_sample={self._draws.per_sample}, seed={self._draws.seed})"
        )


def checked_kappa(kappa: float) -> float:
    """Return ``kappa``; raise ``ValueError`` unless it is finite and >= 1."""
    require_number("kappa", kappa)
    if not (math.isfinite(kappa) and kappa >= 1):
        hint = f"; did you mean {1 / kappa:g}?" if 0 < kappa < 1 else ""
        raise ValueError(f"kappa must be finite and >= 1 (larger over smaller class), got {kappa}{hint}")
    return float(kappa)


def checked_tau(tau: float) -> float:
    """Return ``tau``; raise ``ValueError`` unless it lies in [0, 1]."""
    require_number("tau", tau)
    if not 0 <= tau <= 1:
        raise ValueError(f"tau must be in [0, 1], got {tau}")
    return float(tau)
