"""Equalization loss: rare classes are mostly left out of the softmax of other classes' samples."""

from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.losses.base import Lam, RowLoss, SharedOptions, is_own, log_sum, row_cross_entropy
from lt_fast.registry import register

_WORD = 0xFFFFFFFF


@register("loss", "equalization")
class EqualizationLoss(RowLoss):
    """Softmax equalization loss (SEQL): a rare class is dropped from the softmax of other classes' samples.

    Formula: ``-log(exp(z_y) / sum_k w_k exp(z_k))``, ``w_k = 1 - b_k * [prior_k < threshold] * [k != y]`` with b_k from
    Bernoulli(gamma). Equals ``F.cross_entropy(logits.masked_fill(dropped & ~one_hot(target), -inf), target, weight)``
    up to ``normalization``. The same classes are dropped for both labels of a row, but each label keeps its own.

    The buffer ``step``, which is in the state dict, is incremented by every call in training mode: training resumed
    from a checkpoint drops the same classes as an uninterrupted one.

    Args:
        gamma: probability of dropping, in [0, 1]; 0 is cross entropy.
        threshold: fraction of the training set below which a class is rare, in [0, 1]. The authors of the
            classification form use 0.005 to 0.006 on CIFAR-100-LT and 0.05 on CIFAR-10-LT: half of the classes.
        seed: key of the random numbers, in [0, 2^64); give every rank its own.
        step: number of the first call, in [0, 2^32): what is dropped is a function of (seed, step, row, class) alone.
        shared: options of every loss, see ``Loss`` for them, Shape and Raises. An ignored empty class is rare.

    Source: Tan et al. 2020, arXiv:2003.05176, softmax form for classification; code zhangyongshun/BagofTricks-LT,
    equalization_loss.py. Differs from that code: keyed random numbers instead of the global generator, and no
    exponential of the raw logits, which overflows.

    >>> import torch
    >>> criterion = EqualizationLoss([980, 15, 5], gamma=0.9, threshold=0.01, reduction="none")  # class 2 is rare
    >>> loss = criterion(torch.zeros(1000, 3), torch.zeros(1000, dtype=torch.int64))
    >>> values, rows = loss.unique(return_counts=True)
    >>> values.exp(), rows / 1000  # how many classes the softmax is over, for which fraction of the rows
    (tensor([2., 3.]), tensor([0.8980, 0.1020]))
    """

    step: Tensor
    graphable = False  # the key of a step's random numbers is computed on the host

    def __init__(
        self, counts: CountsLike, *, gamma: float = 0.9, threshold: float = 0.005, seed: int = 0, step: int = 0,
        **shared: Unpack[SharedOptions],
    ) -> None:  # fmt: skip
        threshold = _checks.number("threshold", threshold, least=0, most=1)
        rare = (ClassCounts(counts).prior < threshold).astype(np.float64)
        super().__init__(counts, vectors={"rare": rare}, **shared)
        self.gamma = _checks.number("gamma", gamma, least=0, most=1)
        self._key = _key_of(_checks.seed(seed))
        with torch.inference_mode(False):  # it is incremented in place, wherever the module was made
            self.register_buffer("step", torch.tensor(_checks.integer("step", step, least=0, most=2**32 - 1)))

    def row_loss(self, scores: Tensor, label: Tensor, rare: Tensor) -> Tensor:  # type: ignore[override]
        """Return the cross entropy without the classes that are dropped for the row."""
        dropped = self._dropped(scores, rare)
        return row_cross_entropy(scores.masked_fill(dropped & ~is_own(label, scores), -torch.inf), label)

    def every_loss(self, scores: Tensor, rare: Tensor) -> Tensor:  # type: ignore[override]
        """Return the loss of every label: the sum over the classes that are kept, and the label's own."""
        dropped = self._dropped(scores, rare)
        scores = scores - scores.detach().amax(1, keepdim=True)  # so that large scores keep their digits
        others = log_sum(scores.masked_fill(dropped, -torch.inf)) - scores
        return torch.where(dropped, F.softplus(others, threshold=50), others)

    def _dropped(self, scores: Tensor, rare: Tensor) -> Tensor:
        return (rare > 0) & _bernoulli(self.gamma, self._key, self.step, scores)

    def forward(self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Lam = None) -> Tensor:
        """Return the loss, see ``Loss``, and increment ``step`` in training mode."""
        loss = super().forward(logits, target_a, target_b, lam)
        if self.training:
            self.step.add_(1)
        return loss


def _bernoulli(probability: float, key: int, step: Tensor, like: Tensor) -> Tensor:
    """Bernoulli samples, (N, C) bool: a function of key, step, row and class, the same on every device."""
    rows, classes = (torch.arange(size, device=like.device) for size in like.shape)
    word = _scrambled(key ^ step.to(like.device))
    word = _scrambled(_scrambled(word ^ rows[:, None]) ^ classes)
    sampled: Tensor = word < round(probability * 2**32)
    return sampled


def _scrambled(word: Any) -> Any:
    """Scramble a 32-bit word (a bijection): two rounds of xor-shift and multiply, within 63 bits throughout.

    Source: the constants of skeeto/hash-prospector, README, bias 0.107.
    """
    word = ((word ^ (word >> 16)) * 0x21F0AAAD) & _WORD
    word = ((word ^ (word >> 15)) * 0x735A2D97) & _WORD
    return word ^ (word >> 15)


def _key_of(seed: int) -> int:
    return int(_scrambled(_scrambled(seed >> 32) ^ (seed & _WORD)))
