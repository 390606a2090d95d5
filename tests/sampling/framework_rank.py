"""One rank of a real two-process run of a framework: ``python framework_rank.py FRAMEWORK OUT.json``.

Writes what every training loop received, or the words of the error it met. The rank comes from the environment, as
torchrun sets it; the process group is gloo.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lt_fast.sampling import (
    ClassBalancedBatchSampler,
    ClassBalancedSampler,
    MultilabelBalancedSampler,
    RepeatFactorSampler,
    SeekableBatchSampler,
    SeekableSampler,
    ShuffledBatchSampler,
    WeightedRandomSampler,
    repeat_factors,
)

LABELS = np.repeat(np.arange(4), [60, 25, 10, 6])  # 101 samples: 12 batches of 8 and one of 5
EPOCHS = 2
PLAIN = {
    "accelerator": "cpu",
    "devices": 2,
    "strategy": "ddp",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Indices(Dataset):
    """Sample i is i."""

    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return len(LABELS)


def balanced(**options: Any) -> ClassBalancedBatchSampler:
    return ClassBalancedBatchSampler(LABELS, batch_size=8, seed=7, **options)


def shuffled(**options: Any) -> ShuffledBatchSampler:
    return ShuffledBatchSampler(LABELS, batch_size=8, seed=7, **options)


SAMPLERS: dict[str, Callable[[], SeekableBatchSampler]] = {
    "balanced": balanced,
    "balanced, last kept": lambda: balanced(drop_last=False),
    "shuffled": shuffled,
    "shuffled, last kept": lambda: shuffled(drop_last=False),
}


# Of single indices; epochs of 12 whole batches, and those that end within one.
INDEX_SAMPLERS: dict[str, Callable[[], SeekableSampler]] = {
    "class-balanced": lambda: ClassBalancedSampler(LABELS, num_samples=96, seed=7),
    "square-root, independent": lambda: ClassBalancedSampler(LABELS, q=0.5, within_class="replace", seed=7),
    "weighted": lambda: WeightedRandomSampler(1 / np.bincount(LABELS)[LABELS], 101, seed=7),
    "weighted, distinct": lambda: WeightedRandomSampler(1.0 + LABELS, 60, replacement=False, seed=7),
    "repeat factor": lambda: RepeatFactorSampler(repeat_factors(LABELS, 0.2), seed=7),
    "multi-label": lambda: MultilabelBalancedSampler(np.arange(102), LABELS, strategy="cycle", num_samples=96, seed=7),
}
by_index = INDEX_SAMPLERS["class-balanced"]


def indexed(sampler: SeekableSampler) -> DataLoader:
    return DataLoader(Indices(), batch_size=8, sampler=sampler)


def accelerated() -> dict[str, Any]:
    """Accelerate: every sampler whole, with ``even_batches`` both ways; then shares, which it must not share again."""
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration

    found: dict[str, Any] = {}
    for even in (True, False):
        accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(even_batches=even))
        for name, build in SAMPLERS.items():
            loader = accelerator.prepare(DataLoader(Indices(), batch_sampler=build()))
            found[f"even_batches={even}: {name}"] = _epochs(loader)
        loader = accelerator.prepare(DataLoader(Indices(), batch_sampler=balanced(), num_workers=2))
        found[f"even_batches={even}: balanced, workers"] = _epochs(loader)
        found[f"even_batches={even}: not prepared"] = _epochs(
            DataLoader(Indices(), batch_sampler=balanced().distributed())
        )
        twice = accelerator.prepare(DataLoader(Indices(), batch_sampler=balanced().distributed()))
        found[f"even_batches={even}: twice"] = _words(lambda: next(iter(twice)))  # noqa: B023
        for name, build in INDEX_SAMPLERS.items():
            found[f"even_batches={even}: index, {name}"] = _epochs(accelerator.prepare(indexed(build())))
        twice = accelerator.prepare(indexed(by_index().distributed()))
        found[f"even_batches={even}: by index, twice"] = _words(lambda: next(iter(twice)))  # noqa: B023
    resumed = accelerator.prepare(DataLoader(Indices(), batch_sampler=balanced()))
    resumed.set_epoch(5)
    found["set_epoch(5)"] = [_received(resumed)]
    found["dispatched twice"] = _dispatched_twice()
    return found


def _dispatched_twice() -> str:
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration

    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(dispatch_batches=True))
    loader = accelerator.prepare(DataLoader(Indices(), batch_sampler=balanced().distributed()))
    # Rank 0 alone reads; it stops before it sends anything, so rank 1 need not wait.
    return _words(lambda: next(iter(loader))) if _rank() == 0 else "rank 0 reads"


def lightning() -> dict[str, Any]:
    """Lightning: shares with the switch off, whole samplers and shares with the switch on, which it must not touch."""
    from lightning.pytorch import LightningModule, Trainer

    class Recorder(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.received: list[list[list[int]]] = [[] for _ in range(EPOCHS)]

        def training_step(self, batch: torch.Tensor) -> torch.Tensor:
            self.received[self.current_epoch].append(batch.tolist())
            return self.weight * 0

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def fitted(loader: DataLoader, *, switch: bool) -> list[list[list[int]]]:
        model = Recorder()
        Trainer(use_distributed_sampler=switch, max_epochs=EPOCHS, **PLAIN).fit(model, loader)
        return model.received

    found: dict[str, Any] = {}
    for name, build in SAMPLERS.items():
        loader = DataLoader(Indices(), batch_sampler=build().shard(_rank(), 2))
        found[f"use_distributed_sampler=False: {name}"] = fitted(loader, switch=False)
    for name, build in INDEX_SAMPLERS.items():
        for switch in (True, False):
            share = indexed(build().shard(_rank(), 2))
            found[f"use_distributed_sampler={switch}: share, {name}"] = fitted(share, switch=switch)
        found[f"use_distributed_sampler=True: whole, {name}"] = fitted(indexed(build()), switch=True)
    for name, batches in (("whole", balanced()), ("a share", balanced().shard(_rank(), 2)), ("shuffled", shuffled())):
        loader = DataLoader(Indices(), batch_sampler=batches)
        found[f"use_distributed_sampler=True: {name}"] = _words(lambda: fitted(loader, switch=True))  # noqa: B023
    return found


def _rank() -> int:
    return int(os.environ["RANK"])


def _received(loader: DataLoader) -> list[list[int]]:
    return [batch.tolist() for batch in loader]


def _epochs(loader: DataLoader) -> list[list[list[int]]]:
    received = [_received(loader) for _ in range(EPOCHS)]
    assert all(len(loader) == len(epoch) for epoch in received)
    return received


def _words(run: Callable[[], object]) -> str:
    try:
        run()
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was said"


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the frameworks; the words of ours are what is tested
        yield


if __name__ == "__main__":
    with _quiet():
        result = {"accelerate": accelerated, "lightning": lightning}[sys.argv[1]]()
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")
