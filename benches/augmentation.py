"""Augmentation of images in memory beside torch and torchvision: images a second, one thread, 32 x 32 x 3.

Every row is the whole way from uint8 images to a normalised batch as a training gets it. "batched torch" pads, gathers
all crops by one index, flips by another, and normalises and mixes whole batches: the fastest that we know without code
of one's own. "torchvision v2" is ``torchvision.transforms.v2`` on one image after the other, as its users have it: on
tensors, and with AutoAugment on PIL images as well, stacked to a batch. With two workers the same runs in a
``DataLoader`` of two processes, which are started before the clock. AutoAugment is the policy for CIFAR-10; Cutout,
which torchvision does not have, is a few lines. "copy" copies a batch of the same size to memory that is there already,
which no way to a batch can be faster than, and "kernel" is the call of Rust into such memory. "lt-fast" is the read of
a source by plans that are there: rows, keys and partners, which samplers and mixers draw. "lt-fast, Loader" is an epoch
of a ``Loader``, plans included, as a training has it, for a consumer that does nothing: inline, in one thread, in two.
"in one thread" and "in two threads" are reads by plans that are there, as "lt-fast", 16 in a row by each thread.
The column "times faster" compares with "lt-fast".
"""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from benches.harness import best_of, print_table, write_csv
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from lt_fast import _rust
from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.data import ArraySource, AutoAugment, CropFlip, Loader, RandAugment, TrivialAugmentWide
from lt_fast.mixing import Mixup
from lt_fast.sampling import ShuffledBatchSampler

BATCHES = (128, 512)
IMAGES, SIDE, PADDING = 10_000, 32, 4
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
REPEATS = 10
WORKERS = 2
PLANS = 64  # more than caches hold the images of
IN_A_ROW = 16
FEW = 2048  # images of a rival that takes a tenth of a millisecond for each
Row = dict[str, Any]
Calls = dict[str, tuple[Callable[[], Any], int]]  # who -> a call, and how many images it makes


def main() -> None:
    """Time everything, print the table, write ``results/augmentation.csv``."""
    torch.set_num_threads(1)
    images = pictures()
    rows: list[Row] = []
    for batch in BATCHES:
        for task, calls in tasks(images, batch).items():
            rows += timed(task, batch, calls)
    print_table(rows)
    print(write_csv("augmentation.csv", rows))


