"""Layer-wise learning-rate decay: the nearer a layer is to the image, the less it learns."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

_OF_AN_EXPERT = re.compile(r"experts\.\d+")


class Layerwise:
    """An optimizer as a function of the parameters, with a group of parameters for every rate.

    Args:
        make: makes the optimizer of parameters or groups.
        rates: ``id`` of a parameter to the factor of its learning rate; 1 for those that are not there.
    """

    def __init__(self, make: Callable[..., Optimizer], rates: Mapping[int, float]) -> None:
        self.make, self.rates = make, rates

    def __call__(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Return the optimizer; the training loop multiplies the rate of a group by its ``lr_scale``."""
        groups: dict[float, dict[str, Any]] = {}
        for parameter in parameters:
            rate = self.rates.get(id(parameter), 1.0)
            groups.setdefault(rate, {"params": [], "lr_scale": rate})["params"].append(parameter)
        return self.make(list(groups.values()))


def rates_by_layer(model: nn.Module, decay: float) -> dict[int, float]:
    """Return the factor of each parameter's learning rate: ``decay`` for the first layer, 1 for the last.

    Layers are the modules with parameters of their own, in the order of their registration, which is that of the
    forward pass in the networks of timm and torchvision; layer ``i`` of ``n`` has ``decay ** (1 - i / (n - 1))``. The
    layers of several experts that stand side by side count as one.

    Args:
        model: the network; its head is the last.
        decay: in (0, 1]; 1 trains all layers alike.

    Source: the layer-wise decay of Clark et al. 2020, ELECTRA (arXiv:2003.10555), and BEiT (arXiv:2106.08254), stated
    as the rate of the first layer instead of a factor per layer, so that it means the same for networks of any depth.
    """
    layers: dict[str, list[nn.Parameter]] = {}
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if own:
            layers.setdefault(_OF_AN_EXPERT.sub("experts", name), []).extend(own)
    rates: dict[int, float] = {}
    for number, parameters in enumerate(layers.values()):
        rate = decay ** (1 - number / (len(layers) - 1)) if len(layers) > 1 else 1.0
        for parameter in parameters:
            rates.setdefault(id(parameter), rate)
    return rates
