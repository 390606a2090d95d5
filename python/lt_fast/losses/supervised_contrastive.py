"""Supervised contrastive losses: embeddings contrasted by label with each other, or with a prototype per class."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast._tensors import arithmetic_dtype, check_row_labels, labels_of_rows


class SupConLoss(nn.Module):
    """Supervised contrastive loss: pull the embeddings of one class together and all others apart.

    Formula, with z the embeddings scaled to unit length, t the temperature, and P(i) the other rows with the label of
    row i::

        -mean_i  1 / |P(i)|  sum_{j in P(i)}  log( exp(z_i . z_j / t) / sum_{k != i} exp(z_i . z_k / t) )

    Several views of each image are rows of their own: ``loss(torch.cat([first, second]), target.repeat(2))``. A row
    whose label no other row has adds 0, and is counted. It is a loss of embeddings, not of logits: it takes no class
    counts, and a run cannot name it as its ``loss``.

    Args:
        temperature: t, finite and > 0.

    Shape:
        embeddings (N, D) float, of any length; target (N,) int64; returns a scalar, float64 for float64 embeddings and
        float32 for all others. Memory O(N^2).

    Raises:
        TypeError: if ``target`` is not an int64 tensor, or ``embeddings`` is not of floats.
        ValueError: if ``temperature`` is out of range, or a shape does not fit.

    Source: Khosla et al. 2020, arXiv:2004.11362, equation (2); code HobbitLong/SupContrast, losses.py, with equal
    temperature and base_temperature. Differs from that code: embeddings are scaled here, and a row without a positive
    does not make the loss NaN.

    >>> loss = SupConLoss(temperature=0.1)
    >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> round(loss(embeddings, torch.tensor([0, 0, 1, 1])).item(), 4)
    0.0001
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = _checks.number("temperature", temperature, above=0)

    def forward(self, embeddings: Tensor, target: Tensor) -> Tensor:
        """Return the loss."""
        unit, target = _checked(embeddings, target)
        similar = unit @ unit.T / self.temperature
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        # Not -inf: in a batch of one row the sum would be of nothing, and its gradient NaN.
        others = similar.masked_fill(itself, torch.finfo(similar.dtype).min)
        log_share = similar - others.logsumexp(1, keepdim=True)
        positive = (target[:, None] == target[None]) & ~itself
        of_row = log_share.masked_fill(~positive, 0).sum(1) / positive.sum(1).clamp(min=1)
        return -of_row.mean()

    def extra_repr(self) -> str:
        """Show the temperature."""
        return f"temperature={self.temperature}"


class PrototypicalSupConLoss(nn.Module):
    """Prototypical supervised contrastive (PSC) loss: each embedding against one prototype per class.

    Formula, with z the embeddings and p the prototypes scaled to unit length, and t the temperature::

        -mean_i  log( exp(z_i . p_{y_i} / t) / sum_{c != y_i} exp(z_i . p_c / t) )

    The own class is not in the sum, so that the loss can be negative. Memory is O(N * C) in place of ``SupConLoss``'
    O(N^2), and no row needs another one of its class. The prototypes are parameters of the caller::

        prototypes = torch.nn.Parameter(torch.randn(num_classes, 128))
        loss = lt.losses.PrototypicalSupConLoss(temperature=0.1)(projection(features), prototypes, target)

    Args:
        temperature: t, finite and > 0.

    Shape:
        embeddings (N, D) and prototypes (C, D) float, of any length, C >= 2; target (N,) int64 in [0, C); returns a
        scalar, float64 for float64 embeddings and float32 for all others.

    Raises:
        TypeError: if ``target`` is not an int64 tensor, or another is not of floats.
        ValueError: if ``temperature`` or a label is out of range, a shape does not fit, or there is one class alone.

    Source: Wang et al. 2021, arXiv:2103.14267, Section 3, as CENG502-Projects/CENG502-Spring2022,
    Project_Durmus-Yavuz/Readme.md, quotes it; no code of the authors is known.

    >>> loss = PrototypicalSupConLoss(temperature=0.1)
    >>> embeddings, prototypes = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.eye(2)
    >>> round(loss(embeddings, prototypes, torch.tensor([0, 1])).item(), 4)  # each at its prototype: 0 - 1 / 0.1
    -10.0
    >>> round(loss(embeddings, prototypes, torch.tensor([1, 0])).item(), 4)
    10.0
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = _checks.number("temperature", temperature, above=0)

    def forward(self, embeddings: Tensor, prototypes: Tensor, target: Tensor) -> Tensor:
        """Return the loss."""
        unit, target = _checked(embeddings, target)
        fits = isinstance(prototypes, Tensor) and prototypes.ndim == 2 and prototypes.shape[1] == unit.shape[1]  # noqa: PLR2004
        if not fits or len(prototypes) < 2:  # noqa: PLR2004
            shape = tuple(getattr(prototypes, "shape", ()))
            raise ValueError(f"prototypes must have shape (C, {unit.shape[1]}) with C >= 2, got {shape}")
        if not torch.compiler.is_compiling() and target.device.type == "cpu":
            check_row_labels("target", target, len(prototypes))
        similar = unit @ F.normalize(prototypes.to(unit.dtype), dim=1).T / self.temperature
        own = F.one_hot(target, len(prototypes)).bool()
        others = similar.masked_fill(own, -torch.inf).logsumexp(1)
        return (others - similar.gather(1, target[:, None])[:, 0]).mean()

    def extra_repr(self) -> str:
        """Show the temperature."""
        return f"temperature={self.temperature}"


def _checked(embeddings: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return embeddings of unit length in the dtype of the arithmetic, and labels."""
    if not isinstance(embeddings, Tensor) or not embeddings.is_floating_point():
        kind = embeddings.dtype if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise TypeError(f"embeddings must be a tensor of floats, got {kind}")
    if embeddings.ndim != 2 or 0 in embeddings.shape:  # noqa: PLR2004
        raise ValueError(
            f"embeddings must have shape (N, D) with N and D >= 1, got {tuple(embeddings.shape)}; concatenate views "
            "along the first dimension"
        )
    labels = labels_of_rows("target", target, embeddings)
    return F.normalize(embeddings.to(arithmetic_dtype(embeddings)), dim=1), labels
