"""Seesaw: the official formula in its matrix form, its limits, and every refusal."""

import math

import pytest
import torch
from torch.nn import functional as F

from losses.calls import loss_of
from lt_fast.losses import CrossEntropyLoss, SeesawLoss

COUNTS = [900, 60, 20, 15, 5]


def rows(scale=1.0):
    generator = torch.Generator().manual_seed(1)
    logits = scale * torch.randn(40, 5, generator=generator, dtype=torch.float64)
    return logits, torch.randint(5, (40,), generator=generator)


def as_published(logits, target, counts, *, p, q, eps):
    """The factors as a C x C and an N x C matrix, for counts that have been collected to the end."""
    ratio = torch.tensor(counts, dtype=torch.float64)
    ratio = ratio[None, :] / ratio[:, None]
    factors = torch.where(ratio < 1, ratio**p, 1.0)[target]
    scores = torch.softmax(logits.detach(), 1)
    quotient = scores / scores.gather(1, target[:, None]).clamp(min=eps)
    factors = factors * torch.where(quotient > 1, quotient**q, 1.0)
    return F.cross_entropy(logits + factors.log() * (1 - F.one_hot(target, len(counts))), target)


@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("settings", [{}, {"p": 0.0}, {"q": 0.0}, {"p": 1.5, "q": 0.7, "eps": 0.3}, {"eps": 1.0}])
def test_equals_the_published_matrix_form(scale, settings):
    logits, target = rows(scale)
    whole = {"p": 0.8, "q": 2.0, "eps": 1e-2, **settings}
    leaf, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, expected = loss_of(SeesawLoss, leaf, target, COUNTS, **settings), as_published(other, target, COUNTS, **whole)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(leaf.grad, other.grad)


def test_without_both_factors_it_is_cross_entropy():
    logits, target = rows()
    plain = loss_of(CrossEntropyLoss, logits, target, COUNTS)
    torch.testing.assert_close(loss_of(SeesawLoss, logits, target, COUNTS, p=0.0, q=0.0), plain)
    torch.testing.assert_close(loss_of(SeesawLoss, logits, target, [7] * 5, q=0.0), plain)


def test_a_common_sample_pushes_a_rare_class_down_less():
    logits, target = torch.zeros(1, 5, requires_grad=True), torch.tensor([0])
    loss_of(SeesawLoss, logits, target, COUNTS).backward()
    pushed = logits.grad[0, 1:]
    assert (pushed > 0).all()
    assert (pushed.diff() < 0).all()
    other = torch.zeros(1, 5, requires_grad=True)
    loss_of(SeesawLoss, other, torch.tensor([4]), COUNTS).backward()  # of the rarest class: all others alike
    torch.testing.assert_close(other.grad[0, :4], other.grad[0, :1].expand(4))


def test_a_mistake_is_punished_more():
    logits = torch.tensor([[0.0, 2.0, 0.0]])
    with_factor, without = (
        torch.autograd.grad(loss_of(SeesawLoss, z, torch.tensor([0]), [9, 9, 9], q=q), z)[0]
        for q in (2.0, 0.0)
        for z in (logits.clone().requires_grad_(),)
    )
    assert with_factor[0, 1] > without[0, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": -0.1}, r"p must be finite and >= 0, got -0\.1; 0 turns it off"),
        ({"q": math.inf}, "q must be finite and >= 0, got inf"),
        ({"eps": 0.0}, r"eps must lie in \(0, 1\], got 0\.0; it is a floor of probabilities"),
        ({"eps": math.nan}, r"eps must lie in \(0, 1\], got nan; it is a floor of probabilities"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        loss_of(SeesawLoss, *rows(), COUNTS, **settings)
