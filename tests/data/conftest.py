"""Two small image sources with the same long-tailed labels: in memory, and as files of mixed sizes."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from lt_fast.batch import MixPlan
from lt_fast.data import ArraySource, CropFlip, FileSource, Loader
from lt_fast.sampling import ShuffledBatchSampler

LABELS = np.repeat(np.arange(4), [20, 10, 5, 3])
NORMALIZED = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


class Partners:
    """Mixes each image with one of another batch of the epoch, by blending or by pasting a box."""

    label_rule = "mixup"

    def __init__(self, *, paste):
        self.sampler = ShuffledBatchSampler(LABELS, batch_size=8, drop_last=False, seed=99)
        self.paste = paste

    def plan(self, batch, labels):
        rows = self.sampler.batch(batch.epoch, batch.step)[: len(labels)]
        lam = np.full(len(labels), 0.75, dtype=np.float32)
        boxes = np.tile(np.array([[1, 2, 5, 6]], dtype=np.int32), (len(labels), 1)) if self.paste else None
        return MixPlan(np.asarray(rows), batch.position + 1000, lam, boxes)


def same(batch, other):
    tensors = [(*each.views, each.target, each.target_b, each.lam, each.index) for each in (batch, other)]
    return all(torch.equal(a, b) for a, b in zip(*tensors, strict=True))


def epoch(loader, number=0):
    loader.set_epoch(number)
    return list(loader)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(3)
    names = []
    for at in range(len(LABELS)):
        height, width = rng.integers(9, 20, 2)
        names.append(f"{at}.png")
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(root / names[-1])
    return FileSource(names, LABELS, root=root)


@pytest.fixture(scope="session")
def arrays():
    images = np.random.default_rng(4).integers(0, 256, (len(LABELS), 8, 8, 3), dtype=np.uint8)
    return ArraySource(images, LABELS)


def file_transform():
    return v2.Compose(
        [
            v2.ToImage(),
            v2.RandomResizedCrop(8, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(**NORMALIZED),
        ]
    )


@pytest.fixture(scope="session", params=["arrays", "files"])
def make_loader(request):
    """A function that makes a loader over one of the two sources."""
    source = request.getfixturevalue(request.param)
    transform = CropFlip(**NORMALIZED, crop_padding=2) if request.param == "arrays" else file_transform()

    def make(**options):
        options = {"mixer": Partners(paste=False), "views": 2, "seed": 5, **options}
        sampler = ShuffledBatchSampler(LABELS, batch_size=8, drop_last=False, seed=1)
        return Loader(source, sampler, transform=transform, **options)

    return make
