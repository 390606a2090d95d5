"""UniMix: partners drawn towards the tail, and a factor moved by the class sizes for images and labels alike."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_fast import _rust
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.mixing.draws import DRAWS_PER_STEP, checked_key, checked_target, require_number
from lt_fast.mixing.mix import Mix, Mixer
from lt_fast.mixing.mixup import Mixup
from lt_fast.mixing.pairs import checked_pair, sizes_of


def unimix_factor(lam: Tensor | float, n_a: Tensor | int, n_b: Tensor | int) -> Tensor:
    """Factor of the first image and label from a drawn factor ``lam`` and the sizes of the two classes.

    Equals ``lam + n_b / (n_a + n_b)``, less 1 where that exceeds 1. Where ``lam`` comes from a U-shaped Beta
    distribution, the factor lies mostly round ``n_b / (n_a + n_b)``: the rarer class gets most of image and label.

    Args:
        lam: the drawn factor, in [0, 1]; checked where no device has to be waited for.
        n_a: training samples of the first label's class, > 0.
        n_b: training samples of the second label's class, > 0.

    Shape:
        all broadcast against each other; returns float64 for a Python number or a float64 ``lam``, else float32.

    Raises:
        ValueError: if ``lam`` lies outside [0, 1], or a class is empty.

    Source: Xu et al. 2021, arXiv:2111.03874; code XuZhengzhuo/Prior-LT, core.py unimix_factor.
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
    """Mix every sample of a batch with one that was drawn by class size, by one factor for image and label.

    Equals, up to the generator, ``partner = np.random.choice(B, B, p=w / w.sum())`` with ``w = n[target] ** tau``, and
    ``lam_input = lam_label = unimix_factor(np.random.beta(alpha, alpha), n[target], n[target[partner]])``. O(B log B).

    Args:
        target: class indices of the batch.
        class_counts: training samples per class.
        tau: exponent of the class size in a partner's weight; 0 is uniform, below 0 prefers the tail.
        alpha: both parameters of the Beta distribution of the drawn factor.
        per_sample: draw one factor a sample, as the authors' code does, or one for the whole batch.
        seed: key of the run.
        epoch: key of the epoch.
        step: key of the batch within the epoch.

    Shape:
        target (B,) int; class_counts (C,); returns partner (B,) int64, lam_input and lam_label (B,) float32, on the
        device of ``target``. A sample may be the partner of many, or its own.

    Raises:
        TypeError: if ``target`` is not a tensor of whole numbers.
        ValueError: if a class is empty, a label lies outside [0, C), or ``tau``, ``alpha`` or a key out of range.

    Source: Xu et al. 2021, arXiv:2111.03874; code XuZhengzhuo/Prior-LT, core.py; ``alpha`` and ``tau`` of its CIFAR-10
    configuration at ratio 100 (on CIFAR-100 ``tau`` is -0.1).
    """
    mixer = UniMix(class_counts, tau=tau, alpha=alpha, per_sample=per_sample, seed=seed)
    size, device = len(checked_target(target)), target.device
    partner = torch.from_numpy(mixer.partner(epoch, step, target)).to(device)
    lam = torch.from_numpy(mixer.factor(epoch, step, size)).to(device)
    return Mix(partner, lam, lam)


