"""The contract of the samplers that give one index at a time: epochs, positions, shards, state, copies, messages."""

import copy
import json
import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, SequentialSampler

from lt_fast.sampling import (
    SAMPLERS,
    ClassBalancedSampler,
    MultilabelBalancedSampler,
    ProgressiveSchedule,
    RepeatFactorSampler,
    SeekableSampler,
    WeightedRandomSampler,
)

LABELS = np.repeat(np.arange(4), [60, 25, 10, 5])[np.argsort((np.arange(100) * 37) % 100)]
WEIGHTS = (1 + np.arange(100)) * (np.arange(100) % 9 > 0)
INDPTR = np.arange(0, 201, 2)
INDICES = np.stack([LABELS, 4 + np.arange(100) % 3], axis=1).ravel()
CASES = {
    "class_balanced": lambda **keywords: ClassBalancedSampler(LABELS, **keywords),
    "class_balanced, q": lambda **keywords: ClassBalancedSampler(LABELS, q=0.5, **keywords),
    "class_balanced, replace": lambda **keywords: ClassBalancedSampler(LABELS, within_class="replace", **keywords),
    "class_balanced, schedule": lambda **keywords: ClassBalancedSampler(
        LABELS, schedule=ProgressiveSchedule(epochs=3), **keywords
    ),
    "weighted": lambda num_samples=100, **keywords: WeightedRandomSampler(WEIGHTS, num_samples, **keywords),
    "weighted, distinct": lambda num_samples=80, **keywords: WeightedRandomSampler(
        WEIGHTS, num_samples, replacement=False, **keywords
    ),
    "repeat_factor": lambda **keywords: RepeatFactorSampler(np.linspace(0.5, 2, 100), **keywords),
    **{
        f"multilabel, {strategy}": lambda strategy=strategy, **keywords: MultilabelBalancedSampler(
            INDPTR, INDICES, strategy=strategy, **keywords
        )
        for strategy in ("random", "cycle", "least_sampled")
    },
}
every = pytest.mark.parametrize("build", CASES.values(), ids=CASES)


def test_no_sampler_is_left_out():
    kinds = {type(build()) for build in CASES.values()}
    assert kinds == {SAMPLERS[name] for name in SAMPLERS if issubclass(SAMPLERS[name], SeekableSampler)}


@every
def test_length_position_and_indices_agree(build):
    sampler = build()
    first, second = list(sampler), list(sampler)
    assert len(first) == len(second) == len(sampler) == sampler.num_samples
    assert first != second
    assert sampler.epoch == 2
    sampler.set_epoch(0)
    assert [sampler[position] for position in range(len(sampler))] == first
    assert sampler.epoch_indices().tolist() == first
    assert sampler.epoch_indices(1).tolist() == second
    assert all(type(index) is int and 0 <= index < 100 for index in first)


@every
def test_resume_at_every_cut(build):
    whole, second = build().epoch_indices(0).tolist(), build().epoch_indices(1).tolist()
    for cut in range(len(whole) + 1):
        sampler = build()
        indices = iter(sampler)
        seen = [next(indices) for _ in range(cut)]
        state = json.loads(json.dumps(sampler.state_dict()))
        assert state["position"] == cut
        resumed = build()
        resumed.load_state_dict(state)
        resumed.set_epoch(0)
        assert resumed.state_dict() == state
        assert seen + list(resumed) == whole
        assert list(resumed) == second


@every
def test_two_resumes_in_one_epoch(build):
    whole, sampler, seen = list(build()), build(), []
    for steps in (3, 40, len(whole) - 43):
        indices = iter(sampler)
        seen += [next(indices) for _ in range(steps)]
        state, sampler = sampler.state_dict(), build()
        sampler.load_state_dict(state)
    assert seen == whole


