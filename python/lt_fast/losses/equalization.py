"""Equalization loss: rare classes are mostly left out where they would only be pushed down."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.checks import real_number
from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.losses.class_weights import checked_weights
from lt_fast.losses.modules import LossModule
from lt_fast.ops.branches import mixed_loss, row_cross_entropy
from lt_fast.ops.reference import is_own

_WORD = 0xFFFFFFFF
_LARGEST_SEED = 2**64 - 1
_LARGEST_STEP = 2**32 - 1


def equalization_loss(
    logits: Tensor,
    target: Tensor,
    class_counts: CountsLike,
    *,
    target_b: Tensor | None = None,
    lam: Tensor | float | None = None,
    gamma: float = 0.9,
    threshold: float = 0.005,
    seed: int = 0,
    step: int = 0,
    weight: Any = None,
    label_rule: str = "mixup",
    omega: float = 0.25,
    normalization: str = "expected",
    reduction: str = "mean",
    empty: EmptyPolicy = "error",
) -> Tensor:
    """Softmax equalization loss (SEQL): a rare class is dropped from the softmax of other classes' samples.

    Equals ``F.cross_entropy(logits.masked_fill(dropped & ~one_hot(target), -inf), target, weight)`` up to
    ``normalization``: for each sample every class with ``count / total < threshold`` is dropped with probability
    ``gamma``, but never the sample's own.

    Args:
        logits: class scores.
        target: class indices, those of the first image where two are mixed.
        class_counts: training samples per class.
        target_b: class indices of the second image; the same classes are dropped for both labels of a sample, but each
            label keeps its own.
        lam: factor of the first image, in [0, 1].
        gamma: probability of dropping, in [0, 1]; 0 is cross entropy.
        threshold: share of the training set below which a class is rare, in [0, 1]. The authors of the classification
            form take 0.005 to 0.006 on CIFAR-100-LT and 0.05 on CIFAR-10-LT: half of the classes either way.
        seed: key of the draws, in [0, 2^64); give every rank its own.
        step: number of the draw, in [0, 2^32): what is dropped is a function of (seed, step, row, class) alone. The
            module counts it up by one with every call in training mode, and its state dict keeps it.
        weight: one factor a class, >= 0; the paper has none.
        label_rule: ``"mixup"`` keeps ``lam``; ``"mam"`` moves it by the class sizes; see ``ops.mixed_margin_loss``.
        omega: strength of ``"mam"``.
        normalization: what the mean divides by; without ``weight`` all three are N.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        empty: ``"ignore"`` allows classes without samples; they are rare.

    Shape:
        logits (N, C) float32, float64, bfloat16 or float16; target and target_b (N,) int64 in [0, C); lam a number or
        (N,); class_counts and weight (C,); returns a scalar, or (N,) for ``reduction="none"``. O(N * C), plain torch.

    Raises:
        TypeError: if labels, ``seed`` or ``step`` are not whole numbers, or an option is of a wrong type.
        ValueError: if a class is empty, ``gamma``, ``threshold``, ``seed`` or ``step`` is out of range, a shape does
            not fit, a label is out of range, or an option is unknown.

    Source: Tan et al. 2020, arXiv:2003.05217, softmax form for classification; code zhangyongshun/BagofTricks-LT,
    equalization_loss.py. Differs from that code: keyed draws instead of the global generator, and no exponential of the
    raw logits, which overflows.
    """
    criterion = EqualizationLoss(
        class_counts,
        gamma=gamma,
        threshold=threshold,
        seed=seed,
        step=step,
        weight=weight,
        label_rule=label_rule,
        omega=omega,
        normalization=normalization,
        reduction=reduction,
        empty=empty,
    )
    loss: Tensor = criterion(logits, target, target_b, lam)
    return loss


class EqualizationLoss(LossModule):
    """``equalization_loss`` with its vectors of length C made once, and a counter of its draws.

    Formula: ``-log(exp(z_y) / sum_k w_k exp(z_k))``, ``w_k = 1 - b_k * [prior_k < threshold] * [k != y]`` with b_k from
    Bernoulli(gamma), weighted by class; for two labels a sample their mixture.

    Shape:
        ``forward(logits (N, C), target_a (N,), target_b (N,) or None, lam (N,) or number or None)``; returns a scalar,
        or (N,) for ``reduction="none"``. Arguments and Raises: see ``equalization_loss``.

    The buffer ``step`` is the number of the next draw; a training that is resumed with the state dict goes on with the
    draws of an uninterrupted one.

    Source: Tan et al. 2020, arXiv:2003.05217; code zhangyongshun/BagofTricks-LT, equalization_loss.py.
    """

    step: Tensor

    def __init__(
        self,
        counts: CountsLike,
        *,
        gamma: float = 0.9,
        threshold: float = 0.005,
        seed: int = 0,
        step: int = 0,
        weight: Any = None,
        label_rule: str = "mixup",
        omega: float = 0.25,
        normalization: str = "expected",
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
    ) -> None:
        super().__init__()
        for name, value in (("gamma", gamma), ("threshold", threshold)):
            if not 0 <= real_number(name, value) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value}")
        counts = ClassCounts(counts).require_no_empty(empty)
        self.gamma = float(gamma)
        self._key = _host_key(_whole("seed", seed, _LARGEST_SEED))
        with torch.inference_mode(False):  # it is counted up in place, wherever the module was made
            self.register_buffer("step", torch.tensor(_whole("step", step, _LARGEST_STEP)))
        self.vectors = ClassVectors(
            counts,
            rare=(counts.prior < threshold).astype(np.float64),
            weight=checked_weights(weight, len(counts)),
        )
        self.fix_options(
            label_rule=label_rule,
            omega=omega,
            normalization=normalization,
            reduction=reduction,
        )

    def forward(
        self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Tensor | float | None = None
    ) -> Tensor:
        """Return the loss of ``logits`` against one label a sample, or two mixed with the image factor ``lam``."""
        vectors = self.vectors.for_logits(logits)
        rare = vectors.pop("rare") > 0

        def row_loss(scores: Tensor, label: Tensor) -> Tensor:
            others = ~is_own(label, scores)
            dropped = rare & _drawn(self.gamma, self._key, self.step, scores)
            return row_cross_entropy(scores.masked_fill(dropped & others, -torch.inf), label)

        loss = mixed_loss(row_loss, logits, target_a, target_b=target_b, lam=lam, **vectors, **self.options)
        self._first.look(logits, self.vectors)
        if self.training:
            self.step.add_(1)
        return loss


def _drawn(probability: float, key: int, step: Tensor, like: Tensor) -> Tensor:
    """Bernoulli draws, (N, C) bool: a function of key, step, row and class, the same on every device."""
    rows, classes = (torch.arange(size, device=like.device) for size in like.shape)
    word = _scrambled(key ^ step.to(like.device))
    word = _scrambled(_scrambled(word ^ rows[:, None]) ^ classes)
    drawn: Tensor = word < round(probability * 2**32)
    return drawn


def _scrambled(word: Any) -> Any:
    """Scramble a 32-bit word (a bijection): two rounds of xor-shift and multiply, within 63 bits throughout.

    Source: the constants of skeeto/hash-prospector, README, bias 0.107.
    """
    word = ((word ^ (word >> 16)) * 0x21F0AAAD) & _WORD
    word = ((word ^ (word >> 15)) * 0x735A2D97) & _WORD
    return word ^ (word >> 15)


def _host_key(seed: int) -> int:
    return int(_scrambled(_scrambled(seed >> 32) ^ (seed & _WORD)))


def _whole(name: str, value: Any, largest: int) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, got {type(value).__name__}")
    if not 0 <= value <= largest:
        raise ValueError(f"{name} must be in [0, 2**{largest.bit_length()}), got {value}")
    return int(value)
