"""The line of plain torch that every docstring names, and what the losses become in their limits."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import reference
from losses.calls import loss_of
from lt_fast.losses import (
    BalancedSoftmaxLoss,
    BayiasLoss,
    ClassBalancedLoss,
    CrossEntropyLoss,
    FocalLoss,
    LDAMLoss,
    LogitAdjustedLoss,
    effective_number_weights,
    ldam_margins,
    log_prior,
)

COUNTS = [900, 300, 80, 20, 7, 1]
TARGET = torch.tensor([0, 5, 3, 3, 1, 0, 2, 4])
WEIGHT = torch.tensor([0.3, 0.7, 0.9, 1.0, 1.4, 1.7], dtype=torch.float64)


@pytest.fixture
def logits():
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy(logits, smoothing, reduction):
    loss = loss_of(CrossEntropyLoss, logits, TARGET, COUNTS, label_smoothing=smoothing, reduction=reduction)
    torch.testing.assert_close(loss, F.cross_entropy(logits, TARGET, label_smoothing=smoothing, reduction=reduction))


def test_weighted_cross_entropy(logits):
    loss = loss_of(CrossEntropyLoss, logits, TARGET, COUNTS, weight=WEIGHT, normalization="weights")
    torch.testing.assert_close(loss, F.cross_entropy(logits, TARGET, WEIGHT))


def test_class_balanced(logits):
    weight = torch.from_numpy(effective_number_weights(COUNTS, 0.999))
    loss = loss_of(ClassBalancedLoss, logits, TARGET, COUNTS, beta=0.999, normalization="weights")
    torch.testing.assert_close(loss, F.cross_entropy(logits, TARGET, weight))


def test_ldam(logits):
    logits = logits / logits.abs().max()
    margin, own = torch.from_numpy(ldam_margins(COUNTS)), F.one_hot(TARGET, 6)
    loss = loss_of(LDAMLoss, logits, TARGET, COUNTS, weight=WEIGHT, normalization="weights")
    torch.testing.assert_close(loss, F.cross_entropy(30 * (logits - own * margin), TARGET, WEIGHT))


def test_balanced_softmax(logits):
    loss = loss_of(BalancedSoftmaxLoss, logits, TARGET, COUNTS)
    torch.testing.assert_close(loss, F.cross_entropy(logits + torch.tensor(COUNTS).double().log(), TARGET))


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.5])
def test_logit_adjusted(logits, tau):
    loss = loss_of(LogitAdjustedLoss, logits, TARGET, COUNTS, tau=tau, weight=WEIGHT, normalization="weights")
    torch.testing.assert_close(
        loss, F.cross_entropy(logits + tau * torch.from_numpy(log_prior(COUNTS)), TARGET, WEIGHT)
    )


@pytest.mark.parametrize("test_prior", [[1, 2, 3, 4, 5, 6], torch.tensor([0.5, 0.1, 0.1, 0.1, 0.1, 0.1])])
def test_bayias(logits, test_prior):
    loss = loss_of(BayiasLoss, logits, TARGET, COUNTS, test_prior=test_prior, weight=WEIGHT, normalization="weights")
    test = torch.as_tensor(test_prior, dtype=torch.float64)
    bias = torch.from_numpy(log_prior(COUNTS)) - (test / test.sum()).log()
    torch.testing.assert_close(loss, F.cross_entropy(logits + bias, TARGET, WEIGHT))
    exact = reference.bayias_loss(logits, TARGET, COUNTS, test_prior=[float(one) for one in test_prior])
    torch.testing.assert_close(loss_of(BayiasLoss, logits, TARGET, COUNTS, test_prior=test_prior), exact)
    torch.testing.assert_close(
        loss_of(BayiasLoss, logits, TARGET, COUNTS, test_prior=COUNTS), F.cross_entropy(logits, TARGET)
    )


def test_bayias_for_a_balanced_test_set_is_balanced_softmax(logits):
    assert torch.equal(
        loss_of(BayiasLoss, logits, TARGET, COUNTS), loss_of(BalancedSoftmaxLoss, logits, TARGET, COUNTS)
    )


@pytest.mark.parametrize(
    ("test_prior", "error", "message"),
    [
        ([1, 1, 1, 1, 1, 0], ValueError, r"test_prior must be finite and > 0 in every class, got 0 for class 5; give"),
        ([1, 1, -1, 1, 1, 1], ValueError, r"test_prior must be finite and > 0 in every class, got -1 for class 2"),
        ([1, 1, float("nan"), 1, 1, 1], ValueError, r"test_prior must be finite and > 0 in every class, got nan"),
        ([1, 1], ValueError, "test_prior"),
        ("equal", TypeError, "test_prior"),
    ],
)
def test_a_wrong_test_prior_is_named(logits, test_prior, error, message):
    with pytest.raises(error, match=message):
        loss_of(BayiasLoss, logits, TARGET, COUNTS, test_prior=test_prior)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.7])
def test_focal(logits, gamma):
    p = logits.softmax(1).gather(1, TARGET[:, None])[:, 0]
    each = -((1 - p) ** gamma) * p.log()
    torch.testing.assert_close(loss_of(FocalLoss, logits, TARGET, COUNTS, gamma=gamma), each.mean())
    weighted = (WEIGHT[TARGET] * each).sum() / WEIGHT[TARGET].sum()
    torch.testing.assert_close(
        loss_of(FocalLoss, logits, TARGET, COUNTS, gamma=gamma, weight=WEIGHT, normalization="weights"), weighted
    )


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_a_wrong_strength_is_named(logits, value):
    with pytest.raises(ValueError, match=f"gamma must be finite and >= 0, got {value}; 0 is cross entropy"):
        loss_of(FocalLoss, logits, TARGET, COUNTS, gamma=value)
    with pytest.raises(ValueError, match=f"tau must be finite and >= 0, got {value}; 1 is balanced softmax"):
        loss_of(LogitAdjustedLoss, logits, TARGET, COUNTS, tau=value)


def test_logit_adjusted_with_the_whole_prior_is_balanced_softmax(logits):
    assert torch.equal(
        loss_of(LogitAdjustedLoss, logits, TARGET, COUNTS), loss_of(BalancedSoftmaxLoss, logits, TARGET, COUNTS)
    )


def test_limits_are_cross_entropy(logits):
    plain = F.cross_entropy(logits, TARGET)
    torch.testing.assert_close(loss_of(LogitAdjustedLoss, logits, TARGET, COUNTS, tau=0.0), plain)
    torch.testing.assert_close(loss_of(FocalLoss, logits, TARGET, COUNTS, gamma=0.0), plain)
    torch.testing.assert_close(loss_of(LDAMLoss, logits, TARGET, COUNTS, max_margin=0.0, scale=1.0), plain)
    torch.testing.assert_close(loss_of(BalancedSoftmaxLoss, logits, TARGET, [7] * 6), plain)
    torch.testing.assert_close(loss_of(ClassBalancedLoss, logits, TARGET, COUNTS, beta=0.0), plain)
    torch.testing.assert_close(loss_of(ClassBalancedLoss, logits, TARGET, [7] * 6), plain)


def test_expected_normalization_does_not_depend_on_how_the_batch_is_cut(logits):
    whole = loss_of(ClassBalancedLoss, logits, TARGET, COUNTS)
    halves = [loss_of(ClassBalancedLoss, z, y, COUNTS) for z, y in zip(logits.split(4), TARGET.split(4), strict=True)]
    torch.testing.assert_close(torch.stack(halves).mean(), whole)
    # The weights of the batch do: that is why they are not the default.
    cut = [
        loss_of(ClassBalancedLoss, z, y, COUNTS, normalization="weights")
        for z, y in zip(logits.split(4), TARGET.split(4), strict=True)
    ]
    assert not torch.isclose(
        torch.stack(cut).mean(), loss_of(ClassBalancedLoss, logits, TARGET, COUNTS, normalization="weights")
    )


def test_expected_and_weights_agree_on_a_batch_that_is_the_training_set():
    counts = [5, 3, 1]
    target = torch.tensor(np.repeat(np.arange(3), counts))
    logits = torch.randn(9, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected, weights = (
        loss_of(ClassBalancedLoss, logits, target, counts, normalization=n) for n in ("expected", "weights")
    )
    torch.testing.assert_close(expected, weights)
