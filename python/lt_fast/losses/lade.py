"""LADE: balanced softmax plus a term that makes the logits estimate densities, whatever the class sizes."""

import math
from typing import Any

from torch import Tensor

from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.balanced_softmax import log_prior
from lt_fast.losses.checks import real_number
from lt_fast.losses.class_vectors import ClassVectors
from lt_fast.losses.class_weights import checked_weights
from lt_fast.losses.modules import LossModule
from lt_fast.ops import mixed_margin_loss
from lt_fast.ops.branches import mixed_labels

_GUARD = 1e-8  # the authors': a class that is not in the batch has the mean 0


def lade_loss(
    logits: Tensor,
    target: Tensor,
    class_counts: CountsLike,
    *,
    target_b: Tensor | None = None,
    lam: Tensor | float | None = None,
    regularizer_weight: float = 0.1,
    remine_lambda: float = 0.01,
    weight: Any = None,
    label_rule: str = "mixup",
    omega: float = 0.25,
    normalization: str = "expected",
    reduction: str = "mean",
    empty: EmptyPolicy = "error",
) -> Tensor:
    """LADE: cross entropy with the training prior inside, plus a regularised Donsker-Varadhan bound for every class.

    Equals ``F.cross_entropy(logits + log(prior), target, weight) + regularizer_weight * lade_regularizer(...)`` up to
    ``normalization``. The regulariser is a quantity of the batch and not of a sample: it is added to the mean, and to
    each row's loss for ``reduction="none"`` (so N times to the sum); ``weight`` does not touch it, and averaging over
    ranks or accumulated batches averages it, which is not the regulariser of their union.

    Args:
        logits: class scores, without the prior.
        target: class indices, those of the first image where two are mixed.
        class_counts: training samples per class.
        target_b: class indices of the second image.
        lam: factor of the first image, in [0, 1].
        regularizer_weight: alpha of the paper, finite, >= 0; 0 is balanced softmax.
        remine_lambda: lambda of the paper, weight of the squared log partition, finite, >= 0.
        weight: one factor a class, >= 0, of the cross entropy; the paper has none.
        label_rule: ``"mixup"`` keeps ``lam``; ``"mam"`` moves it by the class sizes; see ``ops.mixed_margin_loss``.
        omega: strength of ``"mam"``.
        normalization: what the mean cross entropy divides by; without ``weight`` all three are N.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        empty: ``"ignore"`` leaves a class without samples out of the regulariser, and gives it the prior of the rarest
            other in the cross entropy.

    Shape:
        logits (N, C) float32, float64, bfloat16 or float16; target and target_b (N,) int64 in [0, C); lam a number or
        (N,); class_counts and weight (C,); returns a scalar, or (N,) for ``reduction="none"``. O(N * C).

    Raises:
        TypeError: if labels are not whole numbers, or an option is of a wrong type.
        ValueError: if a class is empty, a weight is negative or not finite, a shape does not fit, a label is out of
            range, or an option is unknown.

    Source: Hong et al. 2021, arXiv:2012.00321; code hyperconnect/LADE, LADELoss.py and
    PriorCELoss.py; defaults of its README for CIFAR-100 at ratio 100. Differs from that code: no 1e-9 inside the
    logarithms of the priors; two labels a sample count with their factors.
    """
    criterion = LADELoss(
        class_counts,
        regularizer_weight=regularizer_weight,
        remine_lambda=remine_lambda,
        weight=weight,
        label_rule=label_rule,
        omega=omega,
        normalization=normalization,
        reduction=reduction,
        empty=empty,
    )
    loss: Tensor = criterion(logits, target, target_b, lam)
    return loss


