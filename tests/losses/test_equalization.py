"""Equalization: keyed draws of the right frequency, never the own class, and a counter that a checkpoint keeps."""

import math
import signal

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import reference
from losses.calls import loss_of
from lt_fast import training
from lt_fast.errors import Interrupted
from lt_fast.losses import CrossEntropyLoss, EqualizationLoss
from lt_fast.losses.equalization import _bernoulli, _key_of
from training.tiny import STEPS, TinyBatches, all_state, same_bits, tiny_fit

COUNTS = [900, 60, 20, 15, 5]  # the last three are rare below a share of 0.05
RARE = {"threshold": 0.05, "gamma": 0.6}


def rows(count=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 5, generator=generator, dtype=torch.float64), torch.randint(
        5, (count,), generator=generator
    )


def drawn(seed, step, count=64, classes=50, probability=0.6):
    return _bernoulli(probability, _key_of(seed), torch.tensor(step), torch.empty(count, classes))


@pytest.mark.parametrize(("seed", "step"), [(0, 0), (1, 0), (2**64 - 1, 2**32 - 1), (5 << 40, 17)])
def test_draws_are_the_documented_function_of_their_key(seed, step):
    made = drawn(seed, step, 5, 7)
    expected = [[reference.equalization_draw(seed, step, i, k) < 0.6 * 2**32 for k in range(7)] for i in range(5)]
    assert made.tolist() == expected


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.9, 1.0])
def test_draws_have_their_frequency(probability):
    shares = torch.stack([drawn(3, step, probability=probability) for step in range(100)]).double()
    spread = math.sqrt(probability * (1 - probability))
    assert shares.mean().item() == pytest.approx(probability, abs=4 * spread / math.sqrt(shares.numel()))
    for axes in ((0, 1), (0, 2), (1, 2)):  # by class, by row, by step: no part of the key is favoured
        worst = (shares.mean(axes) - probability).abs().max().item()
        assert worst <= 5 * spread / math.sqrt(shares.numel() / shares.mean(axes).numel())


def test_neighbouring_keys_share_no_pattern():
    patterns = torch.stack([drawn(seed, step).flatten() for seed in range(4) for step in range(8)]).double() - 0.6
    correlation = patterns @ patterns.T / patterns.shape[1] / 0.24
    correlation.fill_diagonal_(0)
    assert correlation.abs().max().item() < 5 / math.sqrt(patterns.shape[1])


def test_rare_classes_are_dropped_and_never_the_own_one():
    logits, target = rows(64)
    loss = loss_of(EqualizationLoss, logits, target, COUNTS, gamma=1.0, threshold=0.05, reduction="none")
    kept = logits.clone()
    kept[:, 2:] = -torch.inf
    kept.scatter_(1, target[:, None], logits.gather(1, target[:, None]))
    torch.testing.assert_close(loss, F.cross_entropy(kept, target, reduction="none"))


def test_limits_are_cross_entropy():
    logits, target = rows()
    plain = loss_of(CrossEntropyLoss, logits, target, COUNTS)
    torch.testing.assert_close(loss_of(EqualizationLoss, logits, target, COUNTS, gamma=0.0, threshold=1.0), plain)
    torch.testing.assert_close(loss_of(EqualizationLoss, logits, target, COUNTS, gamma=1.0, threshold=0.0), plain)


@pytest.mark.parametrize("mixed", [False, True])
def test_equals_the_reference_where_classes_are_rare(mixed):
    logits, target = rows(30)
    labels = {"target_b": target.roll(1), "lam": 0.3, "label_rule": "mam"} if mixed else {}
    for key in ({}, {"seed": 7, "step": 1234}):
        leaf, exact = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        loss = loss_of(EqualizationLoss, leaf, target, COUNTS, **RARE, **labels, **key)
        expected = reference.equalization_loss(exact, target, COUNTS, **RARE, **labels, **key)
        torch.testing.assert_close(loss, expected)
        loss.backward()
        expected.backward()
        torch.testing.assert_close(leaf.grad, exact.grad)


