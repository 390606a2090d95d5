"""Train one epoch on image files whose pixels together do not fit into the memory that this process may use.

Called as ``python larger_than_memory.py FOLDER IMAGES WORKERS``; prints the number of steps. The limit is on the memory
that the process has of its own (RLIMIT_DATA), set after the imports, and holds in worker processes too.
"""

import resource
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.transforms import v2

from lt_fast.data import FileSource, Loader
from lt_fast.mixing import CutMix
from lt_fast.sampling import ShuffledBatchSampler

SHAPE = (480, 640, 3)
MORE_BYTES = 128 << 20
"""Bytes that may be allocated after the imports; workers need their share of it for queues and stacks."""


def own_memory():
    """Bytes in private writable mappings of this process."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:")]
    return int(line.split()[1]) << 10


def limit_memory():
    limit = own_memory() + MORE_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main(folder, images, workers):
    torch.set_num_threads(1)
    transform = v2.Compose([v2.ToImage(), v2.RandomCrop(64), v2.ToDtype(torch.float32, scale=True)])
    source = FileSource([f"{at}.jpg" for at in range(images)], np.arange(images) % 10, root=folder)
    sampler = ShuffledBatchSampler(images, batch_size=32, drop_last=False)
    loader = Loader(source, sampler, transform=transform, mixer=CutMix(64), workers=workers, prefetch=1)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    criterion = nn.CrossEntropyLoss(reduction="none")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    limit_memory()
    try:
        np.ones((images, *SHAPE), dtype=np.uint8)
    except MemoryError:
        pass
    else:
        sys.exit("all images fit into the memory: the limit is not in force")
    for steps, batch in enumerate(loader, 1):  # noqa: B007
        logits = model(batch.x)
        first, second = (criterion(logits, target) for target in (batch.target, batch.target_b))
        optimizer.zero_grad()
        (batch.lam * first + (1 - batch.lam) * second).mean().backward()
        optimizer.step()
    sys.stdout.write(f"{steps}\n")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