def pictures() -> np.ndarray:
    """Return images of smooth patches and noise: values are as frequent as in photographs, and none is rare."""
    generator = np.random.default_rng(0)
    coarse = generator.normal(120, 45, (IMAGES, 4, 4, 3)).repeat(8, 1).repeat(8, 2)
    return np.clip(coarse + generator.normal(0, 12, (IMAGES, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def tasks(images: np.ndarray, batch: int) -> dict[str, Calls]:
    """Return what is compared, by task."""
    look: dict[str, Any] = {"mean": MEAN, "std": STD, "crop_padding": PADDING}
    usual, strong = CropFlip(**look), AutoAugment(**look)
    kinds = {"bfloat16": {"dtype": "bfloat16"}, "float16": {"dtype": "float16"}}
    kinds["channels_last"] = {"memory_format": "channels_last"}
    flat = [v2.RandomCrop(SIDE, padding=PADDING), v2.RandomHorizontalFlip()]
    end = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    pairs = [v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10, fill=128)]
    on_tensors = v2.Compose([*flat, *pairs, *end[:1], cutout, *end[1:]])
    on_pictures = v2.Compose([*flat, *pairs, v2.ToImage(), *end[:1], cutout, *end[1:]])
    plain, tensors = v2.Compose([*flat, *end]), torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    opened = [Image.fromarray(image) for image in images[:FEW]]
    return {
        "crop, flip, normalise": {
            "batched torch": batched(images, batch, mix=False),
            "torchvision v2": one_by_one(tensors, plain, batch, mix=False),
            "copy": copied(batch),
            "kernel": kernel(images, usual, batch, mix=False),
            "lt-fast": ours(images, usual, batch, mix=False),
            **loaded(images, usual, batch, mix=False),
        },
        "crop, flip, mix, normalise": {
            "batched torch": batched(images, batch, mix=True),
            "torchvision v2": one_by_one(tensors, plain, batch, mix=True),
            "kernel": kernel(images, usual, batch, mix=True),
            "lt-fast": ours(images, usual, batch, mix=True),
            **in_threads(images, usual, batch, mix=True),
            **loaded(images, usual, batch, mix=True),
            **{
                f"lt-fast, {name}": ours(images, CropFlip(**look, **kind), batch, mix=True)
                for name, kind in kinds.items()
            },
        },
        "crop, flip, AutoAugment, Cutout, normalise": {
            "torchvision v2": one_by_one(tensors, on_tensors, batch, mix=False),
            "torchvision v2 on PIL images": one_by_one(opened, on_pictures, batch, mix=False),
            f"torchvision v2, {WORKERS} workers": in_workers(tensors[:FEW], on_tensors, batch),
            f"torchvision v2 on PIL images, {WORKERS} workers": in_workers(opened, on_pictures, batch),
            "kernel": kernel(images, strong, batch, mix=False),
            "lt-fast": ours(images, strong, batch, mix=False),
            **in_threads(images, strong, batch, mix=False),
            **loaded(images, strong, batch, mix=False),
        },
        "crop, flip, AutoAugment, Cutout, mix, normalise": {
            "lt-fast": ours(images, strong, batch, mix=True),
            **loaded(images, strong, batch, mix=True),
        },
        "crop, flip, RandAugment, normalise": {
            "torchvision v2": one_by_one(tensors, v2.Compose([*flat, v2.RandAugment(), *end]), batch, mix=False),
            "lt-fast": ours(images, RandAugment(**look), batch, mix=False),
        },
        "crop, flip, TrivialAugment, normalise": {
            "torchvision v2": one_by_one(tensors, v2.Compose([*flat, v2.TrivialAugmentWide(), *end]), batch, mix=False),
            "lt-fast": ours(images, TrivialAugmentWide(**look), batch, mix=False),
        },
    }


def timed(task: str, batch: int, calls: Calls) -> list[Row]:
    """Return a row for each of ``calls``."""
    costs = {who: best_of(call, REPEATS) / count for who, (call, count) in calls.items()}
    return [
        {
            "task": task,
            "batch": batch,
            "who": who,
            "ns per image": round(cost * 1e9),
            "images per second": round(1 / cost),
            "times faster": round(cost / costs["lt-fast"], 2),
        }
        for who, cost in costs.items()
    ]


def cutout(image: Tensor) -> Tensor:
    """Make a square of half the side black, its centre anywhere, as the code of Cutout does."""
    row, column = torch.randint(SIDE, (2,)).tolist()
    half = SIDE // 4
    image[:, max(row - half, 0) : row + half, max(column - half, 0) : column + half] = 0
    return image


def batched(images: np.ndarray, batch: int, *, mix: bool) -> tuple[Callable[[], Any], int]:
    """Return batched torch: no image has a line of Python of its own."""
    padded = torch.nn.functional.pad(torch.from_numpy(images).permute(0, 3, 1, 2), [PADDING] * 4).contiguous()
    side = torch.arange(SIDE)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))

    def call() -> Tensor:
        rows = torch.randint(IMAGES, (batch,))
        down, right = torch.randint(2 * PADDING + 1, (2, batch, 1))
        flip = torch.rand(batch, 1) < 0.5
        columns = torch.where(flip, SIDE - 1 - side, side) + right
        pixels = padded[rows[:, None, None], :, (side + down)[:, :, None], columns[:, None, :]]
        x = (pixels.permute(0, 3, 1, 2).float().div_(255) - mean).div_(std)
        return blended(x) if mix else x.contiguous()

    return call, batch


def blended(x: Tensor) -> Tensor:
    """Mix a batch with a permutation of it, with a coefficient for each image."""
    share = torch.rand(len(x), 1, 1, 1)
    return share * x + (1 - share) * x[torch.randperm(len(x))]


def one_by_one(images: Any, transform: Any, batch: int, *, mix: bool) -> tuple[Callable[[], Any], int]:
    """Return torchvision's transforms of one image after the other."""

    def call() -> Tensor:
        x = torch.stack([transform(images[row]) for row in torch.randint(len(images), (batch,)).tolist()])
        return blended(x) if mix else x

    return call, batch