def lade_regularizer(
    logits: Tensor, labels: Tensor, prior: Tensor, log_prior: Tensor, *, remine_lambda: float
) -> Tensor:
    """Regularised Donsker-Varadhan bound on the divergence of each class from the balanced mixture, negated.

    Equals, with B the rows, K the classes that have samples and z the logits::

        T_c = logsumexp_i(z_ic - log prior_c - log K) - log B
        -sum_c prior_c * (mean of z_ic over the rows of class c - T_c - remine_lambda * T_c**2)

    Args:
        logits: class scores.
        labels: distribution of each row's label over the classes.
        prior: share of every class in the training set, 0 for a class that is left out.
        log_prior: its logarithm, finite.
        remine_lambda: weight of the square.

    Shape:
        logits and labels (N, C); prior and log_prior (C,); returns a scalar, 0 without rows.
    """
    if len(logits) == 0:
        return logits.sum()
    present = labels > 0
    own = (labels * logits.where(present, 0)).sum(0) / (labels.sum(0) + _GUARD)
    densities = logits - log_prior - (prior > 0).to(prior.dtype).sum().log()
    # Relative to the largest, which is a constant: logsumexp's own gradient loses digits at logits of 1e4.
    largest = densities.detach().amax(0)
    partition = (densities - largest).exp().mean(0).log() + largest
    return (prior * (partition + remine_lambda * partition**2 - own)).sum()


class LADELoss(LossModule):
    """``lade_loss`` with its vectors of length C made once.

    Formula: ``-log softmax(logits + log(prior))[target] + regularizer_weight * lade_regularizer``; for two labels a
    sample their mixture.

    Shape:
        ``forward(logits (N, C), target_a (N,), target_b (N,) or None, lam (N,) or number or None)``; returns a scalar,
        or (N,) for ``reduction="none"``. Arguments and Raises: see ``lade_loss``.

    Source: Hong et al. 2021, arXiv:2012.00321; code hyperconnect/LADE, LADELoss.py and PriorCELoss.py.
    """

    def __init__(
        self,
        counts: CountsLike,
        *,
        regularizer_weight: float = 0.1,
        remine_lambda: float = 0.01,
        weight: Any = None,
        label_rule: str = "mixup",
        omega: float = 0.25,
        normalization: str = "expected",
        reduction: str = "mean",
        empty: EmptyPolicy = "error",
    ) -> None:
        super().__init__()
        for name, value in (("regularizer_weight", regularizer_weight), ("remine_lambda", remine_lambda)):
            if not (math.isfinite(real_number(name, value)) and value >= 0):
                raise ValueError(f"{name} must be finite and >= 0, got {value}")
        counts = ClassCounts(counts).require_no_empty(empty)
        self.regularizer_weight, self.remine_lambda = float(regularizer_weight), float(remine_lambda)
        self.vectors = ClassVectors(
            counts,
            prior=counts.prior,
            bias=log_prior(counts, empty=empty),
            weight=checked_weights(weight, len(counts)),
        )
        self._mixing: dict[str, Any] = {"label_rule": label_rule, "omega": omega}
        self.fix_options(**self._mixing, normalization=normalization, reduction=reduction)

    def forward(
        self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Tensor | float | None = None
    ) -> Tensor:
        """Return the loss of ``logits`` against one label a sample, or two mixed with the image factor ``lam``."""
        vectors = self.vectors.for_logits(logits)
        prior, bias, counts = vectors.pop("prior"), vectors["bias"], vectors["class_counts"]
        mixed: dict[str, Any] = {"target_b": target_b, "lam": lam}
        labels = mixed_labels(logits, target_a, class_counts=counts, **mixed, **self._mixing)
        wide = logits.to(labels.dtype)  # both terms' gradients are added before they are rounded
        loss: Tensor = mixed_margin_loss(wide, target_a, **mixed, **vectors, **self.options)
        regularizer = lade_regularizer(wide, labels, prior, bias, remine_lambda=self.remine_lambda)
        times = len(logits) if self.options["reduction"] == "sum" else 1
        self._first.look(logits, self.vectors)
        return loss + times * self.regularizer_weight * regularizer
