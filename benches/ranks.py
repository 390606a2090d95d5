"""Two and four ranks on one machine (gloo) beside one: images per second with the same global batches.

Every rank decodes its rows of the same batches of photographs and trains ResNet-32 on them with one thread under
``DistributedDataParallel``. The rows of all ranks, gathered in each step, must be the batches of one rank.
"""

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from benches.files import make_photographs
from benches.harness import print_table, write_csv
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lt_fast.data import FileSource, Loader, PhotographTransform
from lt_fast.datasets import image_folder
from lt_fast.models import resnet32
from lt_fast.ranks import Ranks
from lt_fast.sampling import ShuffledBatchSampler
from lt_fast.training import process_group

CSV = "ranks.csv"
WORLD_SIZES, BATCH, STEPS, SIZE = (1, 2, 4), 66, 8, 32  # 4 ranks do not divide 66 rows: two have 17, two have 16


def main() -> None:
    """Train on one, two and four ranks, print the table and write ``results/ranks.csv``."""
    with tempfile.TemporaryDirectory() as folder:
        make_photographs(Path(folder))
        found = {size: launched(size, folder) for size in WORLD_SIZES}
    if len({each["rows"] for each in found.values()}) != 1:
        raise RuntimeError("the ranks together must have the batches of one rank, got others")
    one, cores = found[1]["images/s"], len(os.sched_getaffinity(0))
    rows = [
        {
            "ranks": size,
            "cores": cores,
            "rows of a rank": "-".join(map(str, sorted({BATCH // size, -(-BATCH // size)}))),
            "images/s": round(each["images/s"], 1),
            "x one rank": round(each["images/s"] / one, 2),
            "most that the cores allow": min(size, cores),
        }
        for size, each in found.items()
    ]
    print_table(rows)
    print(write_csv(CSV, rows))


def launched(world_size: int, folder: str) -> dict[str, Any]:
    """Run the ranks with the variables that torchrun sets; return what rank 0 prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    place |= {"WORLD_SIZE": str(world_size), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "benches.ranks", "--rank", folder],
            env={**os.environ, **place, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]
    said = [rank.communicate()[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        raise RuntimeError(f"a rank of {world_size} must end with status 0, got {[rank.returncode for rank in ranks]}")
    result: dict[str, Any] = json.loads(said[0])
    return result


def one_rank(folder: str) -> None:
    """Train as one rank; rank 0 prints the speed of all and what identifies the rows of all batches."""
    torch.set_num_threads(1)
    ranks = Ranks.from_environment()
    with process_group(ranks):
        source = FileSource.of(image_folder(folder), decoder="torchvision")
        sampler = ShuffledBatchSampler(source.labels, batch_size=BATCH, num_batches=STEPS)
        transform = PhotographTransform(size=SIZE, augment="light")
        loader = Loader(source, sampler, transform=transform, ranks=ranks)
        network: nn.Module = resnet32(num_classes=10)
        network = DistributedDataParallel(network) if ranks.world_size > 1 else network
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
        rows = hashlib.sha256()
        train(network, optimizer, loader, ranks, rows, epoch=0)  # the first steps also load what is needed
        began = time.perf_counter()
        train(network, optimizer, loader, ranks, rows, epoch=1)
        ranks.barrier()
        seconds = time.perf_counter() - began
    if ranks.is_main:
        json.dump({"images/s": BATCH * STEPS / seconds, "rows": rows.hexdigest()}, sys.stdout)


def train(network: nn.Module, optimizer: Any, loader: Loader, ranks: Ranks, rows: Any, *, epoch: int) -> None:
    """Train one epoch."""
    for batch in loader.batches(epoch):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(batch.x), batch.target) * batch.weight
        loss.backward()
        optimizer.step()
        for part in ranks.gather([] if batch.index is None else batch.index.tolist()):
            rows.update(json.dumps(part)[1:-1].replace(" ", "").encode() + b",")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        one_rank(sys.argv[2])
    else:
        main()
