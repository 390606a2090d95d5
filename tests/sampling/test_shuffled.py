"""Plain shuffling: every sample once an epoch, whatever the length."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, RandomSampler

import reference
from lt_fast.sampling import ShuffledBatchSampler


@given(st.integers(1, 5000), st.integers(1, 64), st.integers(0, 2**64 - 1), st.integers(0, 2**32))
def test_every_sample_once_an_epoch(samples, batch_size, seed, epoch):
    sampler = ShuffledBatchSampler(samples, batch_size=batch_size, drop_last=False, seed=seed)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler) == -(-samples // batch_size)
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert sorted(sum(batches, [])) == list(range(samples))  # noqa: RUF017  (short lists)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**64 - 1), st.integers(0, 2**32))
def test_draws_are_the_oracle(samples, batch_size, seed, epoch):
    sampler = ShuffledBatchSampler(samples, batch_size=batch_size, num_batches=6, seed=seed)
    assert sampler.epoch_indices(epoch).tolist() == reference.shuffled_draws(samples, seed, epoch, 6 * batch_size)


@pytest.mark.parametrize("samples", [65_536, 65_537, 200_000])
def test_every_sample_once_on_both_sides_of_the_shuffle_in_memory(samples):
    sampler = ShuffledBatchSampler(samples, batch_size=1000, drop_last=False)
    drawn = sampler.epoch_indices(3)
    assert np.array_equal(np.sort(drawn), np.arange(samples))
    sampler.set_epoch(3)
    assert sampler[40] == drawn[40_000:41_000].tolist()


def test_epochs_and_seeds_differ():
    one, other = ShuffledBatchSampler(500, batch_size=50), ShuffledBatchSampler(500, batch_size=50, seed=1)
    assert not np.array_equal(one.epoch_indices(0), one.epoch_indices(1))
    assert not np.array_equal(one.epoch_indices(0), other.epoch_indices(0))
    assert not np.array_equal(one.epoch_indices(1), other.epoch_indices(0))


def test_drop_last_drops_the_rest():
    sampler = ShuffledBatchSampler(10, batch_size=4)
    assert [len(batch) for batch in sampler] == [4, 4]


def test_more_batches_than_samples_go_on_with_another_pass():
    sampler = ShuffledBatchSampler(10, batch_size=4, num_batches=10)
    seen = np.bincount(sampler.epoch_indices(), minlength=10)
    assert seen.tolist() == [4] * 10


def test_a_length_is_taken_from_anything_sized():
    assert ShuffledBatchSampler("abcdefgh", batch_size=4)[1] == ShuffledBatchSampler(8, batch_size=4)[1]
    assert ShuffledBatchSampler(np.int64(8), batch_size=4)[1] == ShuffledBatchSampler(8, batch_size=4)[1]


def test_a_number_in_an_array_is_a_number():
    plain = list(ShuffledBatchSampler(5, batch_size=2))
    for five in (np.int64(5), np.array(5), torch.tensor(5)):
        assert list(ShuffledBatchSampler(five, batch_size=2)) == plain


def test_a_data_set_of_any_size():
    sampler = ShuffledBatchSampler(1 << 60, batch_size=128)
    batch = sampler[10**9]
    assert len(set(batch)) == 128
    assert all(0 <= index < 1 << 60 for index in batch)


@pytest.mark.parametrize(
    ("samples", "keywords", "error", "text"),
    [
        (0, {}, ValueError, "labels_or_len must give at least 1 sample and at most 2.*, got 0"),
        (-5, {}, ValueError, "labels_or_len must give at least 1 sample and at most 2.*, got -5"),
        ([], {}, ValueError, "labels_or_len must give at least 1 sample and at most 2.*, got 0"),
        (2**63, {}, ValueError, "labels_or_len must give at least 1 sample and at most"),
        (2.5, {}, TypeError, "labels_or_len must be an integer, got 2.5"),
        (True, {}, TypeError, "labels_or_len must be an integer, got True"),
        (np.array(2.5), {}, TypeError, r"labels_or_len must be an integer, got array\(2\.5\)"),
        (
            ShuffledBatchSampler(5, batch_size=2),
            {},
            TypeError,
            "got a ShuffledBatchSampler, whose length counts batches",
        ),
        (DataLoader([1, 2]), {}, TypeError, "got a DataLoader, whose length counts batches; pass its data set"),
        (RandomSampler([1, 2]), {}, TypeError, "got a torch RandomSampler; .*use_distributed_sampler=False"),
        (
            5,
            {"batch_size": 6},
            ValueError,
            r"batch_size must be <= the number of samples \(5\) with drop_last=True, got 6",
        ),
        (5, {"batch_size": 2**62, "num_batches": 2}, ValueError, r"num_batches \* batch_size must be <= 2\*\*62"),
    ],
)
def test_refused(samples, keywords, error, text):
    with pytest.raises(error, match=text):
        ShuffledBatchSampler(samples, **{"batch_size": 2, **keywords})
