"""Whole training steps: our loop beside a bare one, one in the manner of timm, and Lightning, on the same batches.

A ResNet-32 on batches of 128 images of 32 x 32, cropped, flipped and normalised by our loader, with SGD. The loops run
in turn, a few steps each, round after round; times are the shortest of the rounds, so that what disturbs the machine
for a while does not meet one loop alone. "an epoch" is one of CIFAR-100-LT at ratio 100: 85 steps. A network of a few
pixels, on batches that are there, shows what the loop itself costs: "us over bare" is of a step. "waiting" is the share
of the time in which our loop waits for data, "checkpoint" what saving after each epoch adds to one. On a GPU, "idle" is
the share of the time in which it computes nothing, under torch's profiler.

    python -m benches.training [--device cuda] [--amp] [--threads 1] [--rounds 5] [--steps 4] [--csv FILE]
"""

import argparse
import itertools
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benches.harness import installed, machine_line, print_table, write_csv
from benches.rivals.training_loops import RATE, as_timm, bare, lightning, synchronize
from torch import Tensor, nn
from torch.nn import functional

from lt_fast.batch import Batch
from lt_fast.data import ArraySource, CropFlip, Loader
from lt_fast.methods import Classification
from lt_fast.models import resnet32
from lt_fast.sampling import ShuffledBatchSampler
from lt_fast.training import TRACE, Measured, RunDirectory, fit
from lt_fast.training.times import Part, busy_seconds

CSV = "training.csv"
IMAGES, CLASSES, BATCH, SIDE = 10_847, 100, 128, 32  # of CIFAR-100-LT at ratio 100
EPOCH = -(-IMAGES // BATCH)
OURS = "lt-fast"
SMALL = "a few pixels"
SMALL_STEPS = 200  # of half a millisecond
Row = dict[str, Any]
Loop = Callable[[], float | None]


class FewPixels(nn.Module):
    """A network that takes no time."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.head(x[:, :, 0, :8].flatten(1))


class CrossEntropy(nn.Module):
    """The loss of all loops: this bench compares what is around the network."""

    def forward(self, logits: Tensor, target: Tensor, *_: Any) -> Tensor:
        """Return the mean."""
        return functional.cross_entropy(logits, target)


class Some:
    """The first steps of every epoch of a loader; ``kept`` reads one batch and gives it again and again."""

    def __init__(self, loader: Loader, steps: int, *, kept: bool) -> None:
        self.loader, self.steps = loader, steps
        self._kept = next(loader.batches(0)) if kept else None

    def __len__(self) -> int:
        """Return the steps of an epoch."""
        return self.steps

    def identity(self) -> dict[str, Any]:
        """Return what tells these batches from others."""
        return {**self.loader.identity(), "steps": self.steps}

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches."""
        if self._kept is not None:
            yield from itertools.repeat(self._kept, self.steps - start)
            return
        source = self.loader.batches(epoch, start)
        for _ in range(start, self.steps):
            yield next(source)


def loader(workers: int) -> Loader:
    """Return a loader of noise in the shape of CIFAR-100-LT."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (IMAGES, SIDE, SIDE, 3), np.uint8)
    labels = draw.integers(CLASSES, size=IMAGES)
    sampler = ShuffledBatchSampler(labels, batch_size=BATCH, drop_last=False, output="numpy", seed=0)
    look = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "crop_padding": 4}
    return Loader(ArraySource(images, labels), sampler, transform=CropFlip(**look), workers=workers)


def network(name: str) -> nn.Module:
    """Return what is trained."""
    return FewPixels() if name == SMALL else resnet32(CLASSES)


def ours(model: nn.Module, some: Some, settings: argparse.Namespace, **options: Any) -> float:
    """Return the seconds of an epoch of ``fit``; of a graph, of one after that in which it is captured."""
    keywords: dict[str, Any] = {"device": settings.device, "amp": settings.amp, "progress": False} | options
    epochs = 2 if keywords.get("step") == "graph" else 1
    method = Classification(model, CrossEntropy())
    history = fit(method, {"train": some}, epochs=epochs, learning_rate=lambda *_: RATE, **keywords)
    return float(history.rows[-1]["seconds"] or 0.0)


def loops(model: nn.Module, steps: int, settings: argparse.Namespace, *, kept: bool) -> dict[str, Loop]:
    """Return a call for each loop; its workers' threads live as long as an epoch."""
    device = torch.device(settings.device)
    inline, ahead = (Some(loader(workers), steps, kept=kept) for workers in (0, 1))
    graph = {"lt-fast, step as a graph": partial(ours, model, ahead, settings, step="graph")}
    rivals = {"bare PyTorch": bare, "in the manner of timm": as_timm, "Lightning": lightning}
    return {
        **{
            name: partial(rival, model, lambda: inline.batches(0), device, amp=settings.amp)
            for name, rival in rivals.items()
        },
        "lt-fast": partial(ours, model, inline, settings),
        **({} if kept else {"lt-fast, one worker": partial(ours, model, ahead, settings)}),
        **(graph if device.type == "cuda" else {}),
    }


def compared(name: str, steps: int, settings: argparse.Namespace) -> list[Row]:
    """Return a row for each loop, from rounds in which each runs once."""
    model = network(name).to(settings.device, memory_format=torch.channels_last)
    every = loops(model, steps, settings, kept=name == SMALL)
    rounds = [{loop: call() for loop, call in every.items()} for _ in range(settings.rounds + 1)][1:]
    return [
        row_of(name, loop, [each[loop] for each in rounds], [each["bare PyTorch"] for each in rounds], steps)
        | {"GPU idle, %": None if loop.startswith(OURS) else idle(every[loop], settings)}
        for loop in every
        if rounds[0][loop] is not None
    ]


def row_of(name: str, loop: str, seconds: Sequence[Any], of_bare: Sequence[Any], steps: int) -> Row:
    """Return the row of one loop."""
    step, bare_step = min(seconds) / steps, min(of_bare) / steps
    ratio, over = step / bare_step, step - bare_step
    return {
        "network": name,
        "loop": loop,
        "ms a step": round(step * 1e3, 3),
        "seconds an epoch": round(step * EPOCH, 3),
        "times bare": round(ratio, 4),
        "us over bare": round(over * 1e6),
        "waiting, %": None,
        "checkpoint, %": None,
    }


def idle(call: Loop, settings: argparse.Namespace) -> float | None:
    """Return the share of an epoch of another loop in which the GPU does nothing, or None on a CPU."""
    if torch.device(settings.device).type != "cuda":
        return None
    kinds = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA]) as profiler:
        seconds = call()
        synchronize(torch.device(settings.device))
    return None if seconds is None else round(100 * max(0.0, 1 - busy_seconds(profiler.events()) / seconds), 1)


