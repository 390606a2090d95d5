"""Losses of several experts: one criterion summed over all of them, or another one for each."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from lt_fast._tensors import require_tensor
from lt_fast.counts import CountsLike
from lt_fast.losses.base import Lam, Loss
from lt_fast.losses.first_logits import FirstLogits

_OF_EXPERTS = 3  # dimensions of logits (N, E, C)


def sum_over_experts(
    criterion: Callable[..., Tensor],
    logits: Tensor,
    target_a: Tensor,
    target_b: Tensor | None = None,
    lam: Lam = None,
) -> Tensor:
    """Return the loss of every expert by one criterion, added up.

    Equals ``sum(criterion(logits[:, e], target_a, target_b, lam) for e in range(E))``. A criterion with ``of_experts``
    is given all logits at once; logits (N, C) are those of a network without experts.

    Args:
        criterion: any loss of logits (N, C), or one with ``of_experts``.
        logits: (N, E, C), or (N, C).
        target_a: labels, (N,).
        target_b: the partners' labels, (N,), or None.
        lam: mixing coefficients, (N,), a number, or None.

    >>> import torch
    >>> from lt_fast.losses import LDAMLoss
    >>> criterion, cosines, target = LDAMLoss([50, 5]), torch.zeros(4, 3, 2), torch.tensor([0, 1, 0, 0])
    >>> loss = sum_over_experts(criterion, cosines, target)
    >>> torch.allclose(loss, 3 * criterion(cosines[:, 0], target))
    True
    """
    if logits.ndim != _OF_EXPERTS or getattr(criterion, "of_experts", False):
        return criterion(logits, target_a, target_b, lam)
    first, *others = (criterion(each, target_a, target_b, lam) for each in logits.unbind(1))
    return sum(others, start=first)


def require_experts(criterion: nn.Module, model: nn.Module) -> None:
    """Raise unless ``model`` has as many experts as ``criterion`` wants, or the loss inside it.

    Raises:
        ValueError: naming both numbers.
    """
    inner = getattr(criterion, "plain", getattr(criterion, "criterion", None))  # deferred, or of mixed labels
    if isinstance(inner, nn.Module):
        require_experts(inner, model)
        return
    wanted, found = getattr(criterion, "num_experts", None), getattr(model, "num_experts", 1)
    if wanted not in (None, found):
        raise ValueError(
            f"model must have {wanted} experts for the loss {type(criterion).__name__}, got {found}; train with --set "
            f"model.experts={wanted}"
        )


def experts_of(logits: Any, loss: str, number: int | None = None) -> tuple[Tensor, ...]:
    """Return the logits of each expert, (N, C) each.

    Raises:
        TypeError: if they are no tensor.
        ValueError: if there are not ``number`` experts, or the logits have more dimensions.
    """
    if isinstance(logits, list | tuple):
        raise TypeError(
            f"logits of {loss} must be a tensor (N, E, C) of E experts, got {type(logits).__name__}; pass "
            "torch.stack(logits, 1)"
        )
    require_tensor(logits)
    dimensions = logits.ndim
    if dimensions > _OF_EXPERTS:
        raise ValueError(
            f"logits of {loss} must be (N, E, C) of E experts, got shape {tuple(logits.shape)}; for a label per "
            "position make every position a row, N * positions of them"
        )
    every = logits.unbind(1) if dimensions == _OF_EXPERTS else (logits,)
    if number is not None and len(every) != number:
        raise ValueError(
            f"logits of {loss} must be of {number} experts, (N, {number}, C), got shape {tuple(logits.shape)}; make "
            f"the network with experts={number}"
        )
    return every


class ExpertLosses(Loss):
    """A loss of its own for each expert; the loss is their sum.

    Formula: ``sum_e losses[e](logits[:, e], target_a, target_b, lam)``.

    Args:
        counts: training samples per class.
        losses: one for each expert, made with the same ``shared`` options.
        shared: options of every loss, and ``scale``.

    Shape:
        ``forward(logits (N, E, C), ...)`` with E the number of losses; otherwise as ``Loss``.

    >>> import torch
    >>> from lt_fast.losses import BalancedSoftmaxLoss, CrossEntropyLoss
    >>> counts = [500, 50, 5]
    >>> criterion = ExpertLosses(counts, [CrossEntropyLoss(counts), BalancedSoftmaxLoss(counts)])
    >>> round(criterion(torch.zeros(1, 2, 3), torch.tensor([2])).item(), 3)  # log(3) + log(555 / 5)
    5.808
    """

    of_experts = True

    def __init__(self, counts: CountsLike, losses: Sequence[Loss], **shared: Any) -> None:
        super().__init__(counts, **shared)
        name = type(self).__name__
        for loss in losses:
            loss._first = FirstLogits(name, loss.options.scale)  # noqa: SLF001  (warnings name the loss that was made)
        self.losses = nn.ModuleList(losses)

    @property
    def num_experts(self) -> int:
        """E, how many experts the logits must be of."""
        return len(self.losses)

    def forward(self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Lam = None) -> Tensor:
        """Return the sum of the experts' losses."""
        every = experts_of(logits, type(self).__name__, len(self.losses))
        first, *others = (loss(own, target_a, target_b, lam) for loss, own in zip(self.losses, every, strict=True))
        total: Tensor = sum(others, start=first)
        return total
