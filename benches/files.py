"""Image files at ImageNet-LT's size: listing, fingerprint, start, memory, and decoding beside torchvision's loader.

115,846 small JPEGs with the class counts of the Pareto profile fitted to ImageNet-LT are written (a few hundred
contents, linked under many names), and photographs of 500 x 375 pixels and about 100 kB, as ImageNet's are: noise whose
spectrum falls as that of photographs. Everything is in the page cache: a disk is not measured. Loaders take turns, and
the best of their turns counts.
"""

import io
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from benches.harness import print_table, write_csv
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from lt_fast.data import FileSource, Loader, PhotographTransform
from lt_fast.datasets import image_folder, image_list, long_tailed_counts, write_image_list
from lt_fast.sampling import ShuffledBatchSampler

CSV = "files.csv"
CONTENTS, SMALL = 256, 64
PHOTOGRAPHS, PHOTOGRAPH, QUALITY = 1024, (375, 500), 90
BATCH, WORKERS, TURNS = 64, (1, 2), 3
SCALE, SIZE = 0.35, 224
NORMALIZED = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
RIVAL = "torchvision DataLoader(ImageFolder)"


def main() -> None:
    """Make the files, measure, print the table and write ``results/files.csv``."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        many, photographs = Path(folder) / "many", Path(folder) / "photographs"
        make_many(many)
        make_photographs(photographs)
        rows = [*listing(many), *start(many), *decoding(photographs)]
    print_table(rows)
    print(write_csv(CSV, rows))


def row(what: str, who: str, value: float, unit: str, asked: str = "") -> dict[str, Any]:
    """Return a row of the CSV file."""
    return {"what": what, "who": who, "value": float(f"{value:.4g}"), "unit": unit, "asked": asked}


# --- the files --------------------------------------------------------------------------------------------------------


def class_counts() -> list[int]:
    """Return 1,000 counts from 1,280 down to 5 that sum to 115,846."""
    return long_tailed_counts(1280, 1000, imbalance_ratio=256, profile="pareto").tolist()


def make_many(root: Path) -> None:
    """Write ImageNet-LT's number of small JPEGs, one folder per class."""
    contents = root / ".contents"
    contents.mkdir(parents=True)
    rng, files = np.random.default_rng(0), []
    for at in range(CONTENTS):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        files.append(contents / f"{at}.jpg")
        Image.fromarray(pixels).resize((SMALL, SMALL)).save(files[-1])
    following = itertools.cycle(map(str, files))
    for number, count in enumerate(class_counts()):
        folder = root / f"n{number:08}"
        folder.mkdir()
        for at in range(count):
            os.link(next(following), f"{folder}/n{number:08}_{at}.JPEG")