def add_parts(row: Row, steps: int, settings: argparse.Namespace) -> None:
    """Add the shares of waiting, of saving and of an idle GPU to a row of our loop."""
    graph = "graph" in row["loop"]
    some = Some(loader(1 if graph or "worker" in row["loop"] else 0), 4 * steps, kept=False)
    with tempfile.TemporaryDirectory() as folder, RunDirectory(Path(folder) / "run", {}) as run:
        times = Measured(Path(folder) / TRACE if torch.device(settings.device).type == "cuda" else None)
        ours(network(row["network"]), some, settings, run=run, times=times, step="graph" if graph else "eager")
    saving = times.seconds[Part.CHECKPOINT]
    row["waiting, %"] = round(100 * times.seconds[Part.DATA] / (times.total - saving), 3)
    row["checkpoint, %"] = round(100 * saving / (2 if graph else 1) / row["seconds an epoch"], 3)
    row["GPU idle, %"] = None if times.busy is None else round(100 * (1 - times.busy), 1)


def main(arguments: Sequence[str] = ()) -> None:
    """Time everything, print the table, write the CSV file."""
    parser = argparse.ArgumentParser(prog="benches.training", description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=None, help="default: 4, on a GPU 200")
    parser.add_argument("--csv", default=CSV)
    settings = parser.parse_args(arguments)
    torch.set_num_threads(settings.threads)
    quiet()
    steps = settings.steps or (4 if settings.device == "cpu" else 200)
    rows = [*compared("ResNet-32", steps, settings), *compared(SMALL, SMALL_STEPS, settings)]
    for row in rows:
        if row["network"] != SMALL and row["loop"].startswith(OURS):
            add_parts(row, steps, settings)
    print_table(rows)
    print(write_csv(settings.csv, rows, about=machine_of(settings)))


def machine_of(settings: argparse.Namespace) -> str:
    """Return the machine's line, with the GPU where one is measured."""
    gpu = f"{torch.cuda.get_device_name(settings.device)}; " if settings.device != "cpu" else ""
    return f"{gpu}{machine_line()}"


def quiet() -> None:
    """Keep Lightning from telling how to use it."""
    installed("lightning")  # it sets the levels itself when it is imported
    warnings.filterwarnings("ignore", module="lightning")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
