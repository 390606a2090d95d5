"""The contract that every registered sampler keeps: epochs, positions, shards, state, copies, messages."""

import copy
import inspect
import json
import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lt_fast.sampling import (
    SAMPLERS,
    ClassBalancedBatchSampler,
    ProgressiveSchedule,
    SeekableBatchSampler,
    SeekableSampler,
    ShuffledBatchSampler,
)

LABELS = np.repeat(np.arange(4), [60, 25, 10, 5])[np.argsort((np.arange(100) * 37) % 100)]
VARIANTS = {
    "shuffled": [{}],
    "class_balanced": [
        {},
        {"q": 0.5},
        {"class_probs": [1, 2, 3, 0]},
        {"within_class": "replace"},
        {"schedule": ProgressiveSchedule(epochs=3)},
    ],
    "stratified": [{}, {"q": 0.0}],
    "m_per_class": [{"classes_per_batch": 1}],
    "dual": [{}],
}
CASES = [(name, variant) for name, variants in VARIANTS.items() for variant in variants]
FULL = ("stratified", "m_per_class", "dual")  # never a shorter batch
SIZED = [case for case in CASES if case[0] not in ("m_per_class", "dual")]  # take labels and batch_size


def build(case, **keywords):
    name, variant = case
    keywords = {"batch_size": 7, **variant, **keywords}
    if name == "m_per_class":
        keywords["m"] = keywords.pop("batch_size")
    if name == "dual":
        size, seed = keywords.pop("batch_size"), keywords.pop("seed", 0)
        keywords.setdefault("num_batches", len(LABELS) // size)
        one = ShuffledBatchSampler(LABELS, batch_size=size - 4, seed=seed, **keywords)
        return SAMPLERS[name](one, ClassBalancedBatchSampler(LABELS, batch_size=4, q=-1, seed=seed + 1, **keywords))
    return SAMPLERS[name](LABELS, **keywords)


def set_to(sampler, epoch):
    sampler.set_epoch(epoch)
    return sampler


def plain(sampler):
    return [np.asarray(batch).tolist() for batch in sampler]


every = pytest.mark.parametrize("case", CASES, ids=str)
every_sized = pytest.mark.parametrize("case", SIZED, ids=str)


def test_no_sampler_is_left_out():
    own_tests = {"confusion_pairs"}  # its batches are pairs, and its state holds a table
    of_indices = {name for name in SAMPLERS if issubclass(SAMPLERS[name], SeekableSampler)}
    assert set(VARIANTS) | own_tests | of_indices == set(SAMPLERS)
    assert all(issubclass(SAMPLERS[name], SeekableBatchSampler) for name in SAMPLERS)


@every
def test_length_position_and_indices_agree(case):
    last = [] if case[0] in FULL else [2]
    for drop_last, lengths in ((True, [7] * 14), (False, [7] * 14 + last)):
        sampler = build(case, drop_last=drop_last)
        batches = list(sampler)
        sampler.set_epoch(0)
        assert len(batches) == len(sampler) == sampler.num_batches == len(lengths)
        assert [len(batch) for batch in batches] == lengths
        assert [sampler[position] for position in range(len(sampler))] == batches
        assert sampler.epoch_indices().tolist() == [index for batch in batches for index in batch]
        assert all(type(index) is int and 0 <= index < 100 for batch in batches for index in batch)


@every
def test_numpy_output_holds_the_same(case):
    lists, arrays = build(case, drop_last=False), build(case, drop_last=False, output="numpy")
    for batch, array in zip(lists, arrays, strict=True):
        assert array.dtype == np.int64
        assert array.tolist() == batch
    assert arrays[1].tolist() == lists[1]


@every
@pytest.mark.parametrize("output", ["list", "numpy"])
def test_a_batch_as_an_array_is_the_batch(case, output):
    """Also the last, shorter one."""
    short = {} if case[0] in FULL else {"drop_last": False}
    sampler = build(case, output=output, **short)
    for epoch in (0, 3):
        for step in range(sampler.num_batches):
            found = sampler.batch_array(epoch, step)
            assert (found.dtype, found.ndim) == (np.int64, 1)
            assert found.tolist() == np.reshape(sampler.batch(epoch, step), -1).tolist()
    for step in (-1, sampler.num_batches):
        with pytest.raises(IndexError, match=rf"step must lie in \[0, {sampler.num_batches}\), got {step}"):
            sampler.batch_array(0, step)


@every
def test_num_batches_sets_the_epoch(case):
    sampler = build(case, num_batches=33)
    assert len(sampler) == len(list(sampler)) == 33
    assert {len(batch) for batch in sampler} == {7}


@every
def test_an_epoch_that_ends_moves_on(case):
    sampler = build(case)
    first, second = list(sampler), list(sampler)
    assert sampler.epoch == 2
    assert first != second
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert list(sampler) == second


@every
def test_a_pass_left_early_is_an_epoch_and_set_epoch_starts_it_again(case):
    sampler, epochs = build(case), [list(set_to(build(case), epoch)) for epoch in range(3)]
    for epoch in (0, 1):
        for step, batch in enumerate(sampler):
            assert batch == epochs[epoch][step]
            if step == 4:
                break
        assert sampler.epoch == epoch
    sampler.set_epoch(1)
    assert sampler.state_dict()["position"] == 0
    assert list(sampler) == epochs[1]
    assert list(sampler) == epochs[2]


@every
def test_an_iterator_that_is_not_asked_costs_no_epoch(case):
    sampler = build(case)
    first, second = (list(set_to(build(case), epoch)) for epoch in (0, 1))
    unused = iter(sampler)
    iter(sampler)
    assert list(sampler) == first
    assert next(unused) == second[0]  # the epoch that it was made for has been begun
    sampler.load_state_dict({**sampler.state_dict(), "epoch": 0, "position": 9})
    iter(sampler)  # what a loader with workers does before it makes the one that it uses
    assert list(sampler) == first[9:]
    assert list(sampler) == second


@every
def test_set_epoch_with_the_running_epoch_lets_it_go_on(case):
    sampler = build(case)
    first, second = (list(set_to(build(case), epoch)) for epoch in (0, 1))
    batches = iter(sampler)
    seen = [next(batches) for _ in range(3)]
    sampler.set_epoch(0)
    assert [*seen, *batches] == first
    assert list(sampler) == second


@every
def test_set_epoch_before_the_first_batch_is_of_the_next_iterator(case):
    sampler = build(case)
    batches = iter(sampler)
    sampler.set_epoch(5)
    assert list(batches) == list(set_to(build(case), 0))
    assert list(sampler) == list(set_to(build(case), 5))


@every
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_starts_the_epoch_that_the_original_would(case, duplicate):
    sampler = build(case)
    next(iter(sampler))
    copied, shard = duplicate(sampler), sampler.shard(1, 2)
    assert copied.epoch == shard.epoch == 1
    assert list(copied) == list(sampler)
    assert list(shard) == list(set_to(build(case), 1))[1::2]
    assert copied.epoch == sampler.epoch == 2


@every
def test_a_state_of_an_epoch_left_early_goes_on_with_it_unless_the_next_is_set(case):
    sampler = build(case)
    first, second = (list(set_to(build(case), epoch)) for epoch in (0, 1))
    for step, _ in enumerate(sampler):
        if step == 5:
            break
    resumed = build(case)
    resumed.load_state_dict(sampler.state_dict())
    assert list(resumed) == first[6:]
    resumed.load_state_dict(sampler.state_dict())
    resumed.set_epoch(1)
    assert list(resumed) == second
    sampler.set_epoch(1)
    resumed.load_state_dict(sampler.state_dict())
    assert list(resumed) == second


@every
def test_the_epoch_may_be_assigned(case):
    sampler = build(case)
    next(iter(sampler))
    sampler.epoch = 4
    assert list(sampler) == list(set_to(build(case), 4))
    with pytest.raises(TypeError, match=r"epoch must be an integer, got 1\.5"):
        sampler.epoch = 1.5


@every
def test_a_setting_cannot_be_assigned(case):
    sampler = build(case)
    names = {*inspect.signature(type(sampler)).parameters, *(name for name in vars(sampler) if name[0] != "_")}
    for made in (sampler, sampler.shard(0, 2), copy.copy(sampler), pickle.loads(pickle.dumps(sampler))):
        for name in sorted({*names, "rank", "world_size", "batch_size", "drop_last", "seed", "weights", "q"}):
            with pytest.raises(AttributeError, match=rf"{name} of \w+ cannot be set: a sampler is fixed when it is m"):
                setattr(made, name, getattr(made, name, None))
            with pytest.raises(AttributeError, match=f"{name} of .* cannot be deleted"):
                delattr(made, name)
    with pytest.raises(AttributeError, match=r"make a new one|take a share with \.shard\(rank, world_size\)"):
        sampler.rank = 1
    assert plain(sampler) == plain(build(case))


def test_a_subclass_may_keep_what_it_likes():
    class Kept(ShuffledBatchSampler):
        def __init__(self, labels, alpha, **options):
            super().__init__(labels, **options)
            self.labels, self.alpha, self.count = labels, alpha, 0

    sampler = Kept(LABELS, 0.5, batch_size=7)
    sampler.count += 1
    sampler.alpha = 0.25
    assert plain(sampler) == plain(ShuffledBatchSampler(LABELS, batch_size=7))
    with pytest.raises(AttributeError, match=r"seed of Kept cannot be set: .*; make a new one"):
        sampler.seed = 3


@every
def test_two_iterators_do_not_disturb_each_other(case):
    sampler = build(case)
    one, two = iter(sampler), iter(sampler)
    first, second = (list(set_to(build(case), epoch)) for epoch in (0, 1))
    assert [next(one) for _ in range(5)] == first[:5]
    assert [next(two) for _ in range(5)] == second[:5]
    assert sampler.state_dict()["position"] == 5
    assert list(one) == first[5:]
    assert sampler.epoch == 1  # the newest one is still on its way
    assert list(two) == second[5:]
    assert sampler.epoch == 2


@every
def test_an_exhausted_iterator_stays_so(case):
    sampler = build(case)
    batches = iter(sampler)
    assert len(list(batches)) == 14
    assert next(batches, None) is None
    assert sampler.epoch == 1


@every
@pytest.mark.parametrize("output", ["list", "numpy"])
def test_resume_at_every_cut(case, output):
    whole, second = plain(build(case)), plain(set_to(build(case), 1))
    for cut in range(15):
        sampler = build(case, output=output)
        batches = iter(sampler)
        seen = [np.asarray(next(batches)).tolist() for _ in range(cut)]
        state = json.loads(json.dumps(sampler.state_dict()))
        resumed = build(case, output=output)
        resumed.load_state_dict(state)
        resumed.set_epoch(0)  # as a training loop does: the same epoch keeps the place
        assert resumed.state_dict() == state
        assert seen + plain(resumed) == whole
        assert plain(resumed) == second


@every
def test_two_resumes_in_one_epoch(case):
    whole, sampler, seen = list(build(case)), build(case), []
    for steps in (3, 4, 7):
        batches = iter(sampler)
        seen += [next(batches) for _ in range(steps)]
        state, sampler = sampler.state_dict(), build(case)
        sampler.load_state_dict(state)
    assert seen == whole


@every
def test_a_resume_counts_once(case):
    sampler = build(case)
    whole = list(build(case))
    sampler.load_state_dict({**sampler.state_dict(), "position": 5})
    assert next(iter(sampler)) == whole[5]
    assert next(iter(sampler)) == next(iter(set_to(build(case), 1)))


@every
def test_set_epoch_with_another_epoch_forgets_the_place(case):
    sampler = build(case)
    sampler.load_state_dict({**sampler.state_dict(), "position": 5})
    sampler.set_epoch(3)
    assert sampler.state_dict()["position"] == 0
    assert len(list(sampler)) == 14


@every
def test_states_are_fresh_and_plain(case):
    sampler = build(case)
    batches = iter(sampler)
    states = []
    for _ in range(3):
        next(batches)
        states.append(sampler.state_dict())
    assert [state["position"] for state in states] == [1, 2, 3]
    assert all(type(value) in (int, float, str) for value in states[0].values())


@every
@pytest.mark.parametrize("drop_last", [True, False])
@given(world_size=st.integers(1, 14), epoch=st.integers(0, 5))
def test_shards_make_up_the_global_batches(case, drop_last, world_size, epoch):
    whole = build(case, drop_last=drop_last)
    whole.set_epoch(epoch)
    wanted = list(whole)
    ranks = [build(case, drop_last=drop_last).shard(rank, world_size) for rank in range(world_size)]
    found = []
    for rank in ranks:
        rank.set_epoch(epoch)
        batches = list(rank)
        assert len(batches) == len(rank)
        rank.set_epoch(epoch)
        assert rank.epoch_indices().tolist() == [index for batch in batches for index in batch]
        found.append(batches)
    assert len({len(batches) for batches in found}) == 1
    in_turn = [batch for step in zip(*found, strict=True) for batch in step]
    if drop_last:
        assert in_turn == wanted[: len(wanted) // world_size * world_size]
    else:
        assert in_turn == (wanted * 2)[: -(-len(wanted) // world_size) * world_size]


@every
@given(before=st.integers(1, 4), after=st.integers(1, 4), steps=st.integers(0, 3))
def test_resume_on_another_world_size(case, before, after, steps):
    whole = list(build(case))
    ranks = [build(case).shard(rank, before) for rank in range(before)]
    iterators = [iter(rank) for rank in ranks]
    seen = [next(iterators[rank]) for _ in range(steps) for rank in range(before)]
    states = [rank.state_dict() for rank in ranks]
    assert all(state == states[0] for state in states)
    resumed = [build(case).shard(rank, after) for rank in range(after)]
    for rank in resumed:
        rank.load_state_dict(states[0])
    rest = [batch for step in zip(*resumed, strict=True) for batch in step]
    assert seen + rest == whole[: len(seen) + (14 - len(seen)) // after * after]


@every
def test_a_shard_leaves_the_original_alone(case):
    sampler = build(case)
    first = list(sampler)
    sampler.set_epoch(0)
    part = sampler.shard(1, 2)
    assert list(part) == first[1::2]
    assert part.epoch == 1
    assert sampler.epoch == 0
    assert sampler[4] == first[4]


@every
def test_distributed_reads_the_environment(case, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    part = build(case).distributed()
    assert (part.rank, part.world_size) == (1, 3)
    assert list(part) == list(build(case).shard(1, 3))


@every
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_copies_go_their_own_way(case, duplicate):
    sampler = build(case, num_batches=15).shard(1, 3)
    sampler.set_epoch(4)
    sampler.load_state_dict({**sampler.state_dict(), "position": 6})
    twin = duplicate(sampler)
    assert list(twin) == list(sampler)
    assert list(twin) == list(sampler)
    twin.set_epoch(77)
    assert sampler.epoch == 6


@every
def test_a_pickle_is_small(case):
    # four bytes a label and a few words, for each stream
    assert len(pickle.dumps(build(case))) < (2 if case[0] == "dual" else 1) * (4 * len(LABELS) + 1800)


@every_sized
def test_frameworks_find_what_they_look_for(case):
    sampler = build(case, drop_last=False)
    assert sampler.sampler is sampler
    assert sampler.batch_size == 7
    assert sampler.drop_last is False
    assert not hasattr(sampler, "generator")
    with pytest.raises(TypeError, match=r"got a torch SequentialSampler; .*use_distributed_sampler=False"):
        type(sampler)(torch.utils.data.SequentialSampler([1]), batch_size=2, drop_last=False)


@every
def test_no_global_generator_is_touched(case):
    def states():
        return (
            random.getstate(),
            torch.get_rng_state().tolist(),
            [x.tolist() if hasattr(x, "tolist") else x for x in np.random.get_state()],  # noqa: NPY002  (it is watched)
        )

    before = states()
    sampler = build(case)
    list(sampler)
    sampler.epoch_indices(3)
    assert states() == before


@every
def test_repr_says_what_it_is(case):
    assert "batch_size=7, num_batches=14, seed=3, epoch=0)" in repr(build(case, seed=3))
    assert repr(build(case).shard(1, 2)).endswith("epoch=0, rank=1, world_size=2)")


@every_sized
@pytest.mark.parametrize(
    ("keywords", "error", "text"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be >= 1, got 0"),
        ({"batch_size": -3}, ValueError, "batch_size must be >= 1, got -3"),
        ({"batch_size": 2.0}, TypeError, "batch_size must be an integer, got 2.0"),
        ({"batch_size": True}, TypeError, "batch_size must be an integer, got True"),
        ({"batch_size": 101}, ValueError, r"batch_size must be <= the number of samples \(100\) with drop_last=True"),
        ({"num_batches": 0}, ValueError, "num_batches must be >= 1, got 0"),
        ({"num_batches": 2**70}, ValueError, r"num_batches \* batch_size must be <= 2\*\*62"),
        ({"seed": -1}, ValueError, r"seed must lie in \[0, 2\*\*64\), got -1"),
        ({"seed": 2**64}, ValueError, r"seed must lie in \[0, 2\*\*64\), got 18446744073709551616"),
        ({"seed": "0"}, TypeError, "seed must be an integer, got '0'"),
        ({"output": "torch"}, ValueError, "output must be one of list, numpy, got 'torch'"),
        (
            {"output": np.array(["list", "numpy"])},
            TypeError,
            r"output must be a string, one of list, numpy, got array\(\['list'",
        ),
        ({"output": np.array("list")}, TypeError, r"output must be a string, one of list, numpy, got array\('list'"),
    ],
)
def test_wrong_arguments(case, keywords, error, text):
    with pytest.raises(error, match=text):
        build(case, **keywords)


@every
@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda s: s[14], IndexError, r"position must lie in \[0, 14\), got 14"),
        (lambda s: s[-1], IndexError, r"position must lie in \[0, 14\), got -1"),
        (lambda s: s["1"], TypeError, "position must be an integer, got '1'"),
        (lambda s: s.set_epoch(-1), ValueError, r"epoch must lie in \[0, 94116\d+\), .* got -1"),
        (
            lambda s: s.set_epoch(2**70),
            ValueError,
            r"epoch must lie in \[0, 94116\d+\), so that draws number less than",
        ),
        (lambda s: s.set_epoch(1.5), TypeError, "epoch must be an integer, got 1.5"),
        (lambda s: s.epoch_indices(-(2**63)), ValueError, "epoch must lie in"),
        (lambda s: s.shard(0, 0), ValueError, "world_size must be >= 1, got 0"),
        (lambda s: s.shard(0, 2**64), ValueError, r"world_size must be <= 2\*\*31, got 18446744073709551616"),
        (lambda s: s.shard(2, 2), ValueError, r"rank must lie in \[0, 2\), got 2"),
        (lambda s: s.shard(-1, 2), ValueError, r"rank must lie in \[0, 2\), got -1"),
        (lambda s: s.shard(0, 15), ValueError, r"world_size must be <= the number of batches \(14\) with drop_last"),
        (
            lambda s: s.shard(0, 2).shard(0, 2),
            ValueError,
            "this sampler is rank 0 of 2 already; shard the original one",
        ),
        (lambda s: s.load_state_dict(3), TypeError, r"state must be what state_dict\(\) returned, got int"),
        (lambda s: s.load_state_dict({}), ValueError, "batch_size was 'absent', is 7"),
        (lambda s: s.load_state_dict({**s.state_dict(), "position": 15}), ValueError, r"must lie in \[0, 14\], got 15"),
        (lambda s: s.load_state_dict({**s.state_dict(), "position": -1}), ValueError, "must be >= 0, got -1"),
        (
            lambda s: s.load_state_dict({**s.state_dict(), "epoch": None}),
            TypeError,
            r"state\['epoch'\] must be an integer",
        ),
        (lambda s: s.load_state_dict({**s.state_dict(), "x": 1}), ValueError, "x was 1, is 'absent'"),
    ],
)
def test_wrong_calls(case, call, error, text):
    with pytest.raises(error, match=text):
        call(build(case))


@every_sized
@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"batch_size": 5}, "batch_size was 5, is 7"),
        ({"seed": 9}, "seed was 9, is 0; build the sampler as it was"),
        ({"num_batches": 9}, "num_batches was 9, is 14"),
    ],
)
def test_a_state_of_other_settings_is_refused(case, keywords, text):
    sampler = build(case)
    with pytest.raises(ValueError, match=text):
        sampler.load_state_dict(build(case, **keywords).state_dict())
    assert sampler.state_dict()["position"] == 0


def test_a_state_of_another_data_set_or_kind_is_refused():
    name = SAMPLERS["class_balanced"]
    one = name(LABELS, batch_size=7)
    with pytest.raises(ValueError, match=r"labels was '[0-9a-f]{32}', is '[0-9a-f]{32}'; build"):
        one.load_state_dict(name(LABELS[::-1], batch_size=7).state_dict())
    with pytest.raises(ValueError, match=r"q was 0\.5, is 0\.0"):
        one.load_state_dict(name(LABELS, batch_size=7, q=0.5).state_dict())
    with pytest.raises(ValueError, match=r"class_probs was '[0-9a-f]{32}', is 'absent'; q was 'absent', is 0.0"):
        one.load_state_dict(name(LABELS, batch_size=7, class_probs=[1, 1, 1, 1]).state_dict())
    with pytest.raises(ValueError, match="kind was 'ShuffledBatchSampler', is 'ClassBalancedBatchSampler'"):
        one.load_state_dict(SAMPLERS["shuffled"](100, batch_size=7).state_dict())
    with pytest.raises(ValueError, match="num_samples was 99, is 100"):
        SAMPLERS["shuffled"](100, batch_size=7).load_state_dict(SAMPLERS["shuffled"](99, batch_size=7).state_dict())
