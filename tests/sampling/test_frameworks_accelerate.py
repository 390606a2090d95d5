"""Accelerate in two processes: it shares a whole sampler out as ``.shard`` does, and a share not again."""

from itertools import zip_longest

import numpy as np
import pytest

from lt_fast.sampling import ClassBalancedBatchSampler, ShuffledBatchSampler

pytestmark = pytest.mark.slow
LABELS = np.repeat(np.arange(4), [60, 25, 10, 6])


def built(name):
    kind = ClassBalancedBatchSampler if name.startswith("balanced") else ShuffledBatchSampler
    return kind(LABELS, batch_size=8, seed=7, drop_last="last kept" not in name)


def promised(name, rank, epochs=(0, 1)):
    share = built(name).shard(rank, 2)
    wanted = []
    for epoch in epochs:
        share.set_epoch(epoch)
        wanted.append(list(share))
    return wanted


@pytest.fixture(scope="module")
def ranks(two_ranks):
    return two_ranks("accelerate")


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("name", ["balanced", "shuffled", "balanced, workers", "not prepared"])
def test_a_prepared_loader_delivers_the_rank_s_share(ranks, name, even):
    sampler = "shuffled" if name == "shuffled" else "balanced"
    for rank in (0, 1):
        assert ranks[rank][f"even_batches={even}: {name}"] == promised(sampler, rank)


@pytest.mark.parametrize("name", ["balanced", "shuffled"])
def test_even_batches_fills_up_and_shows_every_batch(ranks, name):
    whole = built(f"{name}, last kept")
    for epoch in (0, 1):
        whole.set_epoch(epoch)
        batches = list(whole)
        received = [ranks[rank][f"even_batches=True: {name}, last kept"][epoch] for rank in (0, 1)]
        assert [len(batch) for share in received for batch in share] == [8] * 14
        dealt = [batch for pair in zip(*received, strict=True) for batch in pair]
        assert dealt[:12] == batches[:12]
        assert dealt[12][:5] == batches[12]  # filled up from the first batches of the epoch
        filled = [*dealt[12][5:], *dealt[13]]
        assert set(filled) <= set(batches[0] + batches[1])


@pytest.mark.parametrize("name", ["balanced", "shuffled"])
def test_uneven_batches_are_exactly_the_sampler_s(ranks, name):
    whole = built(f"{name}, last kept")
    for epoch in (0, 1):
        whole.set_epoch(epoch)
        batches = list(whole)
        received = [ranks[rank][f"even_batches=False: {name}, last kept"][epoch] for rank in (0, 1)]
        assert received == [batches[0::2], batches[1::2]]


def test_set_epoch_reaches_the_sampler(ranks):
    for rank in (0, 1):
        assert ranks[rank]["set_epoch(5)"] == promised("balanced", rank, epochs=[5])


def test_coverage_and_frequencies_in_what_was_received(ranks):
    for epoch in (0, 1):
        shown = [i for rank in ranks for batch in rank["even_batches=False: shuffled, last kept"][epoch] for i in batch]
        assert sorted(shown) == list(range(101))
        drawn = [i for rank in ranks for batch in rank["even_batches=True: balanced"][epoch] for i in batch]
        assert np.bincount(LABELS[drawn]).tolist() == [24, 24, 24, 24]


@pytest.mark.parametrize("even", [True, False])
def test_a_share_is_not_shared_out_again(ranks, even):
    for rank in (0, 1):
        assert ranks[rank][f"even_batches={even}: twice"] == (
            f"ValueError: this sampler must not be sharded twice: it is rank {rank} of 2 already and "
            "Accelerator.prepare would share its batches out again; give it the sampler without .shard() and "
            ".distributed(), which it then shares out by the same rule, or do not prepare this loader"
        )


BY_INDEX = [
    "class-balanced",
    "square-root, independent",
    "weighted",
    "weighted, distinct",
    "repeat factor",
    "multi-label",
]


def dealt(ranks, even, name, epoch):
    """The batches of both ranks in the order in which they were dealt."""
    shares = [rank[f"even_batches={even}: index, {name}"][epoch] for rank in ranks]
    return [batch for turn in zip_longest(*shares) for batch in turn if batch is not None]


@pytest.mark.parametrize("name", BY_INDEX)
def test_a_sampler_of_single_indices_is_shared_out_in_batches(ranks, index_samplers, name):
    for epoch in (0, 1):
        indices = index_samplers[name]().epoch_indices(epoch).tolist()
        batches = [indices[at : at + 8] for at in range(0, len(indices), 8)]
        assert dealt(ranks, False, name, epoch) == batches


@pytest.mark.parametrize("name", BY_INDEX)
def test_even_batches_fills_single_indices_up(ranks, index_samplers, name):
    for epoch in (0, 1):
        indices = index_samplers[name]().epoch_indices(epoch).tolist()
        received = dealt(ranks, True, name, epoch)
        assert {len(batch) for batch in received} == {8}
        assert len(received) == 2 * -(-len(indices) // 16)  # as many for one rank as for the other
        flat = [index for batch in received for index in batch]
        assert flat[: len(indices)] == indices
        assert set(flat[len(indices) :]) <= set(indices[:16])  # from the first batches of the epoch


@pytest.mark.parametrize("even", [True, False])
def test_frequencies_in_what_was_received_by_index(ranks, even):
    for epoch in (0, 1):
        for name in ("class-balanced", "multi-label"):
            drawn = np.concatenate(dealt(ranks, even, name, epoch))
            assert np.bincount(LABELS[drawn]).tolist() == [24, 24, 24, 24]
        distinct = np.concatenate(dealt(ranks, even, "weighted, distinct", epoch))[:60]
        assert len(set(distinct)) == 60
        repeated = np.concatenate(dealt(ranks, even, "repeat factor", epoch))
        assert len(set(repeated)) >= 100  # the factors are scaled to a whole number of draws


@pytest.mark.parametrize("even", [True, False])
def test_a_share_of_single_indices_is_not_shared_out_again(ranks, even):
    for rank in (0, 1):
        words = ranks[rank][f"even_batches={even}: by index, twice"]
        assert f"rank {rank} of 2 already and Accelerator.prepare would share its batches out again" in words


def test_a_share_is_not_dispatched(ranks):
    assert "rank 0 of 2 already and DataLoaderConfiguration(dispatch_batches=True)" in ranks[0]["dispatched twice"]
    assert ranks[0]["dispatched twice"].endswith("or set dispatch_batches=False")