class Transformed(Dataset[Tensor]):
    """Images of a list, each transformed when it is read."""

    def __init__(self, images: Any, transform: Any) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.images[index])


def in_workers(images: Any, transform: Any, batch: int) -> tuple[Callable[[], Any], int]:
    """Return an epoch of a ``DataLoader`` whose processes stay."""
    data = Transformed(images, transform)
    loader = DataLoader(data, batch, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    return (lambda: sum(1 for _ in loader)), len(data)


def plans(batch: int, *, mix: bool) -> Iterator[BatchPlan]:
    """Return the plans of one batch after the other, each of other images and keys."""
    generator = np.random.default_rng(0)
    for step in itertools.count():
        rows, first = generator.integers(IMAGES, size=batch), step * batch
        positions = np.arange(first, first + batch)
        order = generator.permutation(batch)
        partners = MixPlan(rows[order], positions[order], generator.random(batch, np.float32)) if mix else None
        yield BatchPlan(0, step, rows, positions, partners)


def ours(images: np.ndarray, transform: CropFlip, batch: int, *, mix: bool) -> tuple[Callable[[], Any], int]:
    """Return what a ``Loader`` does for a batch once it has its plan."""
    source = ArraySource(images, np.zeros(IMAGES, np.int64))
    drawn = itertools.cycle(itertools.islice(plans(batch, mix=mix), PLANS))
    return (lambda: source.read(next(drawn), transform, 0)), batch


def loaded(
    images: np.ndarray, transform: CropFlip, batch: int, *, mix: bool
) -> dict[str, tuple[Callable[[], Any], int]]:
    """Return an epoch of a ``Loader`` in each way, by name."""
    source = ArraySource(images, np.arange(IMAGES) % 10)
    sampler = ShuffledBatchSampler(source.labels, batch_size=batch, seed=0)
    ways = {"lt-fast, Loader": 0, "lt-fast, Loader, 1 thread": 1, "lt-fast, Loader, 2 threads": 2}
    mixer = Mixup(per_sample=True, seed=0) if mix else None

    def epoch(workers: int) -> tuple[Callable[[], Any], int]:
        loader = Loader(source, sampler, transform=transform, mixer=mixer, seed=0, workers=workers)
        return (lambda: sum(1 for _ in loader)), len(loader) * batch

    return {name: epoch(workers) for name, workers in ways.items()}


def in_threads(
    images: np.ndarray, transform: CropFlip, batch: int, *, mix: bool
) -> dict[str, tuple[Callable[[], Any], int]]:
    """Return reads by one thread and by two, by name."""
    source = ArraySource(images, np.zeros(IMAGES, np.int64))
    drawn = list(itertools.islice(plans(batch, mix=mix), PLANS))

    def reads(first: int) -> None:
        for at in range(first, first + IN_A_ROW):
            source.read(drawn[at % PLANS], transform, 0)

    def by(threads: int) -> tuple[Callable[[], Any], int]:
        pool = ThreadPoolExecutor(threads)
        starts = [IN_A_ROW * thread for thread in range(threads)]
        return (lambda: list(pool.map(reads, starts))), threads * IN_A_ROW * batch

    return {"lt-fast, in one thread": by(1), "lt-fast, in two threads": by(2)}


def copied(batch: int) -> tuple[Callable[[], Any], int]:
    """Return the copy of a finished batch."""
    done, out = torch.ones(batch, 3, SIDE, SIDE), torch.empty(batch, 3, SIDE, SIDE)
    return (lambda: out.copy_(done)), batch


def kernel(images: np.ndarray, transform: CropFlip, batch: int, *, mix: bool) -> tuple[Callable[[], Any], int]:
    """Return Rust's part of it alone."""
    drawn = itertools.cycle(itertools.islice(plans(batch, mix=mix), PLANS))
    out = torch.empty(batch, 3, SIDE, SIDE).numpy()  # aligned, as a source's memory is
    look, policy = (np.float32(MEAN), np.float32(STD)), transform.policy(SIDE, SIDE)

    def call() -> None:
        plan = next(drawn)
        crop = (0, 0, 0, PADDING, True)
        _rust.fill_batch(images, plan.index, plan.position, crop, *look, plan.mix, out, policy)

    return call, batch


if __name__ == "__main__":
    main()
