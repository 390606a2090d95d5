"""Deferred re-weighting (DRW): the plain loss first, the class-weighted one for the last part of the training."""

from typing import Any

from torch import nn

from lt_fast._schedules import epoch_at


class DeferredReweighting(nn.Module):
    """Two losses and the fraction of the training at which the second takes over.

    It is a module so that both losses move to a device and into a checkpoint together; a method asks ``at`` for the
    loss of an epoch.

    Args:
        plain: loss of the epochs before ``defer_until``.
        reweighted: loss of the epochs from ``defer_until`` on, usually the same with class weights.
        defer_until: fraction of the epochs, in [0, 1], rounded to the nearest epoch; 1 never re-weights.

    Raises:
        TypeError: if a loss is not an ``nn.Module``.
        ValueError: if ``defer_until`` lies outside [0, 1].

    Source: Cao et al. 2019, arXiv:1906.07413, algorithm 1; code kaidic/LDAM-DRW, cifar_train.py.
    Differs from that code: a fraction, 0.8, instead of epoch 160, so that any number of epochs works (there,
    ``epoch // 160`` runs past its table of weights from epoch 320 on).

    >>> from lt_fast.losses import CrossEntropyLoss, effective_number_weights
    >>> counts = [500, 50, 5]
    >>> weighted = CrossEntropyLoss(counts, weight=effective_number_weights(counts))
    >>> criterion = DeferredReweighting(CrossEntropyLoss(counts), weighted, defer_until=0.8)
    >>> [criterion.at(epoch, 200) is weighted for epoch in (0, 159, 160)]
    [False, False, True]
    """

    def __init__(self, plain: nn.Module, reweighted: nn.Module, *, defer_until: float = 0.8) -> None:
        super().__init__()
        for name, loss in (("plain", plain), ("reweighted", reweighted)):
            if not isinstance(loss, nn.Module):
                raise TypeError(f"{name} must be a loss (an nn.Module), got {type(loss).__name__}")
        if not 0 <= defer_until <= 1:
            raise ValueError(
                f"defer_until must be a fraction of the epochs in [0, 1], got {defer_until}; epoch 160 of 200 is 0.8",
            )
        self.plain = plain
        self.reweighted = reweighted
        self.defer_until = defer_until

    def at(self, epoch: int, epochs: int) -> nn.Module:
        """Return the loss of ``epoch``, counted from 0, in a training of ``epochs``."""
        return self.reweighted if epoch >= epoch_at(self.defer_until, epochs) else self.plain

    def forward(self, *_: Any) -> None:
        """Refuse: which loss applies depends on the epoch."""
        raise TypeError("DeferredReweighting is not a loss itself; call .at(epoch, epochs)(logits, ...)")

    def extra_repr(self) -> str:
        """Show the fraction."""
        return f"defer_until={self.defer_until}"
