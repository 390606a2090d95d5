"""Confusion pairs: Algorithm 1's draws, the table replaced on the way, resume at every cut, shards, every message."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import reference
from lt_fast import _rust
from lt_fast.sampling import ConfusionCounts, ConfusionPairBatchSampler

LABELS = np.repeat(np.arange(4), [60, 25, 10, 5])[np.argsort((np.arange(100) * 37) % 100)]
MATRIX = np.array([[50, 6, 3, 1], [0, 20, 5, 0], [0, 0, 10, 0], [1, 1, 1, 2]])
LATER = np.array([[0, 0, 0, 9], [9, 0, 0, 0], [0, 9, 0, 0], [0, 0, 9, 0]])


def build(confusion=MATRIX, **keywords):
    return ConfusionPairBatchSampler(LABELS, confusion, **{"pairs_per_batch": 4, **keywords})


FIVE_CLASSES = ConfusionPairBatchSampler([*LABELS, 4], np.ones((5, 5)), pairs_per_batch=4)


def plain(sampler):
    return [np.asarray(batch).tolist() for batch in sampler]


def shares(sampler, epoch=0):
    """How often each class was drawn first, and the partner classes of each: (C,), (C, C)."""
    first, second = LABELS[sampler.epoch_indices(epoch)].T
    matrix = np.zeros((4, 4), np.int64)
    np.add.at(matrix, (first, second), 1)
    return matrix.sum(1), matrix


# --- what is drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:labels should be classes with several samples")
@given(
    st.lists(st.integers(0, 3), max_size=30).map(lambda labels: [*labels, 0, 1, 2, 3]),
    st.lists(st.none() | st.integers(1, 3), min_size=4, max_size=4),
    st.integers(0, 2**64 - 1),
    st.integers(0, 1000),
)
def test_pairs_are_the_oracle(labels, shifts, seed, epoch):
    partners = [None if shift is None else (c + shift) % 4 for c, shift in enumerate(shifts)]
    matrix = np.diag([3, 0, 5, 1])
    for c, partner in enumerate(partners):
        if partner is not None:
            matrix[c, partner] = 2 + c
    sampler = ConfusionPairBatchSampler(labels, matrix, pairs_per_batch=5, num_batches=3, seed=seed)
    found = [tuple(row) for row in sampler.epoch_indices(epoch).tolist()]
    assert found == reference.confusion_pair_draws(labels, partners, seed, epoch, 15)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 1e9])
@pytest.mark.parametrize("uniform_fraction", [0.0, 0.3, 1.0])
def test_classes_come_as_the_table_says(temperature, uniform_fraction):
    sampler = build(
        pairs_per_batch=1000, num_batches=200, temperature=temperature, uniform_fraction=uniform_fraction, seed=3
    )
    first, found = shares(sampler)
    assert stats.chisquare(first).pvalue > 1e-4
    wanted = np.array(reference.confusion_pair_shares(MATRIX, temperature, uniform_fraction)) * first[:, None]
    assert (found[wanted == 0] == 0).all()
    for row, expected in zip(found, wanted, strict=True):
        drawn = expected > 0
        assert drawn.sum() == 1 or stats.chisquare(row[drawn], expected[drawn]).pvalue > 1e-4


def test_samples_of_both_classes_are_equally_likely():
    sampler = build(np.ones((4, 4)), pairs_per_batch=1000, num_batches=200)
    for side in sampler.epoch_indices().T:
        for label in range(4):
            members = LABELS[side] == label
            found = np.bincount(side[members], minlength=100)[label == LABELS]
            assert stats.chisquare(found).pvalue > 1e-4


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("uniform_fraction", [0.0, 0.3, 1.0])
def test_errors_of_all_classes_are_drawn_by_their_counts(temperature, uniform_fraction):
    sampler = build(
        pairs_per_batch=1000,
        num_batches=100,
        temperature=temperature,
        uniform_fraction=uniform_fraction,
        condition="none",
        seed=2**64 - 1,
    )
    _, found = shares(sampler, epoch=7)
    wanted = np.array(reference.error_pair_shares(MATRIX, temperature, uniform_fraction)) * found.sum()
    assert (found[wanted == 0] == 0).all()
    assert stats.chisquare(found[wanted > 0], wanted[wanted > 0]).pvalue > 1e-4


def test_a_class_is_the_true_or_the_predicted_one_of_its_error():
    first, found = shares(build(pairs_per_batch=1000, num_batches=100, condition="either"))
    wanted = np.array(reference.confusion_pair_shares(MATRIX + MATRIX.T, 1.0, 0.0)) * first[:, None]
    assert stats.chisquare(first).pvalue > 1e-4
    assert (found[wanted == 0] == 0).all()
    for row, expected in zip(found, wanted, strict=True):
        assert stats.chisquare(row[expected > 0], expected[expected > 0]).pvalue > 1e-4


@pytest.mark.parametrize("condition", ["either", "none"])
def test_every_condition_is_seekable_shared_and_resumed(condition):
    sampler = build(num_batches=9, condition=condition, seed=3)
    whole = plain(sampler)
    assert [sampler.batch(0, step) for step in range(9)] == whole
    shards = [plain(build(num_batches=9, condition=condition, seed=3).shard(rank, 3)) for rank in range(3)]
    assert [shards[step % 3][step // 3] for step in range(9)] == whole
    state = {**sampler.state_dict(), "epoch": 0, "position": 4}
    other = build(LATER, num_batches=9, condition=condition, seed=3)
    other.load_state_dict(json.loads(json.dumps(state)))
    assert plain(other) == whole[4:]
    with pytest.raises(ValueError, match="condition"):
        build(num_batches=9, seed=3).load_state_dict(state)


def test_without_errors_any_two_classes_are_a_pair():
    _, found = shares(build(np.diag([1, 1, 1, 1]), pairs_per_batch=1000, num_batches=50, condition="none"))
    assert np.trace(found) == 0
    assert stats.chisquare(found[~np.eye(4, dtype=bool)]).pvalue > 1e-4


def test_errors_of_classes_without_samples_are_left_out():
    labels = np.array([0] * 6 + [2] * 3)
    sampler = ConfusionPairBatchSampler(
        labels, [[0, 9, 1], [5, 0, 5], [0, 7, 0]], pairs_per_batch=2, num_batches=50, empty="ignore", condition="none"
    )
    assert labels[sampler.epoch_indices()].tolist() == [[0, 2]] * 100


def test_one_class_alone_has_no_pairs():
    with pytest.raises(ValueError, match="labels must have at least 2 classes with samples to make pairs, got 1"):
        ConfusionPairBatchSampler(
            [0, 0], np.ones((2, 2)), pairs_per_batch=1, num_batches=1, empty="ignore", condition="none"
        )


def test_an_unknown_condition_is_refused():
    with pytest.raises(ValueError, match="condition must be one of true, either, none, got 'predicted'"):
        build(condition="predicted")


def test_an_empty_row_pairs_with_any_other_class():
    first, found = shares(build(np.zeros((4, 4)), pairs_per_batch=1000, num_batches=100))
    off_diagonal = found[~np.eye(4, dtype=bool)]
    assert np.trace(found) == 0
    assert stats.chisquare(off_diagonal, np.repeat(first / 3, 3)).pvalue > 1e-4


def test_a_diagonal_does_not_count():
    assert plain(build(MATRIX)) == plain(build(MATRIX - np.diag(np.diag(MATRIX))))


def test_classes_without_samples_are_left_out():
    labels = np.array([0] * 6 + [2] * 3)
    with pytest.raises(ValueError, match=r"got 0 for class '1' \(index 1\)"):
        ConfusionPairBatchSampler(labels, np.ones((3, 3)), pairs_per_batch=2)
    sampler = ConfusionPairBatchSampler(
        labels, [[0, 9, 1], [5, 0, 5], [0, 7, 0]], pairs_per_batch=2, num_batches=50, empty="ignore"
    )
    first, second = labels[sampler.epoch_indices()].T
    assert (first != second).all()  # the two that are left; 0 was taken for 1 nine times, but nothing shows 1


def test_counts_and_their_matrix_draw_the_same():
    counts = ConfusionCounts(4)
    target, predicted = np.nonzero(MATRIX)
    repeats = MATRIX[target, predicted]
    counts.update(np.repeat(target, repeats), np.repeat(predicted, repeats))
    wanted = plain(build(MATRIX))
    for confusion in (counts, MATRIX.tolist(), torch.tensor(MATRIX), MATRIX.astype(np.float32), MATRIX * 0.5):
        assert plain(build(confusion)) == wanted


def test_a_table_of_any_floating_type():
    for kind in (torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int32):
        assert plain(build(torch.tensor(MATRIX).to(kind))) == plain(build(MATRIX))


def test_a_sparse_table_of_many_classes():
    labels = np.repeat(np.arange(3000), 2)
    counts = ConfusionCounts(3000)
    counts.update(np.arange(3000), (np.arange(3000) + 7) % 3000)
    first, second = labels[ConfusionPairBatchSampler(labels, counts, pairs_per_batch=64).epoch_indices()].T
    np.testing.assert_array_equal(second, (first + 7) % 3000)


# --- batches ----------------------------------------------------------------------------------------------------------


def test_lists_hold_the_rows_end_to_end():
    lists, arrays = build(drop_last=False), build(drop_last=False, output="numpy")
    assert len(lists) == len(arrays) == 13
    for flat, rows in zip(lists, arrays, strict=True):
        assert rows.dtype == np.int64
        assert rows.shape == (len(flat) // 2, 2)
        assert rows.ravel().tolist() == flat
        assert all(type(index) is int for index in flat)
    assert [len(batch) for batch in arrays] == [4] * 12 + [2]
    lists.set_epoch(0)
    arrays.set_epoch(0)
    assert lists[12] == arrays[12].ravel().tolist()
    np.testing.assert_array_equal(arrays.epoch_indices(), np.concatenate(list(arrays)))


def test_an_odd_number_of_samples_leaves_no_half_pair():
    sampler = ConfusionPairBatchSampler(LABELS[:99], MATRIX, pairs_per_batch=4, drop_last=False)
    assert [len(batch) for batch in sampler] == [8] * 12 + [4]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_gathers_the_pairs(workers):
    data = TensorDataset(torch.arange(100), torch.from_numpy(LABELS))
    sampler = build()
    wanted = plain(build())
    received = [indices.tolist() for indices, _ in DataLoader(data, batch_sampler=sampler, num_workers=workers)]
    assert received == wanted
    for _, labels in DataLoader(data, batch_sampler=sampler):
        assert (labels[0::2] != labels[1::2]).all()


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
@pytest.mark.parametrize("drop_last", [True, False])
def test_shards_are_the_global_batches(world_size, drop_last):
    def made():
        sampler = build(drop_last=drop_last)
        sampler.update_confusion(LATER, from_step=5)
        return sampler

    whole, parts = plain(made()), [plain(made().shard(rank, world_size)) for rank in range(world_size)]
    assert len({len(part) for part in parts}) == 1
    for rank, part in enumerate(parts):
        for turn, batch in enumerate(part):
            assert batch == whole[(rank + turn * world_size) % len(whole)]
    shared = np.concatenate([made().shard(rank, world_size).epoch_indices() for rank in range(world_size)])
    assert len(shared) == sum(len(batch) for part in parts for batch in part) // 2


# --- the table replaced -----------------------------------------------------------------------------------------------


def test_a_new_table_counts_from_its_step_on():
    old, new = plain(build(MATRIX)), plain(build(LATER))
    for step in range(13):
        sampler = build(MATRIX)
        sampler.update_confusion(LATER, from_step=step)
        assert plain(sampler) == old[:step] + new[step:]
        sampler.set_epoch(0)
        assert [sampler[position] for position in range(12)] == old[:step] + new[step:]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_new_table_reaches_a_loader_that_is_running(workers):
    """Workers have been asked for batches ahead; from the step named on, they come by the new table."""
    wanted = build()
    wanted.update_confusion(LATER, from_step=9)
    sampler = build()
    loader = DataLoader(
        TensorDataset(torch.arange(100)), batch_sampler=sampler, num_workers=workers, persistent_workers=workers > 0
    )
    received = []
    for (indices,) in loader:
        received.append(indices.tolist())
        if len(received) == 3:
            sampler.update_confusion(LATER, from_step=9)
    assert received == plain(wanted) != plain(build())
    assert [indices.tolist() for (indices,) in loader] == plain(wanted)


def test_by_default_it_counts_from_the_next_batch_on():
    old, new = plain(build(MATRIX)), plain(build(LATER))
    for cut in range(13):
        for world_size, rank in ((1, 0), (2, 1)):
            sampler = build(MATRIX).shard(rank, world_size)
            batches = iter(sampler)
            seen = [next(batches) for _ in range(cut // world_size)]
            sampler.update_confusion(LATER)
            given_out = len(seen) * world_size
            assert seen + list(batches) == (old[:given_out] + new[given_out:])[rank::world_size]


def test_tables_in_a_row():
    tables = [np.roll(LATER, shift, axis=1) for shift in (0, 1, 2)]
    pure = [plain(build(table)) for table in tables]
    sampler = build(tables[0])
    sampler.update_confusion(tables[2], from_step=9)
    sampler.update_confusion(tables[1], from_step=4)  # the later one keeps its step
    assert plain(sampler) == pure[0][:4] + pure[1][4:9] + pure[2][9:]


def test_an_update_builds_its_own_table_and_no_other(monkeypatch):
    built, build_one = [], _rust.confusion_pairs
    monkeypatch.setattr(_rust, "confusion_pairs", lambda *arguments: built.append(1) or build_one(*arguments))
    sampler = build(MATRIX)
    for step in (9, 4, 6, 4):
        sampler.update_confusion(np.roll(LATER, step, axis=1), from_step=step)
    assert len(built) == 5
    assert plain(pickle.loads(pickle.dumps(sampler))) == plain(sampler)


def test_the_same_step_again_is_the_last_word():
    sampler = build(MATRIX)
    sampler.update_confusion(np.ones((4, 4)))
    sampler.update_confusion(LATER)
    assert plain(sampler) == plain(build(LATER))
    assert len(build(LATER).state_dict()["confusion"]) == 1


def test_steps_count_over_epochs_and_old_tables_are_forgotten():
    sampler = build(MATRIX)
    for epoch in range(4):
        sampler.set_epoch(epoch)
        assert sampler.next_step == 12 * epoch
        sampler.update_confusion(np.roll(LATER, epoch % 3, axis=1), from_step=12 * epoch)
        wanted = build(np.roll(LATER, epoch % 3, axis=1))
        wanted.set_epoch(epoch)
        assert plain(sampler) == plain(wanted)
    assert len(sampler.state_dict()["confusion"]) == 1
    assert len(pickle.dumps(sampler)) < len(pickle.dumps(build())) + 500
    with pytest.raises(ValueError, match=r"batches must not lie before step 36, got 24: the confusion table that"):
        sampler.epoch_indices(2)


def test_an_update_of_one_shard_leaves_the_others():
    whole = build(MATRIX)
    one, two = whole.shard(0, 2), whole.shard(1, 2)
    one.update_confusion(LATER)
    assert plain(two) == plain(build(MATRIX))[1::2]
    assert plain(whole) == plain(build(MATRIX))


def test_an_update_that_is_refused_changes_nothing():
    sampler = build(MATRIX)
    batches = iter(sampler)
    seen = [next(batches) for _ in range(5)]
    for confusion, keywords, text in (
        (LATER, {"from_step": 4}, "from_step must be >= 5, the next batch to be given out, got 4"),
        (np.ones((5, 5)), {}, "confusion must have 4 classes, as the sampler has, got 5"),
        (np.full((4, 4), np.nan), {}, "confusion must be finite and >= 0, got nan for target 0, predicted 0"),
    ):
        with pytest.raises(ValueError, match=text):
            sampler.update_confusion(confusion, **keywords)
    with pytest.raises(TypeError, match=r"from_step must be an integer, got 1\.5"):
        sampler.update_confusion(LATER, from_step=1.5)
    assert seen + list(batches) == plain(build(MATRIX))


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["list", "numpy"])
@pytest.mark.parametrize("step", [0, 3, 12, 17])
def test_resume_at_every_cut(output, step):
    def made(table=MATRIX):
        return build(table, output=output)

    whole = made()
    whole.update_confusion(LATER, from_step=step)
    first, second = plain(whole), plain(whole)
    for cut in range(13):
        sampler = made()
        sampler.update_confusion(LATER, from_step=step)
        batches = iter(sampler)
        seen = [next(batches).tolist() if output == "numpy" else next(batches) for _ in range(cut)]
        state = json.loads(json.dumps(sampler.state_dict()))
        resumed = made(np.ones((4, 4)))  # the table comes from the state
        resumed.load_state_dict(state)
        resumed.set_epoch(0)
        assert resumed.state_dict() == state
        assert seen + plain(resumed) == first
        assert plain(resumed) == second


def test_resume_on_another_number_of_ranks():
    def made():
        sampler = build(MATRIX, drop_last=False)
        sampler.update_confusion(LATER, from_step=8)
        return sampler

    whole = plain(made())
    two = made().shard(0, 2)
    batches = iter(two)
    next(batches), next(batches)
    for world_size in (1, 3):
        for rank in range(world_size):
            part = build(np.ones((4, 4)), drop_last=False).shard(rank, world_size)
            part.load_state_dict(two.state_dict())
            assert plain(part) == [whole[(4 + rank + turn * world_size) % 13] for turn in range(-(-9 // world_size))]


def test_a_resumed_last_round_goes_back_to_the_first_table():
    """13 batches on 4 ranks: the last round is filled up with the first three of the epoch, drawn by another table."""

    def share(rank, table=MATRIX):
        return build(table, drop_last=False).shard(rank, 4)

    for rank in range(4):
        part = share(rank)
        part.update_confusion(LATER, from_step=5)
        batches = iter(part)
        seen = [next(batches), next(batches)]
        resumed = share(rank, np.ones((4, 4)))
        resumed.load_state_dict(json.loads(json.dumps(part.state_dict())))
        assert plain(resumed) == list(batches)
        assert len(seen) == 2


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda sampler: pickle.loads(pickle.dumps(sampler))])
def test_copies_draw_the_same(copied):
    sampler = build(MATRIX)
    sampler.update_confusion(LATER, from_step=6)
    assert plain(copied(sampler)) == plain(sampler)


def test_a_state_is_fresh_and_cheap():
    sampler = build()
    batches = iter(sampler)
    states = [sampler.state_dict() for _ in batches]
    assert [state["position"] for state in states] == list(range(1, 13))
    assert len({id(state["confusion"][0]["cells"]) for state in states}) == 1  # packed once


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"confusion": None}, r"state\['confusion'\] must be what state_dict\(\) saved, got damaged data"),
        ({"confusion": []}, r"state\['confusion'\] must hold at least one table, got none"),
        ({"confusion": [{"from_step": 0, "cells": "?"}]}, "got damaged data"),
        ({"confusion": [{"from_step": 0, "cells": "AAAA"}]}, "got damaged data"),
        ({"confusion": [{"from_step": -1, "cells": ""}]}, "got damaged data: from_step must be >= 0, got -1"),
        ({"confusion": [{"cells": ""}]}, "got damaged data"),
        (
            {"position": 3, "confusion": FIVE_CLASSES.state_dict()["confusion"]},
            r"confusion must have classes in \[0, 4\), got a cell \(0, 4\)",
        ),
        (
            {"position": 3, "confusion": [{**build().state_dict()["confusion"][0], "from_step": 4}]},
            "must hold the table that counts at step 3, got the first from step 4 on; the state is damaged",
        ),
        ({"temperature": 2.0}, r"temperature was 2\.0, is 1\.0; build the sampler as it was"),
        ({"uniform_fraction": 0.5}, r"uniform_fraction was 0\.5, is 0\.0"),
        ({"labels": "0" * 32}, "labels was '0{32}', is"),
        ({"position": 13}, r"state\['position'\] must lie in \[0, 12\], got 13"),
    ],
)
def test_a_foreign_or_damaged_state_is_refused(change, text):
    sampler = build()
    with pytest.raises(ValueError, match=text):
        sampler.load_state_dict({**sampler.state_dict(), **change})
    assert plain(sampler) == plain(build())
    with pytest.raises(TypeError, match=r"state must be what state_dict\(\) returned, got int"):
        sampler.load_state_dict(3)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("confusion", "keywords", "error", "text"),
    [
        (MATRIX - 4, {}, ValueError, r"confusion must be finite and >= 0, got -1\.0 for target 0, predicted 2"),
        (MATRIX + np.inf, {}, ValueError, "confusion must be finite and >= 0, got inf for target 0, predicted 0"),
        (MATRIX[:3], {}, ValueError, r"confusion must be square, one row and one column a class, got shape \(3, 4\)"),
        ([], {}, ValueError, r"confusion must be square, .* got shape \(0,\)"),
        (MATRIX > 0, {}, TypeError, "confusion must be a ConfusionCounts or a matrix of numbers, got dtype bool"),
        (
            MATRIX[:3, :3],
            {},
            ValueError,
            r"labels must lie in \[0, 3\), the classes that confusion is for, got 3 at position",
        ),
        (np.ones((5, 5)), {}, ValueError, r"got 0 for class '4' \(index 4\)"),
        (MATRIX, {"temperature": 0}, ValueError, "temperature must be finite and > 0, got 0"),
        (MATRIX, {"temperature": float("nan")}, ValueError, "temperature must be finite and > 0, got nan"),
        (MATRIX, {"temperature": "1"}, TypeError, "temperature must be a number, got '1'"),
        (MATRIX, {"uniform_fraction": None}, TypeError, "uniform_fraction must be a number, got None"),
        ([[1, 2], [3]], {}, ValueError, "confusion must be square, got rows of different lengths"),
        (MATRIX, {"uniform_fraction": 1.5}, ValueError, r"uniform_fraction must lie in \[0, 1\], got 1\.5"),
        (MATRIX, {"uniform_fraction": -0.1}, ValueError, r"uniform_fraction must lie in \[0, 1\], got -0\.1"),
        (MATRIX, {"pairs_per_batch": 0}, ValueError, "pairs_per_batch must be >= 1, got 0"),
        (MATRIX, {"pairs_per_batch": 2.5}, TypeError, r"pairs_per_batch must be an integer, got 2\.5"),
        (
            MATRIX,
            {"pairs_per_batch": 51},
            ValueError,
            r"<= half the number of samples \(100\), got 51; pass num_batches",
        ),
        (MATRIX, {"seed": -1}, ValueError, r"seed must lie in \[0, 2\*\*64\), got -1"),
        (
            np.ma.array(MATRIX, mask=MATRIX == 6),
            {},
            ValueError,
            "confusion must have no masked entry, got 1, .* 0, 1; ",
        ),
        (MATRIX, {"output": "tensor"}, ValueError, "output must be one of list, numpy, got 'tensor'"),
    ],
)
def test_wrong_settings(confusion, keywords, error, text):
    with pytest.raises(error, match=text):
        build(confusion, **keywords)


def test_one_class_makes_no_pair():
    with pytest.raises(ValueError, match="labels must have at least 2 classes with samples to make pairs, got 1"):
        ConfusionPairBatchSampler([0, 0], [[1]], pairs_per_batch=1)


def test_a_sampler_in_the_place_of_labels():
    with pytest.raises(TypeError, match=r"got a torch DistributedSampler; .*use_distributed_sampler=False"):
        ConfusionPairBatchSampler(DistributedSampler([0, 1], 1, 0), MATRIX, pairs_per_batch=1)


@given(st.lists(st.floats() | st.integers(-3, 2**70), min_size=4, max_size=4), st.floats(), st.floats())
def test_any_table_is_taken_or_refused_in_words(values, temperature, uniform_fraction):
    matrix = np.array(values, dtype=object).reshape(2, 2).astype(float)
    words = ""
    try:
        sampler = ConfusionPairBatchSampler(
            [0, 0, 1], matrix, pairs_per_batch=1, temperature=temperature, uniform_fraction=uniform_fraction
        )
    except ValueError as error:
        words = str(error)
    else:
        assert all(sorted(batch)[1] == 2 for batch in sampler)
    assert not words or " must " in words
