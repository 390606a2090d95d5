"""UniMix: partners sampled towards the tail, and a coefficient for image and label that depends on the class sizes."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_fast import _rust
from lt_fast._checks import number
from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.mixing.draws import DRAWS_PER_STEP
from lt_fast.mixing.mix import Labels, Mix, Mixer, mix_within
from lt_fast.mixing.mixup import Mixup
from lt_fast.mixing.pairs import checked_pair, sizes_of
from lt_fast.registry import register


def unimix_coefficient(lam: Tensor | float, n_a: Tensor | int, n_b: Tensor | int) -> Tensor:
    """Mixing coefficient of image and label from a sampled ``lam`` and the sizes of the two classes.

    Equals ``lam + n_b / (n_a + n_b)``, less 1 where that exceeds 1. Where ``lam`` comes from a U-shaped Beta
    distribution, the result is mostly close to ``n_b / (n_a + n_b)``: the rarer class gets most of image and label.

    Args:
        lam: the sampled coefficient, in [0, 1]; checked on the CPU only.
        n_a: training samples of the first label's class, > 0.
        n_b: training samples of the second label's class, > 0.

    Shape:
        all broadcast against each other; returns float64 for a Python number or a float64 ``lam``, else float32.

    Raises:
        ValueError: if ``lam`` is outside [0, 1], or a class is empty.

    Source: Xu et al. 2021, arXiv:2111.03874; code XuZhengzhuo/Prior-LT, core.py unimix_factor.

    >>> unimix_coefficient(torch.tensor([0.05, 0.95]), n_a=90, n_b=10)  # the rarer class has most of both
    tensor([0.1500, 0.0500])
    """
    lam, n_a, n_b = checked_pair(lam, n_a, n_b)
    shifted = lam + n_b / (n_a + n_b)
    return torch.where(shifted > 1, shifted - 1, shifted)


def unimix(
    target: Tensor,
    class_counts: CountsLike,
    *,
    tau: float = -0.5,
    alpha: float = 0.8,
    per_sample: bool = True,
    seed: int = 0,
    epoch: int = 0,
    step: int = 0,
) -> Mix:
    """Mix every sample of a batch with one that is sampled by class size, with one coefficient for image and label.

    Equals, up to the generator, ``partner = np.random.choice(B, B, p=w / w.sum())`` with ``w = n[target] ** tau``, and
    ``lam_input = lam_label = unimix_coefficient(np.random.beta(alpha, alpha), n[target], n[target[partner]])``.
    O(B log B).

    Args:
        target: class indices of the batch.
        class_counts: training samples per class.
        tau: exponent of the class size in a partner's weight; 0 is uniform, below 0 prefers the tail.
        alpha: both parameters of the Beta distribution of the sampled coefficient.
        per_sample: one coefficient per sample, as in the authors' code, or one for the whole batch.
        seed: key of the run.
        epoch: key of the epoch.
        step: key of the batch within the epoch.

    Shape:
        target (B,) int; class_counts (C,); returns partner (B,) int64, lam_input and lam_label (B,) float32, on the
        device of ``target``. A sample may be the partner of many, or its own.

    Raises:
        TypeError: if ``target`` is not a tensor of integers.
        ValueError: if a class is empty, a label is outside [0, C), or ``tau``, ``alpha`` or a key out of range.

    Source: Xu et al. 2021, arXiv:2111.03874; code XuZhengzhuo/Prior-LT, core.py; ``alpha`` and ``tau`` of its CIFAR-10
    configuration at ratio 100 (on CIFAR-100 ``tau`` is -0.1).

    >>> mix = unimix(torch.tensor([0, 0, 0, 2]), [500, 50, 5], seed=0, epoch=0, step=0)
    >>> mix.partner, mix.lam_input
    (tensor([3, 3, 3, 3]), tensor([0.9292, 0.2638, 0.4893, 0.1449]))
    """
    mixer = UniMix(class_counts, tau=tau, alpha=alpha, per_sample=per_sample, seed=seed)
    return mix_within(mixer, target, epoch=epoch, step=step)


@register("mixer", "unimix")
class UniMix(Mixer):
    """``unimix`` as an object that a ``Loader`` and a loss share.

    Formula: ``x = f * x_a + (1 - f) * x_b``, ``label weight = f``, with ``f = unimix_coefficient(lam, n_a, n_b)`` of a
    sampled ``lam``. The image's coefficient depends on the class sizes already, so the label rule is ``"mixup"``; the
    op's rule ``"unimix"`` is for loops that pass the sampled ``lam``.

    Args:
        counts: training samples per class.
        tau: exponent of the class size in a partner's weight, finite.
        alpha: both parameters of the Beta distribution of the sampled coefficient, finite, > 0.
        per_sample: one coefficient per sample rather than one per batch.
        seed: key of the run, in [0, 2^64).
        empty: ``"ignore"`` allows classes without samples; they count as classes with one sample.

    Shape:
        ``plan`` gives (B,) partners and coefficients, ``label_weight`` a (B,) tensor.

    Raises:
        ValueError: if a class is empty, or ``tau``, ``alpha`` or ``seed`` out of range.

    Source: Xu et al. 2021, arXiv:2111.03874; code XuZhengzhuo/Prior-LT, core.py.

    >>> mixer, rows = UniMix([500, 50, 5], seed=0), np.array([40, 7, 12, 31])
    >>> plan = mixer.plan(BatchPlan(epoch=0, step=0, index=rows, position=np.arange(4)), labels=np.array([0, 0, 0, 2]))
    >>> plan.partner.tolist()  # row 31 is of the rare class
    [31, 31, 31, 31]
    """

    label_rule = "mixup"

    def __init__(
        self,
        counts: CountsLike,
        *,
        tau: float = -0.5,
        alpha: float = 0.8,
        per_sample: bool = True,
        seed: int = 0,
        empty: EmptyPolicy = "error",
    ) -> None:
        self.counts = ClassCounts(counts).require_no_empty(empty)
        self.tau = number("tau", tau, hint="; 0 samples partners uniformly")
        self._draws = Mixup(alpha, per_sample=per_sample, seed=seed)
        self._sizes = torch.from_numpy(np.maximum(self.counts.counts, 1))
        # Relative to the smallest class, so that powers by a tau of hundreds do not overflow for a whole batch.
        relative = self._sizes.numpy() / self._sizes.min().item()
        self._log_weights = self.tau * np.log(relative)
        self._fixed = True

    def plan(self, batch: BatchPlan, labels: Labels) -> MixPlan:
        """Return partners sampled with replacement by class size to the power ``tau``, and the moved coefficients."""
        drawn = self._draws.coefficients(batch.epoch, batch.step, len(batch.index))
        target = labels.cpu() if isinstance(labels, Tensor) else torch.from_numpy(np.array(labels))
        (n,) = sizes_of(self._sizes, target=target)
        first = batch.step * DRAWS_PER_STEP
        draws = _rust.uniform(self._draws.seed, _rust.STREAM_PARTNER, batch.epoch, first, len(target))
        at = _weighted_positions(self._log_weights[target.numpy()], draws)
        lam = unimix_coefficient(torch.from_numpy(drawn), n, n[torch.from_numpy(at)]).numpy()
        return MixPlan(batch.index[at], batch.position[at], lam)

    def label_weight(self, lam: Tensor, target_a: Tensor, target_b: Tensor) -> Tensor:  # noqa: ARG002  (the mixers' shared signature)
        """Return ``lam``, which depends on the class sizes already."""
        return lam

    def __repr__(self) -> str:
        return (
            f"UniMix(counts={self.counts!r}, tau={self.tau!r}, alpha={self._draws.alpha!r}, "
            f"per_sample={self._draws.per_sample}, seed={self._draws.seed})"
        )


def _weighted_positions(log_weights: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.int64]:
    """Sample positions with replacement, p proportional to exp(log_weights): inverse of the cumulative weights."""
    if len(log_weights) == 0:
        return np.empty(0, np.int64)
    cumulative = np.cumsum(np.exp(log_weights - log_weights.max()))
    positions = np.searchsorted(cumulative, draws * cumulative[-1], side="right")
    within: NDArray[np.int64] = np.minimum(positions, len(cumulative) - 1)  # a draw may round up to the whole sum
    return within
