"""The mixed LDAM loss with class weights: ours, and the code that people write today, on one kind of batch."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lt_fast import ops

SCALE = 30.0


@dataclass(frozen=True)
class Batch:
    """A batch with two labels a row, in the middle of training: cosine scores, LDAM margins, class weights."""

    logits: Tensor
    target: Tensor
    target_b: Tensor
    lam: Tensor
    margin: Tensor
    weight: Tensor

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Batch":
        """Return the batch on a device, with logits of a type."""
        moved = {name: value.detach().to(device) for name, value in vars(self).items()}
        return replace(self, **moved | {"logits": moved["logits"].to(dtype).requires_grad_()})

    def copied(self) -> "Batch":
        """Return the batch with logits in memory of their own."""
        return replace(self, logits=self.logits.detach().clone().requires_grad_())


def batch_of(rows: int, classes: int) -> Batch:
    generator = torch.Generator().manual_seed(rows + classes)
    logits = 2 * torch.rand(rows, classes, generator=generator) - 1
    target, target_b = (torch.randint(classes, (rows,), generator=generator) for _ in range(2))
    lam = torch.rand(rows, generator=generator)
    margin, weight = (0.1 + 0.4 * torch.rand(classes, generator=generator) for _ in range(2))
    return Batch(logits.requires_grad_(), target, target_b, lam, margin, weight)


def fused(batch: Batch) -> Tensor:
    return ops.mixed_margin_loss(
        batch.logits, batch.target, target_b=batch.target_b, lam=batch.lam, margin=batch.margin, weight=batch.weight,
        scale=SCALE, normalization="batch",
    )  # fmt: skip


def returned(batch: Batch) -> object:
    """As a step does that continues the backward itself: autograd starts at the logits, once, as from a loss."""
    _, gradient = ops.mixed_margin_loss(
        batch.logits, batch.target, target_b=batch.target_b, lam=batch.lam, margin=batch.margin, weight=batch.weight,
        scale=SCALE, normalization="batch", return_gradient=True,
    )  # fmt: skip
    return torch.autograd.grad(batch.logits, batch.logits, gradient)


def reference(batch: Batch) -> Tensor:
    return ops.reference.mixed_margin_loss(
        batch.logits, batch.target, target_b=batch.target_b, lam=batch.lam, margin=batch.margin, weight=batch.weight,
        scale=SCALE, normalization="batch",
    )  # fmt: skip


def _ldam_by_one_hot(batch: Batch, target: Tensor) -> Tensor:
    # The steps of kaidic/LDAM-DRW: a one-hot mask, the margins by matrix product, torch.where.
    mask = torch.zeros_like(batch.logits, dtype=torch.uint8).scatter_(1, target[:, None], 1)
    margins = torch.matmul(batch.margin[None, :], mask.float().t())
    scores = torch.where(mask.bool(), batch.logits.float() - margins.view(-1, 1), batch.logits.float())
    return F.cross_entropy(SCALE * scores, target, weight=batch.weight, reduction="none")


def _ldam_by_gather(batch: Batch, target: Tensor) -> Tensor:
    scores = batch.logits.float().scatter_add(1, target[:, None], -batch.margin[target][:, None])
    return F.cross_entropy(SCALE * scores, target, weight=batch.weight, reduction="none")


def eager(batch: Batch) -> Tensor:
    first, second = (_ldam_by_one_hot(batch, target) for target in (batch.target, batch.target_b))
    return (batch.lam * first + (1 - batch.lam) * second).mean()


def gather(batch: Batch) -> Tensor:
    first, second = (_ldam_by_gather(batch, target) for target in (batch.target, batch.target_b))
    return (batch.lam * first + (1 - batch.lam) * second).mean()


def cross_entropy(batch: Batch) -> Tensor:
    return F.cross_entropy(batch.logits, batch.target)
