"""Worker processes live from one epoch to the next, and no longer than their loader."""

import gc
import multiprocessing
import os
import pickle
import time

import pytest
import torch

from data.conftest import LABELS, epoch, file_transform
from lt_fast.data import FixedBatches, Loader

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


class Shift:
    """A transform with a setting that is changed between epochs."""

    def __init__(self):
        self.by, self.pipeline = 0.0, file_transform()

    def __call__(self, image):
        return self.pipeline(image) + self.by


def make(files, transform=None, **options):
    chosen = file_transform() if transform is None else transform
    return Loader(files, FixedBatches(len(LABELS), batch_size=8), transform=chosen, workers=2, **options)


def processes():
    return {process.pid for process in multiprocessing.active_children()}


def gone(pids):
    deadline = time.monotonic() + 20
    while processes() & pids and time.monotonic() < deadline:
        time.sleep(0.01)
    return not processes() & pids


def test_they_serve_every_epoch_and_end_with_the_loader(files):
    before, loader = processes(), make(files)
    pids = []
    for number in range(3):
        plain = epoch(Loader(files, FixedBatches(len(LABELS), batch_size=8), transform=file_transform()), number)
        assert all(torch.equal(a.x, b.x) for a, b in zip(plain, epoch(loader, number), strict=True))
        pids.append(processes() - before)
    assert len(pids[0]) == 2
    assert pids[0] == pids[1] == pids[2]
    del loader
    gc.collect()
    assert gone(pids[0])


def test_an_epoch_left_early_ends_them_and_the_next_one_is_whole(files):
    before, loader = processes(), make(files)
    whole = epoch(loader, 1)
    for closes in (True, False):
        batches = loader.batches(1)
        next(batches)
        started = processes() - before
        if closes:
            batches.close()
        del batches
        assert gone(started)
        assert all(torch.equal(a.x, b.x) for a, b in zip(whole, epoch(loader, 1), strict=True))


def test_two_epochs_at_once(files):
    loader = make(files)
    epochs = [list(pair) for pair in zip(zip(loader.batches(0), loader.batches(1), strict=True), strict=True)]
    assert [len(pairs) for pairs in epochs] == [1] * 5
    assert all(torch.equal(pairs[0][0].target, pairs[0][1].target) for pairs in epochs)


@pytest.mark.parametrize("change", ["transform", "another transform", "source", "seed", "workers"])
def test_what_is_assigned_between_epochs_is_seen(files, change):
    transform, other = Shift(), Shift()
    other.by = 2.0
    source = files.subset(range(len(LABELS)))
    loader = make(source, transform)
    before, pids = epoch(loader, 0), processes()
    if change == "transform":
        transform.by = 2.0
    elif change == "another transform":
        loader.transform = other
    elif change == "source":
        source.paths = source.paths.take([1, 0, *range(2, len(LABELS))])
    elif change == "seed":
        loader.seed = 9
    else:
        loader.workers = 1
    after = epoch(loader, 0)
    assert not processes() & pids
    assert torch.equal(after[0].x, before[0].x) == (change == "workers")
    if "transform" in change:
        assert torch.equal(after[0].x, before[0].x + 2)


def test_an_error_in_one_ends_all_and_the_loader_still_works(files):
    class Wrong(Shift):
        def __call__(self, image):
            if self.by:
                raise ValueError("no such colour")
            return super().__call__(image)

    transform = Wrong()
    loader = make(files, transform)
    whole = epoch(loader, 0)
    transform.by, before = 1.0, processes()
    with pytest.raises(ValueError, match="no such colour"):
        epoch(loader, 0)
    gc.collect()
    assert gone(before)
    transform.by = 0.0
    assert all(torch.equal(a.x, b.x) for a, b in zip(whole, epoch(loader, 0), strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system forks no processes")
def test_a_forked_process_leaves_them_to_its_parent(files):
    loader = make(files)
    whole, pids = epoch(loader, 0), processes()
    child = os.fork()
    if child == 0:
        del loader
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert all(torch.equal(a.x, b.x) for a, b in zip(whole, epoch(loader, 0), strict=True))
    assert processes() == pids


def test_a_copy_starts_its_own(files):
    loader = make(files, Shift())
    whole = epoch(loader, 0)
    again = pickle.loads(pickle.dumps(loader))
    assert all(torch.equal(a.x, b.x) for a, b in zip(whole, epoch(again, 0), strict=True))


def test_a_loader_in_a_cycle_ends_them_at_once(files):
    loader, before = make(files), processes()
    epoch(loader, 0)
    started = processes() - before
    loader.itself = loader
    del loader
    began = time.monotonic()
    gc.collect()
    assert gone(started)
    assert time.monotonic() - began < 4  # torch waits five seconds for each process that it could not tell
