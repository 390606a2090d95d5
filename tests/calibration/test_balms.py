"""BALMS' meta sampler: the authors' bilevel step, the draws and their gradients, views, empty classes, refusals."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import reference
from lt_fast.calibration import BalancedMetaSoftmax, first_sampling_logits
from lt_fast.calibration.balms import RateSampler
from lt_fast.calibration.descent import class_balanced
from lt_fast.models.initialization import build

COUNTS = [24, 9, 3]
ROWS, WIDTH = sum(COUNTS), 4
SETTINGS = {"epochs": 3, "lr": 0.2, "batch_size": 10, "meta_batch_size": 12, "sampler_lr": 0.05, "seed": 4}


def problem():
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))[torch.randperm(
        ROWS, generator=torch.Generator().manual_seed(3)
    )]  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    centres = torch.tensor([[2.0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]])
    return (centres[labels] + 0.7 * torch.randn(ROWS, WIDTH, generator=draw)).double(), labels


def noise_of(labels, epoch, step, size):
    """The exponential noise of a step, in the order of the rows: the sampler keeps them sorted by class."""
    sorted_rows = np.argsort(labels.numpy(), kind="stable")
    drawn = np.empty((size, ROWS))
    drawn[:, sorted_rows] = np.random.default_rng((4, epoch, step, 1)).standard_exponential((size, ROWS))
    return torch.from_numpy(drawn)


@pytest.mark.parametrize("init_power", [0.0, 0.3])
@pytest.mark.parametrize("start", ["trained", "fresh"])
def test_the_fit_equals_the_authors_code(init_power, start):
    features, labels = problem()
    head = build(lambda: nn.Linear(WIDTH, 3), seed=1).double()
    found = BalancedMetaSoftmax(COUNTS, init_power=init_power, start=start, **SETTINGS).fit(features, labels, head=head)
    balanced, steps = class_balanced(labels.numpy(), 4), [(epoch, step) for epoch in range(3) for step in range(3)]
    first = BalancedMetaSoftmax(COUNTS, start=start, **{**SETTINGS, "epochs": 1, "lr": 1e-300}).fit(
        features, labels, head=head
    )
    assert start == "fresh" or torch.equal(first.weight, head.weight)
    weight, bias, rate = reference.balanced_meta_softmax_fit(
        features, labels, COUNTS, first.weight, first.bias,
        [noise_of(labels, epoch, step, 10) for epoch, step in steps],
        [torch.as_tensor(balanced(number, 12)) for number in range(9)],
        rates=[0.2 * (1 + math.cos(math.pi * epoch / 3)) / 2 for epoch, _ in steps],
        logits=torch.tensor(reference.meta_sampling_logits(COUNTS, init_power), dtype=torch.float64),
        meta_lr=0.05, momentum=0.9, weight_decay=5e-4,
    )  # fmt: skip
    torch.testing.assert_close(found.weight, weight, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.bias, bias, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.rate, rate, rtol=1e-7, atol=1e-9)
    assert (found.rate - torch.tensor(first_sampling_logits(COUNTS, init_power)).sigmoid()).abs().max() > 0.02


@pytest.mark.parametrize("power", [0.0, 0.1, 0.5, 1.0, -1.0])
def test_the_first_rates_are_those_of_the_authors_code(power):
    np.testing.assert_allclose(
        first_sampling_logits(COUNTS, power), reference.meta_sampling_logits(COUNTS, power), atol=1e-12
    )
    assert first_sampling_logits([5, 0, 2], power)[1] == 0


def test_rows_are_drawn_by_the_rate_of_their_class():
    _, labels = problem()
    sampler, rates = RateSampler(labels.numpy(), 3, seed=1), np.array([0.1, 0.5, 0.9])
    drawn = np.bincount(sampler.draw(rates, 20_000, epoch=0, step=0).rows, minlength=ROWS)
    expected = 20_000 * rates[labels] / rates[labels].sum()
    assert ((drawn - expected) ** 2 / expected).sum() < 66.6  # 35 degrees of freedom, p = 0.001


def test_draws_in_parts_are_those_of_one_part(monkeypatch):
    _, labels = problem()
    rates = np.array([0.1, 0.5, 0.9])
    whole = RateSampler(labels.numpy(), 3, seed=1).draw(rates, 11, epoch=2, step=1)
    monkeypatch.setattr("lt_fast.calibration.balms._NUMBERS_AT_ONCE", 4 * ROWS)
    parts = RateSampler(labels.numpy(), 3, seed=1).draw(rates, 11, epoch=2, step=1)
    assert all(torch.equal(*pair) for pair in zip(whole, parts, strict=True))


def test_the_gradient_of_a_draw_is_that_of_the_gumbel_softmax():
    _, labels = problem()
    sampler = RateSampler(labels.numpy(), 3, seed=4)
    rates = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    drawn = sampler.draw(rates.detach().numpy(), 10, epoch=1, step=2)
    noise = noise_of(labels, 1, 2, 10)
    soft = (rates[labels].log() - noise.log()).softmax(1)
    assert torch.equal(soft.argmax(1), drawn.rows)
    mine, theirs = drawn.soft(rates, labels[drawn.rows]), soft.max(1).values
    torch.testing.assert_close(mine, theirs)
    weights = torch.arange(10.0).double()
    (mine_grad,), (theirs_grad,) = (torch.autograd.grad((weights * each).sum(), rates) for each in (mine, theirs))
    torch.testing.assert_close(mine_grad, theirs_grad)


def test_views_are_read_in_turn():
    features, labels = problem()
    other = features + 1
    both = BalancedMetaSoftmax(COUNTS, views=2, **SETTINGS)
    both.fit(torch.cat([features, other]), torch.cat([labels, labels]))
    same = BalancedMetaSoftmax(COUNTS, views=2, **SETTINGS)
    same.fit(torch.cat([features, features]), torch.cat([labels, labels]))
    plain = BalancedMetaSoftmax(COUNTS, **SETTINGS).fit(features, labels)
    assert torch.equal(same.weight, plain.weight)
    assert not torch.equal(both.weight, plain.weight)


@pytest.mark.parametrize(("counts", "labels"), [([3, 1], [0, 0, 0, 1]), ([2, 0, 1], [0, 0, 2]), ([1, 1], [1, 0])])
def test_few_images_and_a_class_without_any(counts, labels):
    features = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0))
    found = BalancedMetaSoftmax(counts, epochs=2, batch_size=4, empty="ignore").fit(features, torch.tensor(labels))
    assert found.weight.isfinite().all()
    assert found.rate.isfinite().all()
    assert (found.rate[torch.tensor(counts) == 0] == 0.5).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_power": math.nan}, "init_power must be finite, got nan"),
        ({"sampler_lr": -1.0}, "sampler_lr must be finite and >= 0, got -1.0"),
        ({"meta_batch_size": 0}, "meta_batch_size must be >= 1, got 0"),
        ({"start": "new"}, "start must be one of trained, fresh, got 'new'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        BalancedMetaSoftmax(COUNTS, **settings)
