"""What the loop says to batches of another form: what was wanted, what came, and how to convert it."""

import pytest
import torch

from lt_fast.training import JoinedBatches, StagedBatches, cosine, multistep
from lt_fast.training.batches import as_batch
from training.test_loop import BadLoss, train
from training.tiny import TinyBatches

X, Y = torch.zeros(4, 1, 2, 2), torch.arange(4)
INDEX, LAM = torch.arange(4), torch.full((4,), 0.3)


@pytest.mark.parametrize(
    ("raw", "kind", "message"),
    [
        ({"x": X, "labels": Y}, TypeError, r"got dict with the keys 'x', 'labels'; .*: give \(x, labels, None, None\)"),
        ((X, Y), TypeError, r"got 2 parts; y_b and lam may be None: give \(x, labels, None, None\)"),
        ((X, Y, INDEX), TypeError, r"got 3 parts; .*; an index is no mixing: give \(x, labels, None, None\)"),
        ((X,), TypeError, "got 1 parts; y_b and lam may be None$"),
        (X, TypeError, "got Tensor; y_b and lam may be None$"),
        ((X, Y, INDEX, ["a", "b"]), TypeError, r"must give tensors \(x, y_a, y_b, lam\), got lam as list"),
        ((X, Y, INDEX, None), ValueError, "both y_b and lam, or None for both, got one of them; an index is no mixing"),
        ((X, Y, None, LAM), ValueError, "both y_b and lam, or None for both"),
        (([X, X], Y, None, None), TypeError, r"got x as list of 2 \(several views of each image\?\)"),
        ((X, [0, 1, 2, 3], None, None), TypeError, "got y_a as list"),
        ((X, None, None, None), TypeError, "got y_a as NoneType"),
        ((X, Y[:3], None, None), ValueError, "one label for each x, got 3 for 4"),
    ],
)
def test_another_form_is_named(raw, kind, message):
    with pytest.raises(kind, match=message):
        as_batch(raw)


def test_both_forms_pass_as_they_are():
    for raw in ((X, Y, None, None), [X, Y, INDEX, LAM]):
        batch = as_batch(raw)
        assert all(one is other for one, other in zip((batch.x, *parts(batch)), raw, strict=True))
        assert as_batch(batch) is batch


def parts(batch):
    return batch.target, batch.target_b, batch.lam


class Odd(TinyBatches):
    """Gives what it is told to."""

    def __init__(self, given):
        super().__init__()
        self.given = given

    def batch(self, epoch, step):
        return self.given(super().batch(epoch, step))


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (lambda batch: batch[:3], TypeError, r"batches must give \(x, y_a, y_b, lam\), got 3 parts"),
        (
            lambda batch: (batch[0].double(), *batch[1:]),
            ValueError,
            "all parts must have images of one shape and dtype",
        ),
        (lambda batch: (batch[0][:, :, 1:], *batch[1:]), ValueError, r"got: part 0 has .* torch.float32, part 1 has"),
    ],
)
def test_parts_of_another_form_are_named(given, kind, message):
    with pytest.raises(kind, match=message):
        next(iter(JoinedBatches(TinyBatches(), Odd(given))))


@pytest.mark.parametrize("second_from", [1.5, True, "2"])
def test_a_stage_begins_at_an_integer(second_from):
    with pytest.raises(TypeError, match=r"second_from must be an integer, got .*; epoch_at\(fraction, epochs\)"):
        StagedBatches(TinyBatches(), TinyBatches(), second_from=second_from)


@pytest.mark.parametrize("schedule", [multistep, cosine])
def test_schedules_of_extreme_lengths(schedule):
    assert 0 <= schedule(0.1, epochs=2**53)(2**53 - 1, 0, 1) <= 0.1
    for epochs in (2**53 + 1, 10**400):
        with pytest.raises(ValueError, match=r"epochs must be <= 9007199254740992, got one of \d+ bits"):
            schedule(0.1, epochs=epochs)
    for epochs in (10.0, True, "10"):
        with pytest.raises(TypeError, match="epochs must be an integer, got"):
            schedule(0.1, epochs=epochs)


def test_a_first_loss_that_is_not_finite_is_not_put_down_to_the_learning_rate():
    with pytest.raises(FloatingPointError) as caught:
        train(criterion=BadLoss(0, float("inf")))
    assert "got inf in epoch 1, step 1" in str(caught.value)
    assert "no weight has been updated yet: look for NaN or infinity in images" in str(caught.value)
    assert "lower learning rate" not in str(caught.value)
