"""Several threads that read one loader, each another epoch: the batches of one thread."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from data.conftest import LABELS, NORMALIZED, Partners, same
from lt_fast.data import CropFlip, Loader
from lt_fast.sampling import ShuffledBatchSampler

EPOCHS = 4


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("paste", [False, True])
def test_epochs_of_one_loader(arrays, workers, paste):
    def made(workers):
        sampler = ShuffledBatchSampler(LABELS, batch_size=8, drop_last=False, seed=1)
        transform = CropFlip(**NORMALIZED, crop_padding=2)
        return Loader(
            arrays, sampler, transform=transform, mixer=Partners(paste=paste), views=2, seed=5, workers=workers
        )

    loader, alone, ready = made(workers), made(0), threading.Barrier(EPOCHS)

    def read(epoch):
        ready.wait(60)
        for _ in range(5):  # the memory of one thread's batches is lent to another thread's
            batches = list(loader.batches(epoch))
        return batches

    with ThreadPoolExecutor(EPOCHS) as pool:
        found = list(pool.map(read, range(EPOCHS)))
    for epoch, batches in enumerate(found):
        assert all(map(same, batches, alone.batches(epoch)))
        assert len(batches) == len(alone)