@every
@given(world_size=st.sampled_from([1, 2, 4, 8, 33]), epoch=st.integers(0, 5))
def test_shards_make_up_the_global_draws(build, world_size, epoch):
    wanted = build().epoch_indices(epoch).tolist()
    found = []
    for rank in range(world_size):
        part = build().shard(rank, world_size)
        part.set_epoch(epoch)
        drawn = list(part)
        assert len(drawn) == len(part) == -(-len(wanted) // world_size)
        assert part.epoch_indices(epoch).tolist() == drawn
        found.append(drawn)
    in_turn = [index for step in zip(*found, strict=True) for index in step]
    assert in_turn == (wanted * 2)[: len(in_turn)]


@every
@given(before=st.integers(1, 4), after=st.integers(1, 4), steps=st.integers(0, 20))
def test_resume_on_another_world_size(build, before, after, steps):
    whole = list(build())
    ranks = [build().shard(rank, before) for rank in range(before)]
    iterators = [iter(rank) for rank in ranks]
    seen = [next(iterators[rank]) for _ in range(steps) for rank in range(before)]
    states = [rank.state_dict() for rank in ranks]
    assert all(state == states[0] for state in states)
    resumed = [build().shard(rank, after) for rank in range(after)]
    for rank in resumed:
        rank.load_state_dict(states[0])
    rest = [index for step in zip(*resumed, strict=True) for index in step]
    assert (seen + rest)[: len(whole)] == whole


@every
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies_go_their_own_way(build, duplicate):
    for sampler in (build(), build().shard(1, 3)):
        sampler.set_epoch(4)
        sampler.load_state_dict({**sampler.state_dict(), "position": 6})
        twin = duplicate(sampler)
        assert type(twin) is type(sampler)
        assert list(twin) == list(sampler)
        assert list(twin) == list(sampler)
        twin.set_epoch(77)
        assert sampler.epoch == 6


@every
def test_no_global_generator_is_touched(build):
    def states():
        numpys = np.random.get_state(legacy=False)  # noqa: NPY002  (it is watched)
        return random.getstate(), torch.get_rng_state().tolist(), str(numpys)

    before = states()
    list(build())
    build().epoch_indices(3)
    assert states() == before


@every
def test_only_a_shard_is_a_distributed_sampler(build):
    assert not isinstance(build(), DistributedSampler)
    part = build().shard(1, 2)
    assert isinstance(part, DistributedSampler)
    assert repr(part).endswith("epoch=0, rank=1, world_size=2)")
    with pytest.raises(ValueError, match="this sampler is rank 1 of 2 already; shard the original one"):
        part.shard(0, 2)


@every
def test_a_pass_left_early_is_an_epoch_and_a_loader_takes_the_next(build):
    sampler = build()
    epochs = [build().epoch_indices(epoch).tolist() for epoch in range(3)]
    for index in sampler:
        assert index == epochs[0][0]
        break
    batches = list(BatchSampler(sampler, 7, drop_last=False))
    assert [index for batch in batches for index in batch] == epochs[1]
    loader = DataLoader(range(100), batch_size=9, sampler=sampler)
    assert [int(index) for batch in loader for index in batch] == epochs[2]
    sampler.set_epoch(0)
    assert [int(index) for batch in loader for index in batch] == epochs[0]


@every
@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda s: s[len(s)], IndexError, r"position must lie in \[0, \d+\), got \d+"),
        (lambda s: s.set_epoch(-1), ValueError, "epoch must lie in .* got -1"),
        (lambda s: s.shard(0, 0), ValueError, "world_size must be >= 1, got 0"),
        (lambda s: s.shard(0, 2**64), ValueError, r"world_size must be <= 2\*\*31, got 18446744073709551616"),
        (lambda s: s.shard(2, 2), ValueError, r"rank must lie in \[0, 2\), got 2"),
        (lambda s: s.load_state_dict({**s.state_dict(), "seed": 5}), ValueError, "seed was 5, is 0; build the sampler"),
        (lambda s: s.load_state_dict({**s.state_dict(), "position": -1}), ValueError, "must be >= 0, got -1"),
    ],
)
def test_wrong_calls(build, call, error, text):
    with pytest.raises(error, match=text):
        call(build())


@every
def test_wrong_seed(build):
    with pytest.raises(ValueError, match=r"seed must lie in \[0, 2\*\*64\), got -1"):
        build(seed=-1)


@pytest.mark.parametrize(
    "build",
    [
        ClassBalancedSampler,
        lambda sampler: WeightedRandomSampler(sampler, 5),
        RepeatFactorSampler,
        lambda sampler: MultilabelBalancedSampler(sampler, [0]),
    ],
)
def test_a_sampler_in_the_place_of_data_is_refused(build):
    with pytest.raises(TypeError, match=r"got a torch SequentialSampler; .*use_distributed_sampler=False"):
        build(SequentialSampler([1]))
