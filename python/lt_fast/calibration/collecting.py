"""``collect``: features, logits and labels of a data set, once, from a frozen model."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lt_fast.calibration.heads import named_head
from lt_fast.errors import require


class Collected(NamedTuple):
    """What ``collect`` returns, on the CPU.

    Attributes:
        features: what the head was given, ``(N, D)`` float32.
        logits: what it returned, ``(N, C)`` float32.
        labels: ``(N,)`` int64.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor


def collect(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    device: str | torch.device | None = None,
    amp: bool = False,
    head: str = "head",
    progress: bool = False,
) -> Collected:
    """Run ``model`` over ``batches`` in eval mode without gradients, and keep what goes into its head and comes out.

    Works on any model whose forward pass calls its head once on ``(N, D)`` features and returns the head's output;
    the mode of every module is restored afterwards. Batch norm uses its running statistics and does not move them.

    Args:
        model: moved to ``device`` when one is given.
        batches: yields ``(x, labels)``, or ``(x, labels, None, None)`` as ``ImageBatches`` does without mixing.
        device: where to compute; the model's own when left out.
        amp: compute in bfloat16 where autocast deems it safe; the results are float32 all the same.
        head: name of the classifier module: ``"fc"`` for a torchvision ResNet.
        progress: show a bar over the batches (needs tqdm).

    Complexity: one forward pass; N (D + C) floats of memory.

    Raises:
        ValueError: if there is no batch, a batch is mixed, its labels and images differ in number, there is no module
            called ``head``, or the forward pass does not call it exactly once.
    """
    target_device = _device(model, device)
    seen: list[tuple[Tensor, Tensor]] = []
    hook = named_head(model, head).register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    parts: list[tuple[Tensor, ...]] = []
    try:
        with _frozen(model), torch.autocast(target_device.type, dtype=torch.bfloat16, enabled=amp):
            for x, labels in _unmixed(batches, progress=progress):
                seen.clear()
                model(x.to(target_device, non_blocking=True))
                parts.append((*_only(seen, len(x), head), labels.cpu().long()))
    finally:
        hook.remove()
    if not parts:
        raise ValueError("batches must yield at least one batch, got none")
    return Collected(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _device(model: nn.Module, device: str | torch.device | None) -> torch.device:
    if device is not None:
        model.to(device)
        return torch.device(device)
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _unmixed(batches: Iterable[Any], *, progress: bool) -> Iterator[tuple[Tensor, Tensor]]:
    if progress:
        batches = require("tqdm", extra="train", purpose="a progress bar").tqdm(batches, desc="collect", leave=False)
    for step, (x, labels, *mixed) in enumerate(batches):
        if any(part is not None for part in mixed):
            raise ValueError(
                f"batches must not be mixed, got a second label or a factor in batch {step}; leave partner out"
            )
        if labels.shape != (len(x),):
            raise ValueError(f"labels must have shape ({len(x)},) in batch {step}, got {tuple(labels.shape)}")
        yield x, labels


def _only(seen: list[tuple[Tensor, Tensor]], rows: int, head: str) -> tuple[Tensor, Tensor]:
    if len(seen) != 1:
        raise ValueError(f"the forward pass must call {head!r} exactly once, got {len(seen)} calls")
    features, logits = seen[0]
    if features.ndim != 2 or len(features) != rows:  # noqa: PLR2004
        raise ValueError(f"{head!r} must be given features (N, D) with N = {rows}, got {tuple(features.shape)}")
    return features.float().cpu(), logits.float().cpu()
