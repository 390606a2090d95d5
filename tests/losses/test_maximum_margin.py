"""Maximum-Margin: golden numbers, what its margin does, and the published code's form for comparison."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference
from losses.calls import loss_of
from lt_fast.losses import CrossEntropyLoss, MaximumMarginLoss, effective_number_weights

COUNTS = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
ROW = [-0.1, 0.05, 0.3, -0.25, 0.0, 0.15, -0.05, 0.1, 0.4]
LOGITS = torch.tensor([[0.2, *ROW], [0.6, *ROW]], dtype=torch.float64)
TARGET = torch.tensor([9, 3])  # the first is right by 0.1 to 0.3, the second wrong by 0.85
DRW = effective_number_weights(COUNTS)
MM = {"max_margin": 1.29, "gamma": 1.528, "scale": 19.0}
MM_LDAM = {**MM, "scale": 26.0, "ldam": True}


def margins(logits, target, counts=COUNTS, *, scale, **options):
    """The margins that a loss took: the own score that makes up for its loss, solved from the loss's value."""
    each = loss_of(MaximumMarginLoss, logits, target, counts, scale=scale, reduction="none", **options)
    own = torch.nn.functional.one_hot(target, logits.shape[1]).bool()
    others = torch.logsumexp(scale * logits.masked_fill(own, -torch.inf), 1)
    return logits[own] - (others - torch.log(torch.expm1(each))) / scale


@pytest.mark.parametrize(
    ("options", "expected", "weighted"),
    [(MM, 5.354441990487288, 1.5069830626895506), (MM_LDAM, 9.518058728942565, 5.006819480785782)],
)
def test_golden_losses(options, expected, weighted):
    for normalization in ("expected", "weights", "batch"):
        mean = loss_of(MaximumMarginLoss, LOGITS, TARGET, COUNTS, normalization=normalization, **options)
        assert mean.item() == pytest.approx(expected, rel=1e-13)
    reweighted = MaximumMarginLoss(COUNTS, weight=DRW, normalization="weights", **options)(LOGITS, TARGET)
    assert reweighted.item() == pytest.approx(weighted, rel=1e-13)


@pytest.mark.parametrize(("options", "expected"), [(MM, [0.12604453, 0.20392561]), (MM_LDAM, [0.27059826, 0.25719805])])
def test_golden_margins(options, expected):
    np.testing.assert_allclose(margins(LOGITS, TARGET, **options), expected, atol=5e-9)


def row_with_gap(gap, classes=4):
    row = torch.full((1, classes), -0.9, dtype=torch.float64)
    row[0, 1], row[0, 2] = 0.0, gap
    return row


@given(gap=st.floats(-1, 1).filter(lambda gap: abs(gap) > 1e-6), max_margin=st.floats(0.5, 3), gamma=st.floats(1, 3))
def test_a_wrong_sample_gets_more_margin_than_a_right_one_as_far_off(gap, max_margin, gamma):
    options = {"max_margin": max_margin, "gamma": gamma, "scale": 5.0}
    target = torch.tensor([2])
    right, wrong = (margins(row_with_gap(g), target, [5, 4, 3, 2], **options).item() for g in (abs(gap), -abs(gap)))
    assert wrong == pytest.approx(math.exp(-abs(gap) - max_margin), rel=1e-6)
    assert right == pytest.approx(math.exp(-abs(gap) - gamma * max_margin), rel=1e-6)
    assert right <= wrong * (1 + 1e-6)


def test_on_the_boundary_there_is_none():
    loss = loss_of(MaximumMarginLoss, row_with_gap(0.0), torch.tensor([2]), [5, 4, 3, 2], **MM)
    torch.testing.assert_close(
        loss, loss_of(CrossEntropyLoss, MM["scale"] * row_with_gap(0.0), torch.tensor([2]), [5, 4, 3, 2])
    )


def test_mm_ldam_widens_the_margin_as_the_class_gets_rarer():
    logits = torch.zeros(10, 10, dtype=torch.float64)
    logits[:, 0] = 0.3
    target = torch.arange(1, 10)
    plain = margins(logits[1:], target, **MM)
    torch.testing.assert_close(plain, plain[:1].expand(9))
    assert (margins(logits[1:], target, **MM_LDAM).diff() > 0).all()


def test_the_margin_is_a_constant_for_the_gradient():
    logits = LOGITS.clone().requires_grad_()
    loss_of(MaximumMarginLoss, logits, TARGET, COUNTS, **MM).backward()
    held = LOGITS.clone().requires_grad_()
    shift = torch.nn.functional.one_hot(TARGET, 10) * margins(LOGITS, TARGET, **MM)[:, None]
    torch.nn.functional.cross_entropy(MM["scale"] * (held - shift), TARGET).backward()
    torch.testing.assert_close(logits.grad, held.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("ldam", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_published_codes_form(ldam, mixed):
    generator = torch.Generator().manual_seed(4)
    logits = 2 * torch.rand(7, 10, generator=generator, dtype=torch.float64) - 1
    target, target_b = torch.randint(10, (2, 7), generator=generator)
    target_b[target_b == target] = (target_b[target_b == target] + 1) % 10
    labels = {"target_b": target_b, "lam": torch.rand(7, generator=generator, dtype=torch.float64)} if mixed else {}
    options = {**MM, "ldam": ldam, "compat": "batch_first_label", "reduction": "none", **labels}
    loss = loss_of(MaximumMarginLoss, logits, target, COUNTS, **options)
    torch.testing.assert_close(loss, reference.maximum_margin_loss(logits, target, COUNTS, **options))
    if not mixed:
        # Its defect: what a row costs depends on which row comes first in the batch.
        turned = loss_of(MaximumMarginLoss, logits.flip(0), target.flip(0), COUNTS, **options).flip(0)
        assert not torch.allclose(turned, loss)
        del options["compat"]
        straight = loss_of(MaximumMarginLoss, logits, target, COUNTS, **options)
        torch.testing.assert_close(
            loss_of(MaximumMarginLoss, logits.flip(0), target.flip(0), COUNTS, **options).flip(0), straight
        )


def test_alone_and_first_the_published_form_is_the_intended_one():
    logits, target = LOGITS[:1], TARGET[:1]
    plain, published = (
        loss_of(MaximumMarginLoss, logits, target, COUNTS, compat=c) for c in (None, "batch_first_label")
    )
    assert torch.equal(plain, published)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_margin": -1.0}, r"max_margin must be finite and >= 0, got -1\.0"),
        ({"max_margin": None}, r"max_margin must be given for margin_rule='maximum', got None"),
        ({"gamma": math.nan}, "gamma must be finite and >= 0, got nan"),
        ({"scale": 0.0}, r"scale must be finite and > 0, got 0\.0"),
        ({"compat": "first"}, "compat must be None or 'batch_first_label', got 'first'"),
    ],
)
def test_wrong_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        loss_of(MaximumMarginLoss, LOGITS, TARGET, COUNTS, **options)
