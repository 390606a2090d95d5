"""Confusion counts: the plain matrix, whatever the order, the representation and the number of ranks."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed

from forked import start_server
from lt_fast.sampling import ConfusionCounts
from lt_fast.sampling.confusion_counts import travelling_device

SIZES = [1, 2, 7, 2000, 2001, 8142]


def plain_matrix(num_classes, target, predicted):
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (np.asarray(target, np.int64), np.asarray(predicted, np.int64)), 1)
    return matrix


def drawn(num_classes, count, seed=0):
    """Pairs that crowd on few cells, so that they repeat."""
    generator = np.random.default_rng(seed)
    return (generator.random((2, count)) ** 3 * num_classes).astype(np.int64)


def counted(num_classes, count=500, seed=0):
    counts = ConfusionCounts(num_classes)
    counts.update(*drawn(num_classes, count, seed))
    return counts


@pytest.mark.parametrize("num_classes", SIZES)
def test_it_is_the_plain_matrix(num_classes):
    target, predicted = drawn(num_classes, 3000)
    counts = ConfusionCounts(num_classes)
    for start in range(0, 3000, 128):
        counts.update(target[start : start + 128], predicted[start : start + 128])
    assert counts.total == 3000
    cells, repeats = np.unique(target * num_classes + predicted, return_counts=True)
    entries = counts.entries()
    np.testing.assert_array_equal(entries.target, cells // num_classes)
    np.testing.assert_array_equal(entries.predicted, cells % num_classes)
    np.testing.assert_array_equal(entries.counts, repeats)
    if num_classes <= 2001:
        np.testing.assert_array_equal(counts.matrix(), plain_matrix(num_classes, target, predicted))


@given(st.integers(0, 2**32), st.sampled_from([3, 2001]), st.lists(st.integers(0, 60), max_size=4))
def test_order_and_parts_change_nothing(seed, num_classes, cuts):
    target, predicted = drawn(num_classes, 60, seed)
    order = np.random.default_rng(seed).permutation(60)
    parts = [ConfusionCounts(num_classes) for _ in range(len(cuts) + 1)]
    for part, rows in zip(parts, np.split(order, sorted(cuts)), strict=True):
        part.update(target[rows], predicted[rows])
    whole = parts[-1]
    for part in parts[:-1]:
        whole.merge(part)
    expected = ConfusionCounts(num_classes)
    expected.update(target, predicted)
    assert whole == expected


@pytest.mark.parametrize("convert", [list, tuple, torch.tensor, np.array, lambda v: torch.tensor(v, dtype=torch.uint8)])
def test_anything_that_holds_whole_numbers(convert):
    counts = ConfusionCounts(3)
    counts.update(convert([0, 2, 2]), convert([1, 1, 0]))
    assert counts.matrix().tolist() == [[0, 1, 0], [0, 0, 0], [1, 1, 0]]


def test_strided_and_foreign_memory():
    target, predicted = np.arange(12).reshape(6, 2).T % 3
    counts = ConfusionCounts(3)
    counts.update(target, torch.arange(12)[::2] % 3)
    np.testing.assert_array_equal(counts.matrix(), plain_matrix(3, target, np.arange(12)[::2] % 3))
    counts.update(torch.tensor([1, 2], requires_grad=False), predicted[:2])
    assert counts.total == 8


def test_nothing_is_nothing():
    counts = ConfusionCounts(3)
    counts.update([], [])
    counts.merge(ConfusionCounts(3))
    assert counts.total == 0
    assert counts == ConfusionCounts(3)
    assert [len(column) for column in counts.entries()] == [0, 0, 0]


def test_a_copy_is_one_s_own():
    counts = counted(5)
    before = counts.matrix()
    for twin in (copy.copy(counts), copy.deepcopy(counts), pickle.loads(pickle.dumps(counts))):
        assert twin == counts
        twin.update([0], [4])
        assert twin != counts
        counts.matrix()[:] = 7
        counts.entries().counts[:] = 7
    np.testing.assert_array_equal(counts.matrix(), before)


def test_merging_with_itself_doubles():
    counts = counted(4)
    before = counts.matrix()
    counts.merge(counts)
    np.testing.assert_array_equal(counts.matrix(), 2 * before)


@pytest.mark.parametrize("num_classes", [4, 3000])
def test_the_state_goes_through_a_file(num_classes, tmp_path):
    counts = counted(num_classes)
    torch.save(counts.state_dict(), tmp_path / "state.pt")
    loaded = ConfusionCounts(num_classes)
    loaded.update([0], [0])
    loaded.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert loaded == counts
    state = counts.state_dict()
    counts.update([1], [2])
    assert loaded.state_dict()["entries"].equal(state["entries"])


def test_many_classes_take_tens_of_megabytes():
    """iNaturalist 2018's 8,142 classes with two million distinct pairs; the matrix would take 530 MB."""
    counts = ConfusionCounts(8142)
    pairs = np.random.default_rng(0).integers(8142, size=(2, 2_000_000))
    for part in np.split(pairs, 100, axis=1):
        counts.update(*part)
    assert counts.total == 2_000_000
    assert len(counts.entries().target) > 1_900_000
    assert counts.nbytes < 60e6
    assert ConfusionCounts(2000).nbytes == 32_000_000


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda c: c.update([0, 3], [0, 0]), ValueError, r"target must lie in \[0, 3\), got 3 at position 1"),
        (lambda c: c.update([0, 1], [0, -1]), ValueError, r"predicted must lie in \[0, 3\), got -1 at position 1"),
        (lambda c: c.update([0], [1, 2]), ValueError, r"predicted must have one entry a target \(1\), got 2"),
        (lambda c: c.update([[0]], [[1]]), ValueError, r"target must be one-dimensional, got shape \(1, 1\)"),
        (
            lambda c: c.update([0], [0.5]),
            TypeError,
            "predicted must be integers, got dtype float64; predictions",
        ),
        (lambda c: c.update([True], [False]), TypeError, "target must be integers, got dtype bool"),
        (lambda c: c.update(["a"], ["b"]), TypeError, "target must be integers, got dtype <U1"),
        (lambda c: c.merge(np.eye(3)), TypeError, "other must be a ConfusionCounts, got ndarray"),
        (lambda c: c.merge(ConfusionCounts(4)), ValueError, "other must have 3 classes, got 4"),
        (lambda c: c.load_state_dict(3), TypeError, r"state must be what state_dict\(\) returned, got int"),
        (lambda c: c.load_state_dict({}), ValueError, "state must have version 1, got none"),
        (
            lambda c: c.load_state_dict(ConfusionCounts(4).state_dict()),
            ValueError,
            "state must have num_classes 3, got 4",
        ),
        (
            lambda c: c.load_state_dict({**c.state_dict(), "entries": torch.zeros(3)}),
            ValueError,
            r"state\['entries'\] must be int64 of shape \(cells, 3\), got float32 \(3,\)",
        ),
        (
            lambda c: c.load_state_dict({**c.state_dict(), "entries": torch.tensor([[0, 1, -1]])}),
            ValueError,
            "count must be >= 0, got -1 at position 0",
        ),
        (lambda _: ConfusionCounts(0), ValueError, "num_classes must be >= 1, got 0"),
        (lambda _: ConfusionCounts(2.5), TypeError, r"num_classes must be an integer, got 2\.5"),
        (lambda _: ConfusionCounts(1 << 40), ValueError, r"num_classes must be <= 2\*\*24, got 1099511627776"),
    ],
)
def test_refused_and_nothing_counted(call, error, text):
    counts = counted(3)
    before = counts.matrix()
    with pytest.raises(error, match=text):
        call(counts)
    np.testing.assert_array_equal(counts.matrix(), before)