def test_a_class_alone_costs_nothing_and_has_no_slope():
    logits = torch.tensor([[1.0, 2.0]], requires_grad=True)
    loss = loss_of(EqualizationLoss, logits, torch.tensor([0]), [1000, 1], gamma=1.0)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_every_training_call_draws_anew_and_the_state_dict_keeps_the_place():
    logits, target = rows(32)
    criterion = EqualizationLoss(COUNTS, **RARE)
    drawn_losses = [criterion(logits, target).item() for _ in range(4)]
    assert len(set(drawn_losses)) == 4
    by_step = [loss_of(EqualizationLoss, logits, target, COUNTS, **RARE, step=step).item() for step in range(4)]
    assert by_step == drawn_losses
    resumed = EqualizationLoss(COUNTS, **RARE)
    resumed.load_state_dict(criterion.state_dict())
    assert resumed.step.item() == 4
    assert torch.equal(resumed(logits, target), criterion(logits, target))
    criterion.eval()
    assert torch.equal(criterion(logits, target), criterion(logits, target))


def test_compiled_it_counts_too():
    logits, target = rows(32)
    criterion = EqualizationLoss(COUNTS, **RARE)
    torch._dynamo.reset()
    compiled = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    for step in range(3):
        expected = loss_of(EqualizationLoss, logits, target, COUNTS, **RARE, step=step)
        torch.testing.assert_close(compiled(logits, target), expected)
    assert criterion.step.item() == 3


@pytest.mark.parametrize("cut", [(0, 2), (1, 0), (1, 3)])
def test_a_resumed_training_goes_on_with_the_draws_of_an_uninterrupted_one(tmp_path, cut):
    def train(run=None, *, resume=False, before=None, step=0):
        criterion = EqualizationLoss([9, 1, 1], gamma=0.5, threshold=0.3, step=step)
        rate, batches = training.cosine(0.1, epochs=2), TinyBatches(before=before)
        method, _ = tiny_fit(None, batches, criterion, epochs=2, learning_rate=rate, run=run, resume=resume)
        return all_state(method.model) | all_state(criterion)

    def signalled(epoch, step):
        if (epoch, step) == cut:
            signal.raise_signal(signal.SIGTERM)

    uninterrupted = train()
    assert uninterrupted["step"].item() == 2 * STEPS
    with training.RunDirectory(tmp_path / "run", {}) as run, pytest.raises(Interrupted):
        train(run, before=signalled)
    with training.RunDirectory(tmp_path / "run", {}, resume=True) as run:
        same_bits(train(run, resume=True), uninterrupted)
    other = train(step=99)  # the draws matter
    assert not all(torch.equal(other[name], uninterrupted[name]) for name in other if name != "step")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"gamma": 1.5}, ValueError, r"gamma must lie in \[0, 1\], got 1\.5"),
        ({"gamma": math.nan}, ValueError, r"gamma must lie in \[0, 1\], got nan"),
        ({"threshold": -0.1}, ValueError, r"threshold must lie in \[0, 1\], got -0\.1"),
        ({"seed": -1}, ValueError, r"seed must lie in \[0, 2\*\*64\), got -1"),
        ({"seed": 0.5}, TypeError, r"seed must be an integer, got 0\.5"),
        ({"step": 2**32}, ValueError, r"step must lie in \[0, 2\*\*32\), got 4294967296"),
        ({"step": True}, TypeError, "step must be an integer, got True"),
    ],
)
def test_wrong_settings_are_named(settings, error, message):
    with pytest.raises(error, match=message):
        EqualizationLoss(COUNTS, **settings)


def test_numpy_seeds_are_whole_numbers():
    logits, target = rows()
    loss = loss_of(EqualizationLoss, logits, target, COUNTS, **RARE, seed=np.int64(3))
    assert torch.equal(loss, loss_of(EqualizationLoss, logits, target, COUNTS, **RARE, seed=3))
