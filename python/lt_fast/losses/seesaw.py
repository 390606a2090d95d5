"""Seesaw loss: a sample pushes down rarer classes less, and classes it is mistaken for more."""

import math
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


def seesaw_loss(
    logits: Tensor,
    target: Tensor,
    class_counts: CountsLike,
    *,
    target_b: Tensor | None = None,
    lam: Tensor | float | None = None,
    p: float = 0.8,
    q: float = 2.0,
    eps: float = 1e-2,
    weight: Any = None,
    label_rule: str = "mixup",
    omega: float = 0.25,
    normalization: str = "expected",
    reduction: str = "mean",
    empty: EmptyPolicy = "error",
) -> Tensor:
    """Seesaw loss: cross entropy in which every other class has a factor of its own for each sample.

    Equals ``F.cross_entropy(logits + log(M * C), target, weight)`` up to ``normalization``. For a sample of class y,
    and k another class, with n the class counts and s the softmax of the logits, as constants for the gradient::

        M_k = (n_k / n_y)**p  where n_k < n_y, else 1              mitigation: spare the rarer class
        C_k = (s_k / max(s_y, eps))**q  where that is > 1, else 1  compensation: punish the mistake

    Args:
        logits: class scores.
        target: class indices, those of the first image where two are mixed.
        class_counts: training samples per class.
        target_b: class indices of the second image; each label has its own factors.
        lam: factor of the first image, in [0, 1].
        p: exponent of the mitigation, finite, >= 0; 0 turns it off.
        q: exponent of the compensation, finite, >= 0; 0 turns it off.
        eps: floor of s_y, in (0, 1].
        weight: one factor a class, >= 0; the paper has none.
        label_rule: ``"mixup"`` keeps ``lam``; ``"mam"`` moves it by the class sizes; see ``ops.mixed_margin_loss``.
        omega: strength of ``"mam"``.
        normalization: what the mean divides by; without ``weight`` all three are N.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        empty: ``"ignore"`` treats a class without samples as if it had one.

    Shape:
        logits (N, C) float32, float64, bfloat16 or float16; target and target_b (N,) int64 in [0, C); lam a number or
        (N,); class_counts and weight (C,); returns a scalar, or (N,) for ``reduction="none"``. O(N * C), plain torch.

    Raises:
        TypeError: if labels are not whole numbers, or an option is of a wrong type.
        ValueError: if a class is empty, an exponent or ``eps`` is out of range, a shape does not fit, a label is out of
            range, or an option is unknown.

    Source: Wang et al. 2021, arXiv:2008.10032; code open-mmlab/mmpretrain, seesaw_loss.py. Differs
    from both: n is the training set's, where they count the labels seen so far; so the loss has no state, is the same
    on every rank, and starts with the ratios that the counting arrives at.
    """
    criterion = SeesawLoss(
        class_counts,
        p=p,
        q=q,
        eps=eps,
        weight=weight,
        label_rule=label_rule,
        omega=omega,
        normalization=normalization,
        reduction=reduction,
        empty=empty,
    )
    loss: Tensor = criterion(logits, target, target_b, lam)
    return loss


class SeesawLoss(LossModule):
    """``seesaw_loss`` with its vectors of length C made once.

    Formula: ``-log softmax(logits + log(M * C))[target]`` with mitigation factors M from the class counts and
    compensation factors C from the sample's own probabilities, weighted by class; for two labels a sample their
    mixture.

    Shape:
        ``forward(logits (N, C), target_a (N,), target_b (N,) or None, lam (N,) or number or None)``; returns a scalar,
        or (N,) for ``reduction="none"``. Arguments and Raises: see ``seesaw_loss``.

    Source: Wang et al. 2021, arXiv:2008.10032; code open-mmlab/mmpretrain, seesaw_loss.py.
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        p: float = 0.8,
        q: float = 2.0,
        eps: float = 1e-2,
        weight: Any = None,
        label_rule: str = "mixup",
        omega: float = 0.25,
        normalization: str = "expected",
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
    ) -> None:
        super().__init__()
        for name, value in (("p", p), ("q", q)):
            if not (math.isfinite(real_number(name, value)) and value >= 0):
                raise ValueError(f"{name} must be finite and >= 0, got {value}; 0 turns the factor off")
        if not 0 < real_number("eps", eps) <= 1:
            raise ValueError(f"eps must be in (0, 1], a floor of probabilities, got {eps}")
        counts = ClassCounts(counts).require_no_empty(empty)
        self.p, self.q, self.log_eps = float(p), float(q), math.log(eps)
        self.vectors = ClassVectors(
            counts,
            log_counts=np.log(np.maximum(counts.counts, 1)),
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
        log_counts = vectors.pop("log_counts")

        def row_loss(scores: Tensor, label: Tensor) -> Tensor:
            return row_cross_entropy(scores + self._log_factors(scores.detach(), label, log_counts), label)

        loss = mixed_loss(row_loss, logits, target_a, target_b=target_b, lam=lam, **vectors, **self.options)
        self._first.look(logits, self.vectors)
        return loss

    def _log_factors(self, scores: Tensor, label: Tensor, log_counts: Tensor) -> Tensor:
        """``log(M * C)``, (N, C); 0 in the label's own column, where both quotients are at most 1."""
        rarer = (log_counts - log_counts[label][:, None]).clamp_max(0)
        log_s = torch.log_softmax(scores, dim=1)
        own = log_s.gather(1, label[:, None])
        mistaken = (log_s - own.clamp_min(self.log_eps)).clamp_min(0)
        return self.p * rarer + self.q * mistaken
