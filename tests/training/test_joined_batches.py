"""Batches side by side and one kind after another: rows, labels, positions, every refusal."""

import pytest
import torch

from lt_fast.batch import Batch
from lt_fast.training import JoinedBatches, StagedBatches
from training.tiny import STEPS, TinyBatches


class Plain(TinyBatches):
    """Never mixed."""

    def batch(self, epoch, step):
        x, y, _, _ = super().batch(epoch, step)
        return x, y, None, None


class Short(TinyBatches):
    def __len__(self):
        return STEPS - 1


def assert_equal(one, two):
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_rows_stand_one_below_the_other():
    joined = JoinedBatches(Plain(), TinyBatches(seed=1))
    assert len(joined) == STEPS
    plain, mixed = Plain(), TinyBatches(seed=1)
    for step, batch in enumerate(joined):
        x, y_a, y_b, lam = batch.x, batch.target, batch.target_b, batch.lam
        first, second = plain.batch(0, step), mixed.batch(0, step)
        rows = len(first[0])
        assert_equal((x[:rows], y_a[:rows]), first[:2])
        assert torch.equal(y_b[:rows], y_a[:rows])
        assert (lam[:rows] == 1).all()
        assert torch.equal(x[rows:], second[0])
        if second[2] is not None:
            assert_equal((y_b[rows:], lam[rows:]), second[2:])


def test_stages_follow_each_other():
    def made():
        return StagedBatches(Plain(), TinyBatches(seed=1), second_from=2)

    staged = made()
    assert len(staged) == STEPS
    for epoch in range(4):
        staged.set_epoch(epoch)
        source = Plain() if epoch < 2 else TinyBatches(seed=1)
        for step, batch in enumerate(staged):
            assert_equal(batch, source.batch(epoch, step))


def fields(batch):
    return (batch.x, batch.target, batch.target_b, batch.lam) if isinstance(batch, Batch) else batch


@pytest.mark.parametrize("second_from", [0, 1, 9])
def test_positions_of_both(second_from):
    def made():
        shared = Plain()
        return StagedBatches(shared, JoinedBatches(shared, TinyBatches(seed=1)), second_from=second_from)

    for epoch in range(2):
        whole = made()
        whole.set_epoch(epoch)
        batches = list(whole)
        for cut in range(STEPS + 1):
            stopped = made()
            stopped.set_epoch(epoch)
            going = iter(stopped)
            seen = [next(going) for _ in range(cut)]
            resumed = made()
            resumed.set_epoch(epoch)
            resumed.load_state_dict(stopped.state_dict())
            for one, two in zip(batches, seen + list(resumed), strict=True):
                assert_equal(fields(one), fields(two))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (JoinedBatches, ValueError, "parts must be at least one source of batches, got none"),
        (lambda: JoinedBatches(Plain(), [1]), TypeError, "batches must have __iter__, .* got list without set_epoch"),
        (
            lambda: JoinedBatches(Plain(), Short()),
            ValueError,
            "same number of steps an epoch: part 0 has 4, part 1 has 3",
        ),
        (
            lambda: StagedBatches(Plain(), Short(), second_from=1),
            ValueError,
            "same number of steps an epoch: first has 4, second has 3; set num_batches",
        ),
        (
            lambda: StagedBatches(Plain(), Plain(), second_from=-1),
            ValueError,
            "second_from must be >= 0, got -1; it is an epoch, counted from 0",
        ),
        (
            lambda: JoinedBatches(Plain()).load_state_dict({"parts": []}),
            ValueError,
            "state must be one of 1 parts, got 0",
        ),
    ],
)
def test_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_parts_that_end_early_are_noticed():
    class Ends(Plain):
        def __iter__(self):
            yield self.batch(0, 0)

    with pytest.raises(ValueError, match="zip"):
        list(JoinedBatches(Plain(), Ends()))
