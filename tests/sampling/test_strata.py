"""Strata: the Rust quotas and draws are the oracle's, and the oracle's quotas are what the page promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from lt_fast.sampling import StratifiedBatchSampler

LABELS = np.repeat(np.arange(5), [50, 20, 9, 3, 1])[np.argsort((np.arange(83) * 37) % 83)]
COUNTS = st.lists(st.integers(1, 40), min_size=1, max_size=7)


@settings(max_examples=60)
@pytest.mark.filterwarnings("ignore:labels should be classes with several samples")  # one sample per class
@given(COUNTS, st.integers(1, 50), st.sampled_from([1.0, 0.5, 0.0, -1.0]), st.integers(0, 2**64 - 1), st.data())
def test_draws_are_the_oracle_s(counts, batch_size, q, seed, data):
    labels = data.draw(st.permutations(np.repeat(np.arange(len(counts)), counts).tolist()))
    epochs, batches = 3, data.draw(st.integers(1, 12))
    sampler = StratifiedBatchSampler(labels, batch_size=batch_size, q=q, num_batches=batches, seed=seed)
    drawn = np.concatenate([sampler.epoch_indices(epoch) for epoch in range(epochs)]).tolist()
    wanted = reference.strata_draws(labels, sampler.class_probs.tolist(), batch_size, seed, len(drawn))
    assert drawn == wanted  # the rounds go on from epoch to epoch


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_a_batch_far_away_is_the_oracle_s(batch_size):
    sampler = StratifiedBatchSampler(LABELS, batch_size=batch_size, num_batches=3000, seed=11)
    wanted = reference.strata_draws(LABELS.tolist(), sampler.class_probs.tolist(), batch_size, 11, 3000 * batch_size)
    for position in (2999, 0, 1500, 1024, 1023):
        assert sampler[position] == wanted[position * batch_size :][:batch_size]


def test_a_class_of_probability_0_is_left_out():
    probs = [3.0, 0.0, 2.0, 1e-3, 1.0]
    sampler = StratifiedBatchSampler(LABELS, batch_size=16, class_probs=probs, num_batches=200, seed=5)
    drawn = sampler.epoch_indices().tolist()
    assert drawn == reference.strata_draws(LABELS.tolist(), sampler.class_probs.tolist(), 16, 5, 3200)
    assert 1 not in LABELS[drawn]


@pytest.mark.filterwarnings("ignore:labels should be classes with several samples")  # one sample per class
@given(COUNTS, st.integers(1, 30), st.integers(0, 2**64 - 1))
def test_quotas_of_the_oracle(counts, batch_size, seed):
    """Each batch a class's share, rounded down or up of what a block holds; a block's sum right to half a draw."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    shares = np.array(counts) / sum(counts)
    blocks = 1 << (int(np.ceil(16 / shares.min() / batch_size)) - 1).bit_length()
    drawn = reference.strata_draws(labels, [float(n) for n in counts], batch_size, seed, 2 * blocks * batch_size)
    found = np.array(labels)[drawn].reshape(2, blocks, batch_size)
    per_batch = np.array([[np.bincount(batch, minlength=len(counts)) for batch in block] for block in found])
    whole = per_batch.sum(axis=1)
    assert (abs(whole - blocks * batch_size * shares) <= 1).all()
    assert (per_batch >= whole[:, None] // blocks).all()
    assert (per_batch <= -(-whole[:, None] // blocks)).all()


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.sampled_from([1, 2, 8, 64]))
def test_every_offset_comes_once_a_block(seed, block, blocks):
    offsets = [reference.strata_offset(seed, block * blocks + inside, blocks) for inside in range(blocks)]
    assert sorted(offsets) == list(range(blocks))
