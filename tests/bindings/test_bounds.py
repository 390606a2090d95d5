"""Numbers at the ends of their types, and more than a machine has memory for: exceptions, and no wrapped sums."""

import numpy as np
import pytest

from lt_fast import _rust
from lt_fast.sampling import ConfusionCounts

CLASSES = np.array([0, 1, 2, 0, 1, 2], np.uint32)
LARGEST = 2**63 - 1


@pytest.mark.parametrize("num_classes", [3, 2001])
def test_counts_end_below_2_to_the_63(num_classes):
    counts = _rust.ConfusionCounts(num_classes)
    one, two = np.array([1]), np.array([2])
    counts.merge(one, two, np.array([LARGEST - 1]))
    counts.update(one, two)
    for add in (lambda: counts.update(two, one), lambda: counts.merge(two, two, one)):
        with pytest.raises(
            ValueError, match=r"the counts must add up to less than 2\*\*63, got 9223372036854775807 \+ 1"
        ):
            add()
    assert counts.total == LARGEST
    assert [column.tolist() for column in counts.entries()] == [[1], [2], [LARGEST]]


@pytest.mark.parametrize("num_classes", [3, 2001])
def test_the_parts_of_one_merge_do_not_wrap(num_classes):
    counts, half = _rust.ConfusionCounts(num_classes), np.array([2**62, 2**62])
    for cells in (np.array([0, 1]), np.array([1, 1])):
        with pytest.raises(ValueError, match="less than 2"):
            counts.merge(cells, cells, half)
    assert counts.total == 0


def test_saved_counts_do_not_wrap():
    counts = ConfusionCounts(3)
    state = counts.state_dict()
    state["entries"] = state["entries"].new_tensor([[0, 0, 2**62], [0, 0, 2**62]])
    with pytest.raises(ValueError, match="less than 2"):
        counts.load_state_dict(state)
    assert counts.total == 0


def test_merging_with_itself_does_not_wrap():
    counts = ConfusionCounts(3)
    counts.load_state_dict(
        {**counts.state_dict(), "entries": counts.state_dict()["entries"].new_tensor([[0, 1, 2**62]])}
    )
    with pytest.raises(ValueError, match="less than 2"):
        counts.merge(counts)
    assert counts.total == 2**62


def test_a_batch_of_no_draws_is_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        _rust.stratified(CLASSES, np.ones(3), 0, 1, 0)


@pytest.mark.parametrize("size", [2**48, 2**61, 2**62, 2**64 - 1])
@pytest.mark.parametrize(
    "call",
    [
        lambda size: _rust.uniform(0, 0, 0, 0, size),
        lambda size: _rust.beta(0.5, 0.5, 0, 0, 0, 0, size),
        lambda size: _rust.permutation(size, 0, 0, 0),
        lambda size: _rust.long_tailed_counts(5, size, 2.0, "exp"),
        lambda size: _rust.shuffled(1, size, 0).array(0, 0, 1, 1, size),
        lambda size: _rust.class_balanced(CLASSES, np.ones(3), True, size, 0).array(0, 0, 1, 1, size),
        lambda size: _rust.confusion_pairs(
            CLASSES, size, 1.0, 0.0, 1, 0, np.zeros(1, np.int64), np.ones(1, np.int64), np.ones(1)
        ),
        lambda size: _rust.m_per_class(CLASSES, size, 1, 1, 1, 0),
        lambda size: _rust.least_sampled(np.arange(7), CLASSES, size, 1, 0),
        lambda size: _rust.stratified(CLASSES, np.ones(3), size, 1, 0).array(0, 0, 1, 1, 1),
        lambda size: _rust.repeat_factor(np.ones(3), size, 0),
        _rust.ConfusionCounts,
    ],
)
def test_more_than_there_is_room_for(call, size):
    with pytest.raises((MemoryError, ValueError)):
        call(size)


def test_a_matrix_that_no_machine_has_room_for():
    with pytest.raises(MemoryError, match="cannot allocate 17592186044416 elements of 8 bytes"):
        _rust.ConfusionCounts(1 << 22).matrix()


@pytest.mark.parametrize("number", [-1, 2**64, 10**40])
def test_numbers_that_are_no_64_bits(number):
    with pytest.raises(OverflowError):
        _rust.uniform(number, 0, 0, 0, 1)


def test_rows_of_many_classes_take_no_time_by_their_length():
    """Cells come in any order; before, each moved the rest of its row."""
    counts, order = _rust.ConfusionCounts(1 << 20), np.random.default_rng(0).permutation(1 << 18)
    zeros = np.zeros(len(order), np.int64)
    counts.update(zeros, order * 4)
    counts.update(zeros, order * 4 + 1)
    target, predicted, count = counts.entries()
    assert counts.total == len(target) == 1 << 19
    np.testing.assert_array_equal(
        predicted, np.sort(np.concatenate([np.arange(1 << 18) * 4, np.arange(1 << 18) * 4 + 1]))
    )
    assert (count == 1).all()
