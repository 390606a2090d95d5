"""Loops without a ``DataLoader``: FFCV's ``TraversalOrder`` and plain NumPy over ``epoch_indices``."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import pytest

from lt_fast.sampling import (
    ClassBalancedBatchSampler,
    RepeatFactorSampler,
    ShuffledBatchSampler,
    WeightedRandomSampler,
    repeat_factors,
)

LABELS = np.repeat(np.arange(4), [60, 25, 10, 5])


class TraversalOrder(ABC):
    """FFCV's interface (libffcv/ffcv, ffcv/traversal_order/base.py): an epoch's sample ids, as an array."""

    def __init__(self, loader):
        self.loader = loader
        self.indices = loader.indices
        self.distributed = loader.distributed

    @abstractmethod
    def sample_order(self, epoch: int) -> Sequence[int]: ...


class Balanced(TraversalOrder):
    """The three lines that FFCV's user writes."""

    def __init__(self, loader):
        super().__init__(loader)
        self.sampler = ClassBalancedBatchSampler(LABELS[self.indices], batch_size=loader.batch_size)

    def sample_order(self, epoch):
        return self.indices[self.sampler.epoch_indices(epoch)]


class Loader:
    """What FFCV's loader does with an order: ids of an epoch, cut into batches; the epoch counts its passes."""

    def __init__(self, indices, batch_size, order):
        self.indices, self.batch_size, self.distributed = indices, batch_size, False
        self.next_epoch = 0
        self.traversal_order = order(self)

    def __iter__(self):
        ids = self.traversal_order.sample_order(self.next_epoch)
        self.next_epoch += 1
        return iter([ids[at : at + self.batch_size] for at in range(0, len(ids), self.batch_size)])


def test_traversal_order():
    half = np.arange(0, 100, 2)
    loader = Loader(half, 8, Balanced)
    sampler = ClassBalancedBatchSampler(LABELS[half], batch_size=8)
    for _ in range(3):
        received = [batch.tolist() for batch in loader]
        assert received == [half[batch].tolist() for batch in sampler]
        counts = np.bincount(LABELS[np.concatenate([*received])])
        assert counts.tolist() == [12, 12, 12, 12]


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_epoch_indices_of_the_ranks_are_dealt_from_one_epoch(world_size):
    sampler = ClassBalancedBatchSampler(LABELS, batch_size=4, num_batches=16, q=0.5)
    for epoch in (0, 3):
        whole = sampler.epoch_indices(epoch).reshape(16, 4)
        for rank in range(world_size):
            share = sampler.shard(rank, world_size).epoch_indices(epoch)
            assert np.array_equal(share.reshape(-1, 4), whole[rank::world_size])


def test_a_loop_in_numpy():
    images = np.arange(100.0)[:, None] * [1, 2]
    sampler = ShuffledBatchSampler(len(images), batch_size=10, output="numpy")
    seen = np.zeros(100, dtype=int)
    for epoch in range(2):
        for batch in sampler.epoch_indices(epoch).reshape(-1, 10):
            x, y = images[batch], LABELS[batch]
            assert x.shape == (10, 2)
            assert np.array_equal(LABELS[(x[:, 0]).astype(int)], y)
            seen[batch] += 1
    assert (seen == 2).all()


def test_a_loop_by_position_needs_no_epoch_in_memory():
    sampler = ClassBalancedBatchSampler(LABELS, batch_size=10, output="numpy")
    sampler.set_epoch(4)
    by_position = np.concatenate([sampler[position] for position in range(len(sampler))])
    assert np.array_equal(by_position, sampler.epoch_indices())


def test_a_loop_in_numpy_by_single_indices():
    weights = np.repeat([1.0, 3.0], 50)
    sampler = WeightedRandomSampler(weights, 100, replacement=False)
    factors = RepeatFactorSampler(repeat_factors(LABELS, 0.2))
    for epoch in range(3):
        order = sampler.epoch_indices(epoch)
        assert np.array_equal(np.sort(order), np.arange(100))
        assert np.argsort(order)[50:].mean() < np.argsort(order)[:50].mean()  # heavy ones come early
        times = np.bincount(factors.epoch_indices(epoch), minlength=100)
        # A share of 5 in 100 below 0.2 is a factor of 2; 109.14 draws are scaled to 109, which costs one image at most.
        assert times[LABELS == 3].sum() in (9, 10)
        assert (times == 0).sum() <= 1
