"""Initialise weights as a function of a seed alone, without the global generator."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from lt_fast.models.seeds import seeded_generator

Model = TypeVar("Model", bound=nn.Module)


def build(make: Callable[[], Model], *, seed: int) -> Model:
    """Return ``make()`` on the CPU, with weights sampled by ``fill`` from ``seed``.

    ``make`` runs on the meta device, where constructors allocate nothing and draw nothing: PyTorch's own
    initialisation would advance the global generator.

    Args:
        make: constructs the model out of convolutions, batch norms, linear layers and modules with a method
            ``fill(generator)``.
        seed: any integer in [0, 2^64).

    Raises:
        TypeError: if ``seed`` is not an integer.
        ValueError: if it is outside the range.
    """
    generator = seeded_generator(seed)
    with torch.device("meta"):
        model = make()
    model.to_empty(device="cpu")
    for module in model.modules():  # in the order of construction, so the head, which is last, moves nothing else
        _fill(module, generator)
    return model


def _fill(module: nn.Module, generator: torch.Generator) -> None:
    """Kaiming-normal weights for convolutions and linear layers, as kaidic/LDAM-DRW; biases as ``nn.Linear``."""
    own: Callable[[torch.Generator], None] | None = getattr(module, "fill", None)
    if own is not None:
        own(generator)
    elif isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, generator=generator)
        if module.bias is not None:
            bound = module.weight[0].numel() ** -0.5
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)
    elif isinstance(module, nn.BatchNorm2d):
        module.reset_parameters()  # ones and zeros: samples nothing
    elif any(True for _ in module.parameters(recurse=False)) or any(True for _ in module.buffers(recurse=False)):
        raise TypeError(f"{type(module).__name__} has weights that no rule fills; give it a method fill(generator)")
