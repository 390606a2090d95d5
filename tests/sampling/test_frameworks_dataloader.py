"""What the training loop receives from torch's loader: every sample that is promised, every class as often as asked."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from forked import start_server
from lt_fast.sampling import (
    ClassBalancedBatchSampler,
    ClassBalancedSampler,
    DualBatchSampler,
    MPerClassBatchSampler,
    MultilabelBalancedSampler,
    RepeatFactorSampler,
    ShuffledBatchSampler,
    StratifiedBatchSampler,
    WeightedRandomSampler,
    repeat_factors,
)

LABELS = np.repeat(np.arange(4), [60, 25, 10, 5])
WORKERS = {
    "none": {},
    "fork": {"num_workers": 2, "multiprocessing_context": "fork"},
    "persistent fork": {"num_workers": 2, "multiprocessing_context": "fork", "persistent_workers": True},
    "spawn": {"num_workers": 2, "multiprocessing_context": "spawn", "persistent_workers": True},
    "forkserver": {"num_workers": 2, "multiprocessing_context": "forkserver", "persistent_workers": True},
}
workers = pytest.mark.parametrize("workers", ["none", "fork", "persistent fork"])


class Samples(Dataset):
    def __getitem__(self, index):
        return index, int(LABELS[index])

    def __len__(self):
        return len(LABELS)


def received(sampler, workers, epochs=3):
    loader = DataLoader(Samples(), batch_sampler=sampler, **WORKERS[workers])
    epochs = [list(loader) for _ in range(epochs)]
    return [(torch.cat([i for i, _ in epoch]), torch.cat([y for _, y in epoch])) for epoch in epochs]


@workers
def test_shuffling_shows_every_sample_once_an_epoch(workers):
    epochs = received(ShuffledBatchSampler(LABELS, batch_size=8, drop_last=False), workers)
    for indices, _ in epochs:
        assert indices.sort().values.tolist() == list(range(100))
    assert epochs[0][0].tolist() != epochs[1][0].tolist()


@pytest.mark.parametrize("workers", ["none", "fork", "persistent fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_balancing_shows_every_class_as_often_and_every_sample_before_any_repeats(workers):
    epochs = received(ClassBalancedBatchSampler(LABELS, batch_size=8, num_batches=15), workers)
    shown = np.zeros(100, dtype=int)
    for indices, labels in epochs:
        assert labels.bincount().tolist() == [30, 30, 30, 30]
        np.add.at(shown, indices.numpy(), 1)
    for label in range(4):
        times = shown[label == LABELS]
        assert times.max() - times.min() <= 1  # 90 draws of each class in all


@workers
def test_shares_of_two_ranks_are_the_whole(workers):
    whole = ClassBalancedBatchSampler(LABELS, batch_size=8, q=0.5)
    shares = [received(whole.shard(rank, 2), workers, epochs=1)[0][0].reshape(-1, 8) for rank in (0, 1)]
    together = torch.stack(shares, dim=1).reshape(-1, 8)
    assert together.tolist() == list(whole)


BATCHES = {
    "m per class": lambda: MPerClassBatchSampler(LABELS, m=3, classes_per_batch=2),
    "stratified": lambda: StratifiedBatchSampler(LABELS, batch_size=10),
    "dual": lambda: DualBatchSampler(
        ShuffledBatchSampler(LABELS, batch_size=5), ClassBalancedBatchSampler(LABELS, batch_size=5, q=-1.0)
    ),
}
INDICES = {
    "class-balanced": lambda: ClassBalancedSampler(LABELS, q=0.5),
    "weighted": lambda: WeightedRandomSampler(np.arange(100), 100),
    "weighted, without replacement": lambda: WeightedRandomSampler(1 + np.arange(100), 60, False),
    "repeat factor": lambda: RepeatFactorSampler(repeat_factors(LABELS, 0.2)),
    "multi-label": lambda: MultilabelBalancedSampler(np.arange(101), LABELS, strategy="cycle"),
}


@workers
@pytest.mark.parametrize("build", BATCHES.values(), ids=BATCHES)
def test_the_other_batch_samplers_come_through(build, workers):
    epochs = received(build(), workers, epochs=2)
    sampler = build()
    assert [indices.tolist() for indices, _ in epochs] == [sampler.epoch_indices(epoch).tolist() for epoch in (0, 1)]


@workers
@pytest.mark.parametrize("build", INDICES.values(), ids=INDICES)
def test_the_samplers_of_single_indices_come_through(build, workers):
    come_through(build, workers)


def test_a_sampler_of_single_indices_comes_through_to_workers_that_are_no_forks():
    start_server()
    come_through(INDICES["repeat factor"], "forkserver")


def come_through(build, workers):
    loader = DataLoader(Samples(), batch_size=8, sampler=build(), **WORKERS[workers])
    epochs = [[batch[0].tolist() for batch in loader] for _ in range(2)]
    sampler = build()
    for epoch, batches in enumerate(epochs):
        assert len(batches) == len(loader)
        assert [i for batch in batches for i in batch] == sampler.epoch_indices(epoch).tolist()


def left_early(loader):
    return [next(iter(loader))[0].tolist() for _ in range(3)]


def counted(loader):
    passes = []
    for _ in range(3):
        batches = iter(loader)
        first, *_ = [next(batches)[0].tolist() for _ in range(len(loader))]
        passes.append(first)
    return passes


def zipped(loader):
    other, passes = [0] * len(loader), []
    for _ in range(3):
        first, *_ = [batch[0].tolist() for _, batch in zip(other, loader, strict=False)]
        passes.append(first)
    return passes


def with_itself(loader):
    return [batch[0].tolist() for pair in zip(loader, loader, strict=True) for batch in pair][:2]


@workers
@pytest.mark.parametrize("loop", [left_early, counted, zipped, with_itself])
@pytest.mark.parametrize("by_index", [False, True])
def test_a_loader_left_early_gives_the_next_epoch_with_and_without_workers(loop, by_index, workers):
    if workers == "persistent fork" and loop is with_itself:
        pytest.skip("torch gives one iterator of such a loader to both")
    sampler = ShuffledBatchSampler(LABELS, batch_size=8)
    wanted = [sampler.epoch_indices(epoch)[:8].tolist() for epoch in range(3)]
    batches = {"batch_sampler": sampler}
    if by_index:
        draws = ClassBalancedSampler(LABELS)
        wanted = [draws.epoch_indices(epoch)[:8].tolist() for epoch in range(3)]
        batches = {"sampler": draws, "batch_size": 8}
    found = loop(DataLoader(Samples(), **batches, **WORKERS[workers]))
    assert found == wanted[: len(found)]


@workers
def test_set_epoch_starts_an_epoch_left_early_again_and_keeps_a_restored_position(workers):
    sampler = ShuffledBatchSampler(LABELS, batch_size=8)
    loader = DataLoader(Samples(), batch_sampler=sampler, **WORKERS[workers])
    first = sampler.epoch_indices(0).tolist()
    for _ in range(2):
        sampler.set_epoch(0)
        assert next(iter(loader))[0].tolist() == first[:8]
    sampler.load_state_dict({**sampler.state_dict(), "epoch": 0, "position": 5})
    sampler.set_epoch(0)
    assert [index for batch, _ in loader for index in batch.tolist()] == first[40:96]
    assert next(iter(loader))[0].tolist() == sampler.epoch_indices(1)[:8].tolist()