class UniMix(Mixer):
    """``unimix`` as an object that a ``Loader`` and a loss share.

    Formula: ``x = f * x_a + (1 - f) * x_b``, ``label factor = f``, with ``f = unimix_factor(lam, n_a, n_b)`` of a drawn
    lam. The factor of the image holds the class sizes already, so the label rule is ``"mixup"``; the op's rule
    ``"unimix"`` is for loops that have the drawn lam at hand.

    The factor depends on the labels, and so ``factor`` belongs to the call of ``partner`` before it, which saw them:
    the object remembers that one pair of calls and nothing else.

    Args:
        counts: training samples per class.
        tau: exponent of the class size in a partner's weight, finite.
        alpha: both parameters of the Beta distribution of the drawn factor, finite, > 0.
        per_sample: draw one factor a sample rather than one a batch.
        seed: key of the run, in [0, 2^64).
        empty: ``"ignore"`` allows classes without samples; they count as classes with one sample.

    Shape:
        ``partner`` and ``factor`` give (B,) arrays, ``label_factor`` a (B,) tensor.

    Raises:
        ValueError: if a class is empty, or ``tau``, ``alpha`` or ``seed`` out of range.

    Source: Xu et al. 2021, arXiv:2111.03874; code XuZhengzhuo/Prior-LT, core.py.
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
        require_number("tau", tau)
        if not math.isfinite(tau):
            raise ValueError(f"tau must be finite, got {tau}; 0 draws partners uniformly")
        self.counts = ClassCounts(counts).require_no_empty(empty)
        self.tau = float(tau)
        self._draws = Mixup(alpha, per_sample=per_sample, seed=seed)
        self._sizes = torch.from_numpy(np.maximum(self.counts.counts, 1))
        # Powers of n over the smallest: tau of hundreds must not overflow for a whole batch.
        relative = self._sizes.numpy() / self._sizes.min().item()
        self._log_weights = self.tau * np.log(relative)
        self._pairs: tuple[tuple[int, int], Tensor, Tensor] | None = None
        self._fixed = True

    def partner(self, epoch: int, step: int, labels: Any) -> NDArray[np.int64]:
        """Return every image's partner, (B,) int64: drawn with replacement, by class size to the power ``tau``."""
        checked_key(seed=self._draws.seed, epoch=epoch, step=step)
        target = labels.cpu() if isinstance(labels, Tensor) else torch.from_numpy(np.array(labels))
        (n,) = sizes_of(self._sizes, target=target)
        draws = _rust.uniform(self._draws.seed, _rust.STREAM_PARTNER, epoch, step * DRAWS_PER_STEP, len(target))
        positions = _weighted_positions(self._log_weights[target.numpy()], draws)
        self._pairs = (epoch, step), n, n[torch.from_numpy(positions)]
        return positions

    def factor(self, epoch: int, step: int, batch_size: int) -> NDArray[np.float32]:
        """Return the factor of every first image and label, (B,) float32, for the labels ``partner`` was called with.

        Raises:
            ValueError: if ``partner`` was not called with this epoch, step and batch size just before.
        """
        drawn = self._draws.factor(epoch, step, batch_size)
        if self._pairs is None or self._pairs[0] != (epoch, step) or len(self._pairs[1]) != batch_size:
            last = "nothing" if self._pairs is None else "epoch {}, step {}".format(*self._pairs[0])
            raise ValueError(
                f"factor must follow partner for the same batch (epoch {epoch}, step {step}, {batch_size} samples), as "
                f"it depends on the labels; the last call of partner was for {last}"
            )
        _, n_a, n_b = self._pairs
        factors: NDArray[np.float32] = unimix_factor(torch.from_numpy(drawn), n_a, n_b).numpy()
        return factors

    def label_factor(self, lam: Tensor, target_a: Tensor, target_b: Tensor) -> Tensor:  # noqa: ARG002  (the mixers' shared signature)
        """Return ``lam``: it holds the class sizes already."""
        return lam

    def __repr__(self) -> str:
        return (
            f"UniMix(num_classes={len(self.counts)}, tau={self.tau:g}, alpha={self._draws.alpha:g}, "
            f"per_sample={self._draws.per_sample}, seed={self._draws.seed})"
        )


def _weighted_positions(log_weights: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.int64]:
    """Draw positions with replacement, p proportional to exp(log_weights): inverse of the cumulative weights."""
    if len(log_weights) == 0:
        return np.empty(0, np.int64)
    cumulative = np.cumsum(np.exp(log_weights - log_weights.max()))
    positions = np.searchsorted(cumulative, draws * cumulative[-1], side="right")
    within: NDArray[np.int64] = np.minimum(positions, len(cumulative) - 1)  # a draw may round up to the whole sum
    return within
