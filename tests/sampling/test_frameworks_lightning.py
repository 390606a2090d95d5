"""Lightning in two processes, with ``use_distributed_sampler`` both ways."""

import numpy as np
import pytest

from lt_fast.sampling import ClassBalancedBatchSampler, ClassBalancedSampler, ShuffledBatchSampler

pytestmark = pytest.mark.slow
LABELS = np.repeat(np.arange(4), [60, 25, 10, 6])


def built(name):
    kind = ClassBalancedBatchSampler if name.startswith("balanced") else ShuffledBatchSampler
    return kind(LABELS, batch_size=8, seed=7, drop_last="last kept" not in name)


@pytest.fixture(scope="module")
def ranks(two_ranks):
    return two_ranks("lightning")


@pytest.mark.parametrize("name", ["balanced", "shuffled", "balanced, last kept", "shuffled, last kept"])
def test_the_training_step_receives_the_rank_s_share(ranks, name):
    for rank in (0, 1):
        received = ranks[rank][f"use_distributed_sampler=False: {name}"]
        share = built(name).shard(rank, 2)
        for epoch, batches in enumerate(received):
            share.set_epoch(epoch)
            assert batches == list(share)
            assert len(batches) == len(share)


def test_coverage_and_frequencies_in_what_was_received(ranks):
    for epoch in (0, 1):
        kept = [rank["use_distributed_sampler=False: shuffled, last kept"][epoch] for rank in ranks]
        assert set(range(101)) == {i for share in kept for batch in share for i in batch}
        drawn = [i for rank in ranks for batch in rank["use_distributed_sampler=False: balanced"][epoch] for i in batch]
        assert np.bincount(LABELS[drawn]).tolist() == [24, 24, 24, 24]


@pytest.mark.parametrize("switch", [True, False])
def test_a_share_of_single_indices_is_left_alone_either_way(ranks, switch):
    sampler = ClassBalancedSampler(LABELS, num_samples=96, seed=7)
    for rank in (0, 1):
        received = ranks[rank][f"use_distributed_sampler={switch}: share by index"]
        assert received == [sampler.epoch_indices(epoch)[rank::2].reshape(6, 8).tolist() for epoch in (0, 1)]


def test_a_whole_sampler_of_single_indices_is_shared_out(ranks):
    sampler = ClassBalancedSampler(LABELS, num_samples=96, seed=7)
    for epoch in (0, 1):
        received = [rank["use_distributed_sampler=True: whole by index"][epoch] for rank in ranks]
        assert [len(share) for share in received] == [6, 6]
        shown = sorted(i for share in received for batch in share for i in batch)
        assert shown == sorted(sampler.epoch_indices(epoch))


@pytest.mark.parametrize("which", ["whole", "a share", "shuffled"])
def test_with_the_switch_on_it_is_named(ranks, which):
    for rank in (0, 1):
        words = ranks[rank][f"use_distributed_sampler=True: {which}"]
        assert words.startswith("TypeError: labels must be class labels or a data set, got a torch DistributedSampler")
        assert "pass Trainer(use_distributed_sampler=False)" in words
