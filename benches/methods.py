"""What a training step of every recipe costs: time and memory compared with cross entropy, on the same images.

Each recipe is built as `lt-fast train --method NAME --data cifar100-lt` builds it, with its own network, on noise in
the shape of CIFAR-100-LT at imbalance ratio 100, in batches of 128 images of 32 x 32, float32, on the CPU. A recipe
whose later epochs read other images is measured in each of these stages, and its step is the mean over its epochs.
"ms a step" is forward pass, loss, backward pass and optimizer, the shortest of rounds in which each recipe takes one
step; "ms a batch" is what reading and augmenting the images of that step takes in addition; "MiB" is the most that a
step holds at once of what torch allocates, with weights and the optimizer's state. Second stages on frozen features are
counted, not measured.

The package reads the same table for `lt-fast methods`, so it is written twice.

    python -m benches.methods [--rounds 2] [--csv FILE] [--only NAME ...]
"""

import argparse
import gc
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benches.harness import RESULTS, machine_line, print_table, write_csv
from torch.profiler import ProfilerActivity, profile

from lt_fast import experiment
from lt_fast.batch import Batch
from lt_fast.datasets import ImageSet, long_tailed_counts
from lt_fast.experiment.build import Data, Parts, build, make_model
from lt_fast.experiment.teacher import teacher_config
from lt_fast.recipes import RECIPES
from lt_fast.recipes.costs import FILE
from lt_fast.training.batches import steps_from
from lt_fast.training.optimizers import make_optimizer
from lt_fast.training.step_runner import EagerStep

CSV = "methods.csv"
DATA, CLASSES, LARGEST, RATIO, BATCH, SIDE = "cifar100-lt", 100, 500, 100, 128, 32
HELD_OUT = 1000
SHAPE = f"batches of {BATCH} images of {SIDE} x {SIDE}, {CLASSES} classes, each recipe's own network, float32"
BATCHES = 2  # read to time one, after the first
RATE = 1e-3  # of the learning: noise is learnt by no rate, and a small one keeps losses finite
Row = dict[str, Any]


@dataclass
class Stage:
    """One kind of epoch of a recipe: its batches of one step, and the times that were measured."""

    epoch: int
    share: float
    batches: Mapping[str, Batch]
    reading: float
    seconds: float = float("inf")


@dataclass
class Measured:
    """One recipe, ready to take steps."""

    name: str
    parts: Parts
    epochs: int
    step: EagerStep
    stages: list[Stage]
    calibrated: bool

    def take(self, stage: Stage) -> float:
        """Take one step in a stage and return its seconds."""
        self.parts.method.on_epoch_start(stage.epoch, self.epochs)
        self.parts.method.train()
        weight = next(iter(stage.batches.values())).weight
        start = time.perf_counter()
        self.step(stage.batches, phase=None, rate=RATE, weight=weight, check=lambda _: None)
        return time.perf_counter() - start


def noise(seed: int = 0) -> Data:
    """Return images without content in the shape and class sizes of CIFAR-100-LT."""
    draw = np.random.default_rng(seed)
    counts = long_tailed_counts(LARGEST, CLASSES, imbalance_ratio=RATIO)
    train = np.repeat(np.arange(CLASSES), counts)
    held_out = np.arange(HELD_OUT) % CLASSES
    return Data(*(_images(draw, labels) for labels in (train, held_out, held_out)))


def _images(draw: np.random.Generator, labels: Any) -> ImageSet:
    pixels = draw.integers(0, 256, (len(labels), SIDE, SIDE, 3), np.uint8)
    return ImageSet(pixels, labels, tuple(map(str, range(CLASSES))), {}, np.arange(len(labels)))


