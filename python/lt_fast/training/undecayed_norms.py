"""SGD whose weight decay leaves the numbers of normalisation layers and offsets alone."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor


class SGDNoNormDecay(torch.optim.SGD):
    """``torch.optim.SGD`` with ``weight_decay`` on tensors of two or more dimensions alone.

    Weights of convolutions and linear layers have them; scales and shifts of batch norm and offsets have one. In a
    configuration it is called ``sgd_no_norm_decay``.

    Args:
        params: parameters, or groups of them as torch takes.
        lr, momentum, dampening, weight_decay, nesterov, maximize, foreach, differentiable, fused: as of torch's SGD.

    Raises:
        ValueError: as torch's SGD.

    Example::

        optimizer = SGDNoNormDecay(model.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)

    Source: google-research/google-research, logit_adjustment/models.py, whose L2 penalty is on convolutions and the
    classifier; there on its offsets, too.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            list(_groups(params, weight_decay)),
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
            foreach=foreach,
            differentiable=differentiable,
            fused=fused,
        )


def _groups(params: Iterable[Any], weight_decay: float) -> Iterator[dict[str, Any]]:
    """Yield the tensors of each group that decay, and then those that do not."""
    given = list(params)
    for group in given if given and isinstance(given[0], dict) else [{"params": given}]:
        tensors: list[Tensor] = list(group["params"])
        for decay, chosen in (
            (group.get("weight_decay", weight_decay), [each for each in tensors if each.ndim > 1]),
            (0.0, [each for each in tensors if each.ndim <= 1]),
        ):
            if chosen:
                yield {**group, "params": chosen, "weight_decay": decay}
