"""Training loops of others: a bare one in PyTorch, one written as timm's ``train.py``, and Lightning's.

Each returns the seconds of one epoch over ``steps`` batches, with SGD, momentum and weight decay as ours, and adds the
time that it waited for data to ``waited``, where it can be told.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from benches.harness import installed
from torch import Tensor, nn
from torch.nn import functional

from lt_fast.batch import Batch

RATE = 0.01
Batches = Callable[[], Iterator[Batch]]


def sgd(parameters: Any, *, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=RATE, momentum=0.9, weight_decay=2e-4, fused=fused)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def bare(model: nn.Module, batches: Batches, device: torch.device, *, amp: bool) -> float:
    """Return the seconds of the loop of PyTorch's tutorials, without anything around it."""
    model.train()
    optimizer = sgd(model.parameters(), fused=device.type == "cuda")
    synchronize(device)
    begin = time.perf_counter()
    for batch in batches():
        x = batch.x.to(device, non_blocking=True, memory_format=torch.channels_last)
        target = batch.target.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            logits = model(x)
        loss = functional.cross_entropy(logits.float(), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    synchronize(device)
    return time.perf_counter() - begin


class Average:
    """A running mean, as every script has one."""

    def __init__(self) -> None:
        self.last = self.sum = 0.0
        self.count = 0

    def update(self, value: float, rows: int) -> None:
        """Count ``rows`` times ``value``."""
        self.last = value
        self.sum += value * rows
        self.count += rows


def as_timm(model: nn.Module, batches: Batches, device: torch.device, *, amp: bool, every: int = 50) -> float:
    """Return the seconds of a loop in the manner of timm's: means of time and loss, a schedule for each update."""
    model.train()
    optimizer = sgd(model.parameters(), fused=False)
    times, waits, losses = Average(), Average(), Average()
    synchronize(device)
    begin = end = time.perf_counter()
    for step, batch in enumerate(batches()):
        x = batch.x.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        target = batch.target.to(device, non_blocking=True)
        waits.update(time.perf_counter() - end, len(x))
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            loss = functional.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), len(x))
        for group in optimizer.param_groups:
            group["lr"] = RATE
        times.update(time.perf_counter() - end, len(x))
        if step % every == 0:
            rates = [group["lr"] for group in optimizer.param_groups]
            str((step, losses.last, losses.sum / losses.count, times.last, waits.last, sum(rates) / len(rates)))
        end = time.perf_counter()
    synchronize(device)
    return time.perf_counter() - begin


def lightning(model: nn.Module, batches: Batches, device: torch.device, *, amp: bool) -> float | None:
    """Return the seconds of an epoch of ``Trainer.fit``, without logger, bar, checkpoint; None if it is not there."""
    package: Any = installed("lightning")
    if package is None:
        return None
    seconds: list[float] = []

    class Module(package.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Batch, _: int) -> Tensor:
            x = batch.x.contiguous(memory_format=torch.channels_last)
            return functional.cross_entropy(self.model(x).float(), batch.target)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self.model.parameters(), fused=device.type == "cuda")

        def on_train_epoch_start(self) -> None:
            synchronize(device)
            seconds.append(time.perf_counter())

        def on_train_epoch_end(self) -> None:
            synchronize(device)
            seconds.append(time.perf_counter())

    class Epoch:
        def __iter__(self) -> Iterator[Batch]:
            return batches()

    trainer = package.Trainer(
        max_epochs=1,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if amp else "32-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), Epoch())
    return seconds[1] - seconds[0]
