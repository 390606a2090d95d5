"""Probabilities given for logits, and scores that are no cosines: one warning with the remedy, never a false one."""

import copy
import pickle
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lt_fast import models
from lt_fast.losses import LOSSES, LDAMLoss, MaximumMarginLoss
from lt_fast.losses.first_logits import FirstLogits

COUNTS = [100, 60, 30, 10, 5, 3]
TARGET = torch.tensor([0, 1, 2, 5])
COSINES = pytest.mark.parametrize("loss", [LDAMLoss, MaximumMarginLoss])
OF_EXPERTS = {"ace", "sade"}  # of logits (N, E, C)
every_loss = pytest.mark.parametrize("name", sorted(set(LOSSES) - OF_EXPERTS))
ROWS = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def message_of(call):
    """The one warning of ``call``, or None."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert len(caught) <= 1
    return str(caught[0].message) if caught else None


def test_a_linear_layer_under_a_scale_is_warned_about_once():
    network = nn.Linear(8, 6)
    x = 10 * torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.weight.copy_(torch.eye(6, 8))
    for loss, scale in ((LDAMLoss(COUNTS), 30), (MaximumMarginLoss(COUNTS), 19), (LDAMLoss(COUNTS, scale=2), 2)):
        with pytest.warns(
            UserWarning, match=rf"logits of \w+ with scale={scale} must be cosines in \[-1, 1\]"
        ) as caught:
            loss(network(x), TARGET).backward()
        assert len(caught) == 1
        assert caught[0].filename == __file__
        for _ in range(5):
            assert message_of(lambda loss=loss: loss(network(x), TARGET)) is None


@COSINES
def test_both_remedies_end_the_warning(loss):
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    assert "scale=1" in message_of(lambda: loss(COUNTS)(9 * ROWS, TARGET))
    assert "lt_fast.models.CosineHead(in_features, num_classes)" in message_of(lambda: loss(COUNTS)(9 * ROWS, TARGET))
    loss(COUNTS)(models.CosineHead(8, 6)(x), TARGET)
    loss(COUNTS, scale=1)(9 * ROWS, TARGET)


@COSINES
def test_logits_that_grow_during_training_are_found_later(loss):
    criterion = loss(COUNTS)
    seen = [message_of(lambda step=step: criterion(0.2 * step * ROWS, TARGET)) for step in range(20)]
    assert [message is not None for message in seen].count(True) == 1


@COSINES
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_cosines_at_their_bounds_are_no_reason(loss, dtype, autocast):
    head = models.CosineHead(512, 6).to(dtype)
    x = 100 * head.weight.detach()[TARGET]
    criterion = loss(COUNTS)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast and dtype == torch.float32):
        criterion(head(x), TARGET)
        criterion(head(-x), TARGET)
    masked = head(x).masked_fill(torch.arange(6) == 3, -torch.inf)  # a class that is taken out
    assert criterion(masked, TARGET).isfinite()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_probabilities_are_warned_about_once(name, dtype):
    criterion, probabilities = LOSSES[name](COUNTS), ROWS.softmax(1).to(dtype)
    with pytest.warns(UserWarning, match=rf"logits of {type(criterion).__name__} look like probabilities") as caught:
        criterion(probabilities, TARGET, TARGET.flip(0), 0.3)
    assert len(caught) == 1
    assert "remove the softmax, or pass log_softmax" in str(caught[0].message)
    assert message_of(lambda: criterion(probabilities, TARGET)) is None
    scale = {} if name not in ("ldam", "maximum_margin", "ride") else {"scale": 1}
    LOSSES[name](COUNTS, **scale)(ROWS.log_softmax(1).to(dtype), TARGET)  # the advice


@every_loss
def test_the_gradient_without_a_graph_warns_too(name):
    probabilities = ROWS.softmax(1)
    criterion = LOSSES[name](COUNTS)
    assert "look like probabilities" in message_of(lambda: criterion.loss_and_gradient(probabilities, TARGET))


@every_loss
@pytest.mark.parametrize(
    "logits",
    [
        torch.zeros(4, 6),
        torch.full((4, 6), 0.25),
        ROWS / ROWS.abs().max(),
        (ROWS / 8).sigmoid(),
        ROWS.softmax(1) - 0.01,
        torch.cat([ROWS.softmax(1)[:3], ROWS[3:] / 4]),
        torch.full((4, 6), torch.nan),
        torch.tensor([1.0, *[-torch.inf] * 5]).expand(4, 6).clone(),
    ],
    ids=["zeros", "constant", "cosines", "sigmoid", "shifted", "one row of scores", "nan", "masked"],
)
def test_genuine_logits_are_no_reason(name, logits):
    target = torch.zeros(4, dtype=torch.int64)
    assert message_of(lambda: LOSSES[name](COUNTS)(logits, target)) is None
    assert message_of(lambda: LOSSES[name](COUNTS)(logits[:0], target[:0])) is None


@given(st.integers(1, 80), st.integers(2, 9), st.integers(0, 2**31), st.floats(0.01, 20))
def test_random_scores_are_no_reason_and_their_softmax_is(rows, classes, seed, size):
    scores = size * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))
    assert message_of(lambda: FirstLogits("Loss").look(scores)) is None
    assert "look like probabilities" in message_of(lambda: FirstLogits("Loss").look(scores.softmax(1)))


def test_one_half_row_could_be_chance():
    assert message_of(lambda: FirstLogits("Loss").look(torch.tensor([[0.25, 0.75]]).half())) is None
    assert message_of(lambda: FirstLogits("Loss").look(torch.tensor([[0.25, 0.75]]))) is not None


def test_it_looks_at_11_of_any_number_of_calls(monkeypatch):
    looks = []
    monkeypatch.setattr(
        "lt_fast.losses.first_logits._summary", lambda rows: looks.append(len(rows)) or [-1.0, 0.5, 1.0]
    )
    first = FirstLogits("Loss", 30.0)
    for _ in range(5000):
        first.look(torch.zeros(128, 2))
    assert looks == [64] * 11


def test_where_values_cannot_be_read_the_next_call_is_looked_at():
    criterion, probabilities = LDAMLoss(COUNTS), ROWS.softmax(1)
    with torch.autograd.forward_ad.dual_level():
        assert message_of(lambda: criterion(probabilities, TARGET)) is None
    assert "look like probabilities" in message_of(lambda: criterion(probabilities, TARGET))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda criterion: pickle.loads(pickle.dumps(criterion))])
def test_a_copy_has_warned_already(copied):
    criterion = LDAMLoss(COUNTS)
    with pytest.warns(UserWarning, match="must be cosines"):
        criterion(9 * ROWS, TARGET)
    assert message_of(lambda: copied(criterion)(9 * ROWS, TARGET)) is None


def test_it_warns_in_inference_mode_and_not_in_a_compiled_graph():
    with torch.inference_mode():
        assert "must be cosines" in message_of(lambda: LDAMLoss(COUNTS)(9 * ROWS, TARGET))
    torch._dynamo.reset()
    compiled = torch.compile(LDAMLoss(COUNTS), fullgraph=True, backend="eager")
    assert message_of(lambda: compiled(9 * ROWS, TARGET)) is None
