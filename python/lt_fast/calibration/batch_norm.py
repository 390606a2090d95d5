"""Shifted batch norm: move a network's running statistics to batches of other class frequencies, and nothing else."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lt_fast.calibration.heads import Model, unwrapped
from lt_fast.calibration.labelled_batches import labelled

_BUFFERS = ("running_mean", "running_var")


def shifted_statistics(
    model: nn.Module, batches: Iterable[Any], *, device: str | torch.device | None = None, amp: bool = False
) -> dict[str, Tensor]:
    """Send ``batches`` through a copy of ``model`` whose batch norms are in train mode, and return their statistics.

    The running statistics begin where they are and move by each layer's own momentum, as in a training; all other
    layers are in eval mode, no weight changes, and ``model`` stays as it is. With class-balanced batches the statistics
    stand for equal class frequencies.

    Args:
        model: any module.
        batches: yields ``(x, labels)`` as ``collect`` takes; the labels are not used.
        device: where to compute; the model's own when left out.
        amp: compute in bfloat16 where autocast deems it safe.

    Returns:
        Name of the buffer to its values, float32 on the CPU: empty for a network without batch norm.

    Raises:
        TypeError: if a batch has another form.
        ValueError: if a batch is mixed, or has one value per channel, which has no variance.

    Source: Zhong et al. 2021 (MiSLAS), arXiv:2104.00466, Section 3.4; code dvlab-research/MiSLAS, train_stage2.py.

    >>> model = nn.Sequential(nn.BatchNorm1d(1, momentum=0.5))  # its running mean is 0, its running variance 1
    >>> shifted_statistics(model, [(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1]))])
    {'0.running_mean': tensor([1.]), '0.running_var': tensor([1.5000])}
    """
    moving = copy.deepcopy(unwrapped(model)).eval()
    if device is not None:
        moving.to(device)
    first = next(moving.parameters(), torch.empty(0))
    for layer in batch_norms(moving).values():
        layer.train()
    with torch.no_grad(), torch.autocast(first.device.type, dtype=torch.bfloat16, enabled=amp):
        for x, _ in labelled(batches, progress=False):
            moving(x.to(first.device, non_blocking=True))
    return running_statistics(moving)


def running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Return the running statistics of every batch norm: name of the buffer to its values, float32 on the CPU."""
    return {
        f"{name}.{buffer}": getattr(layer, buffer).detach().float().cpu()
        for name, layer in batch_norms(model).items()
        for buffer in _BUFFERS
    }


def with_statistics(model: Model, statistics: Mapping[str, Tensor]) -> Model:
    """Return a copy of ``model`` with the statistics of ``shifted_statistics``.

    Raises:
        ValueError: if it has no such buffer, or one of another shape.

    >>> model = nn.Sequential(nn.BatchNorm1d(1, momentum=0.5))
    >>> balanced_batches = [(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1]))]
    >>> shifted = with_statistics(model, shifted_statistics(model, balanced_batches))
    >>> model[0].running_mean, shifted[0].running_mean
    (tensor([0.]), tensor([1.]))
    """
    changed = copy.deepcopy(model)
    own = dict(unwrapped(changed).named_buffers())
    for name, values in statistics.items():
        found = own.get(name)
        if found is None or found.shape != values.shape:
            came = "none" if found is None else f"shape {tuple(found.shape)}"
            raise ValueError(f"model must have {name} of shape {tuple(values.shape)}, as was fitted, got {came}")
        found.copy_(values)
    return changed


def batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Return the batch norms of ``model`` that keep running statistics, by name."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }
