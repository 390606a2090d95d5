"""Lightning in two processes, with ``use_distributed_sampler`` both ways."""

import numpy as np
import pytest
from scipy import stats

from lt_fast.sampling import ClassBalancedBatchSampler, ShuffledBatchSampler

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


BY_INDEX = [
    "class-balanced",
    "square-root, independent",
    "weighted",
    "weighted, distinct",
    "repeat factor",
    "multi-label",
]


def cut(indices):
    return [indices[at : at + 8].tolist() for at in range(0, len(indices), 8)]


def test_all_samplers_of_single_indices_are_here(index_samplers):
    assert list(index_samplers) == BY_INDEX


@pytest.mark.parametrize("switch", [True, False])
@pytest.mark.parametrize("name", BY_INDEX)
def test_a_share_of_single_indices_is_left_alone_either_way(ranks, index_samplers, name, switch):
    for rank in (0, 1):
        share = index_samplers[name]().shard(rank, 2)
        received = ranks[rank][f"use_distributed_sampler={switch}: share, {name}"]
        assert received == [cut(share.epoch_indices(epoch)) for epoch in (0, 1)]
        assert sum(len(batch) for batch in received[0]) == len(share)


@pytest.mark.parametrize("name", BY_INDEX)
def test_a_whole_sampler_of_single_indices_is_shared_out(ranks, index_samplers, name):
    """Lightning deals the draws in an order of its own, and fills the shorter share up with a draw of the epoch."""
    for epoch in (0, 1):
        draws = np.sort(index_samplers[name]().epoch_indices(epoch))
        shares = [np.concatenate(rank[f"use_distributed_sampler=True: whole, {name}"][epoch]) for rank in ranks]
        assert [len(share) for share in shares] == [-(-len(draws) // 2)] * 2
        received = np.bincount(np.concatenate(shares), minlength=101)
        surplus = received - np.bincount(draws, minlength=101)
        assert surplus.min() >= 0
        assert surplus.sum() == len(draws) % 2


@pytest.mark.parametrize("switch", ["True: whole", "True: share", "False: share"])
def test_frequencies_in_what_was_received_by_index(ranks, switch):
    def received(name, epoch):
        batches = (rank[f"use_distributed_sampler={switch}, {name}"][epoch] for rank in ranks)
        return np.concatenate([batch for share in batches for batch in share])

    for epoch in (0, 1):
        for name in ("class-balanced", "multi-label"):
            assert np.bincount(LABELS[received(name, epoch)]).tolist() == [24, 24, 24, 24]
        distinct = received("weighted, distinct", epoch)
        assert len(set(distinct)) == len(distinct) == 60
        times = np.bincount(received("repeat factor", epoch), minlength=101)
        # Factors are 1, 1 and, of classes with shares of 10 and 6 in 101, the square roots of 0.2 over their shares.
        assert all(times[label == LABELS].max() <= most for label, most in enumerate((2, 2, 2, 3)))
        assert (times == 0).sum() <= 1  # the factors are scaled to a whole number of draws
    for name, shares in (("weighted", np.full(4, 0.25)), ("square-root, independent", np.sqrt([60, 25, 10, 6]))):
        found = np.bincount(LABELS[np.concatenate([received(name, 0), received(name, 1)])], minlength=4)
        assert stats.chisquare(found, shares / shares.sum() * found.sum()).pvalue > 1e-3


@pytest.mark.parametrize("which", ["whole", "a share", "shuffled"])
def test_with_the_switch_on_it_is_named(ranks, which):
    for rank in (0, 1):
        words = ranks[rank][f"use_distributed_sampler=True: {which}"]
        assert words.startswith("TypeError: labels must be class labels or a data set, got a torch DistributedSampler")
        assert "pass Trainer(use_distributed_sampler=False)" in words