def prepared(name: str, data: Data, on: str = DATA) -> Measured:
    """Return a recipe with its network as on the data set called ``on``, and one step's batches of each stage."""
    config = experiment.resolve(name, on, {"batch_size": BATCH})
    parts, epochs = build(config, data), config["epochs"]
    parts.method.prepare(lambda run: make_model(teacher_config(run, config) or config, data))
    parts.method.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(parts.optimizer, parts.method)
    step = EagerStep(parts.method, optimizer, device=torch.device("cpu"), amp=False)
    found = Measured(name, parts, epochs, step, [], config["calibrator"] is not None)
    for names, of_stage in _stages(parts, epochs).items():
        epoch = of_stage[len(of_stage) // 2]
        found.stages.append(_stage(found, names, epoch, len(of_stage) / epochs))
    return found


def _stages(parts: Parts, epochs: int) -> dict[frozenset[str] | None, list[int]]:
    """Return the epochs by the loaders that they read, in the order in which they come."""
    found: dict[frozenset[str] | None, list[int]] = {}
    for epoch in range(epochs):
        names = parts.method.active(epoch, epochs)
        found.setdefault(None if names is None else frozenset(names), []).append(epoch)
    return found


def _stage(found: Measured, names: frozenset[str] | None, epoch: int, share: float) -> Stage:
    """Read the batches of a stage and take a first step with them: it warms up, and the next stage builds on it."""
    found.parts.method.on_epoch_start(epoch, found.epochs)
    steps = steps_from(found.parts.loaders, names, epoch, 0, 1 + BATCHES)
    first, *_ = islice(found.step.moved(steps), 1)
    start = time.perf_counter()
    for _ in islice(steps, BATCHES):
        pass
    stage = Stage(epoch, share, first, (time.perf_counter() - start) / BATCHES)
    steps.close()
    found.take(stage)
    return stage


def peak_bytes(found: Measured, stage: Stage) -> int:
    """Return the most that a step holds at once: what torch allocates in it, over what is there before."""
    found.step.optimizer.zero_grad()  # what was allocated earlier would be freed in the step, and not be counted
    with warnings.catch_warnings(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        found.take(stage)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    held = np.cumsum([event.nbytes() for event in events])
    return int(held.max(initial=0)) + resident_bytes(found)


def resident_bytes(found: Measured) -> int:
    """Return the bytes of weights, buffers and the optimizer's state."""
    states = (value for state in found.step.optimizer.state.values() for value in state.values())
    tensors = [*found.parts.method.parameters(), *found.parts.method.buffers(), *states]
    return sum(each.numel() * each.element_size() for each in tensors if isinstance(each, torch.Tensor))


def row_of(found: Measured) -> Row:
    """Return a recipe's row."""
    images = [sum(len(batch.target) * len(batch.views) for batch in each.batches.values()) for each in found.stages]
    mixed = [sum(len(each.target) for each in stage.batches.values() if each.lam is not None) for stage in found.stages]
    shares = [stage.share for stage in found.stages]
    return {
        "recipe": found.name,
        "stages": len(found.stages) + found.calibrated,
        "ms a step": round(1e3 * float(np.dot(shares, [stage.seconds for stage in found.stages])), 1),
        "ms a batch": round(1e3 * float(np.dot(shares, [stage.reading for stage in found.stages])), 1),
        "MiB": round(max(peak_bytes(found, stage) for stage in found.stages) / 2**20, 1),
        "images a row": max(one + other for one, other in zip(images, mixed, strict=True)) / BATCH,
    }


def compared(names: Sequence[str], data: Data, rounds: int, on: str = DATA) -> list[Row]:
    """Return a row for each recipe, from rounds in which each takes one step of each of its stages."""
    every = [prepared(name, data, on) for name in names]
    gc.collect()
    for _ in range(rounds):
        for found in every:
            for stage in found.stages:
                stage.seconds = min(stage.seconds, found.take(stage))
    return [row_of(found) for found in every]


def main() -> None:
    """Measure, print and write the table; of all recipes, also where the package reads it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--csv", default=CSV)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(RECIPES))
    options, _ = parser.parse_known_args()
    rows = compared(options.only or list(RECIPES), noise(), options.rounds)
    print_table(rows)
    written = write_csv(options.csv, rows, about=f"{SHAPE}; {machine_line()}")
    if options.only is None and written == RESULTS / CSV:
        shutil.copyfile(written, Path(FILE))
    print(f"written to {written}")


if __name__ == "__main__":
    main()