def make_photographs(root: Path) -> None:
    """Write photographs of ImageNet's usual size, in one class folder."""
    folder = root / "all"
    folder.mkdir(parents=True)
    contents = list(photograph_contents(CONTENTS // 2))
    for at in range(PHOTOGRAPHS):
        (folder / f"{at:05}.jpg").write_bytes(contents[at % len(contents)])


def photograph_contents(count: int) -> Iterator[bytes]:
    """Yield JPEGs of noise with a spectrum as that of photographs, the channels alike."""
    rng, (height, width) = np.random.default_rng(1), PHOTOGRAPH
    squares = np.fft.rfftfreq(width)[None] ** 2 + np.fft.fftfreq(height)[:, None] ** 2
    amplitude = np.maximum(squares, 1 / (height * width)) ** -0.6
    for _ in range(count):
        phases = np.exp(2j * np.pi * rng.random((4, *amplitude.shape)))
        shared, *own = np.fft.irfft2(amplitude * phases, s=PHOTOGRAPH)
        waves = np.stack([shared + 0.3 * each for each in own], axis=-1)
        pixels = 128 + 55 * (waves - waves.mean((0, 1))) / waves.std((0, 1))
        written = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(written, "JPEG", quality=QUALITY)
        yield written.getvalue()


# --- listing ----------------------------------------------------------------------------------------------------------


def listing(root: Path) -> Iterator[dict[str, Any]]:
    """Yield the seconds of a listing and of a fingerprint, best of three."""
    folder = image_folder(root)
    listed = root / ".list.txt"
    write_image_list(listed, folder.paths, folder.labels)
    source = FileSource.of(folder)
    calls: dict[tuple[str, str], Callable[[], Any]] = {
        ("list a folder of 115,846 images", "lt-fast"): lambda: image_folder(root),
        ("list a folder of 115,846 images", "torchvision ImageFolder"): lambda: torchvision.datasets.ImageFolder(root),
        ("read their list, look for each", "lt-fast"): lambda: image_list(listed, root),
        ("their fingerprint: paths, labels, sizes", "lt-fast"): lambda: source.fingerprint,
    }
    seconds = {key: min(timed(call) for _ in range(3)) for key, call in calls.items()}
    ours = (
        seconds["list a folder of 115,846 images", "lt-fast"]
        + seconds["their fingerprint: paths, labels, sizes", "lt-fast"]
    )
    for (what, who), value in seconds.items():
        yield row(what, who, value, "s")
    yield row("list the folder and its fingerprint", "lt-fast", ours, "s", "<= 2")


def timed(call: Callable[[], Any]) -> float:
    """Return the seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


# --- start and memory -------------------------------------------------------------------------------------------------


def start(root: Path) -> Iterator[dict[str, Any]]:
    """Yield what a fresh process needs until its first batch with two workers, and its memory."""
    for decoder in ("pillow", "torchvision"):
        command = [sys.executable, "-m", "benches.files", "--start", str(root), decoder]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        for each in json.loads(done.stdout):
            yield row(*each[:1], f"lt-fast, {decoder}", *each[1:])


def started(root: str, decoder: str) -> None:
    """Print what ``start`` tells, in the process that it measures."""
    imported = memory("self")
    began = time.perf_counter()
    source = FileSource.of(image_folder(root), decoder=decoder)
    listed = time.perf_counter()
    sampler = ShuffledBatchSampler(source.labels, batch_size=128)
    loader = Loader(source, sampler, transform=PhotographTransform(size=SIZE, augment="light"), workers=2)
    batches = iter(loader)
    next(batches)
    first = time.perf_counter()
    for _ in itertools.islice(batches, 10):
        pass
    workers = [memory(str(process.pid)) for process in multiprocessing.active_children()]
    main = memory("self")
    shown = [
        ["first batch of 128, two workers, listing included", first - began, "s", "<= 5"],
        ["the same, after the listing", first - listed, "s", ""],
        ["memory of the main process: more than after its imports", (main["Rss"] - imported["Rss"]), "MB", "<= 500"],
        ["its memory in all, shared libraries included (Rss)", main["Rss"], "MB", ""],
        ["the same, shared pages divided among the processes (Pss)", main["Pss"], "MB", "<= 500"],
        ["memory of a worker, shared pages divided (Pss)", max(each["Pss"] for each in workers), "MB", ""],
    ]
    json.dump(shown, sys.stdout)


def memory(process: str) -> dict[str, float]:
    """Return Rss and Pss of a process in MB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(value.split()[0]) / 1000 for name, value in (line.split(":", 1) for line in lines)}


# --- decoding ---------------------------------------------------------------------------------------------------------


def decoding(root: Path) -> Iterator[dict[str, Any]]:
    """Yield images per second, and how many times torchvision's with the same augmentation and workers that is."""
    for workers in WORKERS:
        epochs = list(loaders(root, workers))
        best = dict.fromkeys((name for name, _ in epochs), float("inf"))
        for _ in range(TURNS):  # the first turn also starts the workers
            for name, epoch in epochs:
                best[name] = min(best[name], timed(epoch))
        what = f"decode, crop, flip, normalise: 500 x 375 to 224, batch {BATCH}, {workers} worker{'s' * (workers > 1)}"
        for name, seconds in best.items():
            yield row(what, name, PHOTOGRAPHS / seconds, "images/s")
        for name in (name for name in best if name != RIVAL):
            asked = ">= 1.5" if "torchvision" in name else ">= 1.0"
            yield row(f"{what}, over {RIVAL}", name, best[RIVAL] / best[name], "x", asked)


def loaders(root: Path, workers: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield a name and a call that reads an epoch."""
    augment = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, scale=(SCALE, 1.0), interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(**NORMALIZED),
        ]
    )
    folder = torchvision.datasets.ImageFolder(root, transform=augment)
    theirs = DataLoader(folder, BATCH, shuffle=True, num_workers=workers, persistent_workers=True)
    yield RIVAL, lambda: read(theirs)
    own = PhotographTransform(size=SIZE, augment="light")  # the same crop and flip
    for decoder, (words, transform) in itertools.product(
        ("pillow", "torchvision"), (("the same v2 transform", augment), ("PhotographTransform", own))
    ):
        source = FileSource.of(image_folder(root), decoder=decoder)
        sampler = ShuffledBatchSampler(source.labels, batch_size=BATCH)
        ours = Loader(source, sampler, transform=transform, workers=workers)
        yield f"lt-fast, {decoder}, {words}", lambda ours=ours: read(ours)


def read(batches: Any) -> None:
    """Read an epoch."""
    for _ in batches:
        pass


if __name__ == "__main__":
    if sys.argv[1:2] == ["--start"]:
        started(*sys.argv[2:])
    else:
        main()
