"""LADE: balanced softmax plus a term with which the logits estimate densities that do not depend on the class sizes."""

from typing import Any, Unpack

import torch
from torch import Tensor

from lt_fast._checks import number
from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.losses.balanced_softmax import log_prior
from lt_fast.losses.base import Lam, Loss, SharedOptions, label_shares
from lt_fast.registry import register

_GUARD = 1e-8  # the authors': a class that is not in the batch has the mean 0


def lade_regularizer(
    logits: Tensor, labels: Tensor, prior: Tensor, log_prior: Tensor, *, remine_lambda: float,
    counted: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Regularised Donsker-Varadhan bound on the divergence of each class from the balanced mixture, negated.

    Equals, with B the rows, K the classes that have samples and z the logits::

        T_c = logsumexp_i(z_ic - log prior_c - log K) - log B
        -sum_c prior_c * (mean of z_ic over the rows of class c - T_c - remine_lambda * T_c**2)

    Args:
        logits: (N, C) class scores.
        labels: (N, C) distribution of each row's label over the classes.
        prior: (C,) fraction of each class in the training set, 0 for a class that is left out.
        log_prior: (C,) its logarithm, finite.
        remine_lambda: weight of the square.
        counted: (N,) bool, the rows that are meant, whose labels alone are not 0; None for all.

    Returns a scalar, 0 without rows.

    >>> import torch
    >>> prior = torch.tensor([0.75, 0.25])
    >>> logits, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.eye(2)  # the labels of two rows as distributions
    >>> round(lade_regularizer(logits, labels, prior, prior.log(), remine_lambda=0.01).item(), 4)
    -0.506
    """
    if len(logits) == 0:
        return logits.sum()
    present = labels > 0
    own = (labels * logits.where(present, 0)).sum(0) / (labels.sum(0) + _GUARD)
    densities = logits - log_prior - (prior > 0).to(prior.dtype).sum().log()
    partition = _log_mean(densities, counted)
    bound = (prior * (partition + remine_lambda * partition**2 - own)).sum()
    return bound if counted is None else bound.where(counted.any(), 0)


def _log_mean(densities: Tensor, counted: Tensor | None) -> Tensor:
    """Return the log of the mean of ``exp(densities)`` over the rows that are counted; over all if none is."""
    # Relative to the largest, which is a constant: logsumexp's own gradient loses digits at logits of 1e4.
    if counted is None:
        largest = densities.detach().amax(0)
        return (densities - largest).exp().mean(0).log() + largest
    counted = counted | ~counted.any()
    densities = densities.where(counted[:, None], -torch.inf)
    largest = densities.detach().amax(0)
    return ((densities - largest).exp().sum(0) / counted.sum()).log() + largest


@register("loss", "lade")
class LADELoss(Loss):
    """LADE: cross entropy with the training prior, plus a regularised Donsker-Varadhan bound for every class.

    Formula: ``-log softmax(logits + log(prior))[target] + regularizer_weight * lade_regularizer``. Equals
    ``F.cross_entropy(logits + log(prior), target, weight) + regularizer_weight * lade_regularizer(...)`` up to
    ``normalization``. The regulariser is a quantity of the batch and not of a sample: it is added to the mean, and to
    each row's loss for ``reduction="none"`` (so N times to the sum); ``weight`` does not change it. An average over
    ranks or accumulated batches averages it, which is not the regulariser of their union.

    Args:
        regularizer_weight: alpha of the paper, finite, >= 0; 0 is balanced softmax.
        remine_lambda: lambda of the paper, weight of the squared log partition, finite, >= 0.
        shared: options of every loss, see ``Loss`` for them, Shape and Raises. The regulariser has no empty class.

    Source: Hong et al. 2021, arXiv:2012.00321; code hyperconnect/LADE, LADELoss.py and PriorCELoss.py; defaults of its
    README for CIFAR-100 at ratio 100. Differs from that code: no 1e-9 inside the logarithms of the priors; two labels
    per row count with their weights.

    >>> import torch
    >>> logits, target = torch.tensor([[2.0, 0.0, 1.0], [0.5, 0.0, 1.5]]), torch.tensor([0, 2])
    >>> round(LADELoss([70, 20, 10], regularizer_weight=0.1)(logits, target).item(), 4)
    0.6743
    >>> round(LADELoss([70, 20, 10], regularizer_weight=0)(logits, target).item(), 4)  # balanced softmax
    0.7395
    """

    def __init__(
        self, counts: CountsLike, *, regularizer_weight: float = 0.1, remine_lambda: float = 0.01,
        **shared: Unpack[SharedOptions],
    ) -> None:  # fmt: skip
        prior = ClassCounts(counts).prior
        super().__init__(counts, bias=log_prior(counts, empty="ignore"), vectors={"prior": prior}, **shared)
        self.regularizer_weight = number("regularizer_weight", regularizer_weight, least=0)
        self.remine_lambda = number("remine_lambda", remine_lambda, least=0)

    def forward(self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Lam = None) -> Tensor:
        """Return the loss, see ``Loss``."""
        vectors = self.vectors.for_logits(logits)
        rows = vectors["rows"]
        shared = self.options.by_name(rows)
        given = self._rows(logits, target_a, target_b, lam)
        labels = label_shares(self.options, given, shared["class_counts"])
        wide = given.logits.to(labels.dtype)  # the gradients of both terms are added before they are rounded
        loss = self._margin_loss(rows, given.of(wide))
        counted = None if given.counted is None else given.counted > 0
        of_batch = (wide, labels, vectors["prior"], shared["bias"])
        regularizer = lade_regularizer(*of_batch, remine_lambda=self.remine_lambda, counted=counted)
        self._first.look(given.logits, self.vectors)
        return given.shaped(loss + self._times(counted, len(wide)) * (self.regularizer_weight * regularizer))

    def _times(self, counted: Tensor | None, rows: int) -> Any:
        """Return how often the regulariser is added: once to a mean, and to each counted row."""
        if self.options.reduction == "mean":
            return 1
        if self.options.reduction == "none":
            return 1 if counted is None else counted
        return rows if counted is None else counted.sum()