def test_counts_that_would_overflow_are_refused():
    counts = ConfusionCounts(3)
    huge = {**counts.state_dict(), "entries": torch.tensor([[0, 1, 2**63 - 1]])}
    counts.load_state_dict(huge)
    with pytest.raises(ValueError, match=r"the counts must add up to less than 2\*\*63"):
        counts.update([2], [2])
    assert counts.total == 2**63 - 1


# --- ranks ------------------------------------------------------------------------------------------------------------


def rank_of_several(rank, world_size, folder, num_classes):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world_size)
    try:
        counts = ConfusionCounts(num_classes)
        target, predicted = drawn(num_classes, 900)
        counts.update(target[rank::world_size][: 500 // (rank + 1)], predicted[rank::world_size][: 500 // (rank + 1)])
        counts.all_reduce()
        torch.save(counts.state_dict(), f"{folder}/{rank}.pt")
        with pytest.raises(ValueError, match=r"all ranks must count the same number of classes, got \[3, 4"):
            ConfusionCounts(3 + rank).all_reduce()
    finally:
        distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(("world_size", "num_classes"), [(2, 10), (3, 2500)])
def test_all_ranks_end_with_the_sum_to_the_bit(tmp_path: Path, world_size, num_classes):
    start_server()
    torch.multiprocessing.start_processes(
        rank_of_several, (world_size, str(tmp_path), num_classes), nprocs=world_size, start_method="forkserver"
    )
    target, predicted = drawn(num_classes, 900)
    wanted = ConfusionCounts(num_classes)
    for rank in range(world_size):
        rows = slice(rank, None, world_size)
        wanted.update(target[rows][: 500 // (rank + 1)], predicted[rows][: 500 // (rank + 1)])
    for rank in range(world_size):
        state = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert state["entries"].equal(wanted.state_dict()["entries"])


@pytest.mark.parametrize(
    ("backend", "device"),
    [
        ("gloo", "cpu"),
        ("mpi", "cpu"),
        ("undefined", "cpu"),
        ("cpu:gloo,cuda:nccl", "cpu"),
        ("nccl", "cuda"),
        ("cuda:nccl", "cuda"),
    ],
)
def test_counts_travel_where_the_backend_can_take_them(backend, device):
    assert travelling_device(backend) == device


def test_one_process_is_all_ranks():
    counts = counted(6)
    before = counts.matrix()
    counts.all_reduce()
    np.testing.assert_array_equal(counts.matrix(), before)
