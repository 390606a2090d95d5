"""LADE: the published form of its regulariser, its optimum, and how it joins the cross entropy."""

import math

import numpy as np
import pytest
import torch

from losses.calls import loss_of
from lt_fast.losses import BalancedSoftmaxLoss, LADELoss, lade_regularizer

COUNTS = [900, 60, 20, 15, 5]
PRIOR = torch.tensor(COUNTS, dtype=torch.float64) / 1000


def rows(count=40):
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    return logits, torch.randint(4, (count,), generator=generator)  # class 4 is not in the batch


def as_published(logits, target, remine_lambda):
    """Classes as rows, with the guards of the authors' code."""
    own = target == torch.arange(5)[:, None]
    first = (logits.T * own).sum(-1) / (own.sum(-1) + 1e-8)
    spread = (logits - torch.log(PRIOR + 1e-9) + math.log(1 / 5 + 1e-9)).T
    second = torch.logsumexp(spread, -1) - np.log(len(target))
    return -((first - second - remine_lambda * second**2) * PRIOR).sum()


def regularizer(logits, target, remine_lambda=0.01):
    labels = torch.nn.functional.one_hot(target, 5).double()
    return lade_regularizer(logits, labels, PRIOR, PRIOR.log(), remine_lambda=remine_lambda)


@pytest.mark.parametrize("remine_lambda", [0.0, 0.01, 0.5])
def test_equals_the_published_form(remine_lambda):
    logits, target = rows()
    torch.testing.assert_close(
        regularizer(logits, target, remine_lambda), as_published(logits, target, remine_lambda), rtol=1e-6, atol=1e-7
    )


def test_joins_the_cross_entropy_once_and_by_its_weight():
    logits, target = rows()
    plain, extra = loss_of(BalancedSoftmaxLoss, logits, target, COUNTS), 0.3 * regularizer(logits, target, 0.2)
    settings = {"regularizer_weight": 0.3, "remine_lambda": 0.2}
    torch.testing.assert_close(loss_of(LADELoss, logits, target, COUNTS, **settings), plain + extra)
    each = loss_of(LADELoss, logits, target, COUNTS, reduction="none", **settings)
    torch.testing.assert_close(each, loss_of(BalancedSoftmaxLoss, logits, target, COUNTS, reduction="none") + extra)
    torch.testing.assert_close(loss_of(LADELoss, logits, target, COUNTS, reduction="sum", **settings), each.sum())
    torch.testing.assert_close(loss_of(LADELoss, logits, target, COUNTS, regularizer_weight=0.0), plain)


def test_mixed_labels_count_by_their_factors():
    logits, target = rows(12)
    doubled = loss_of(LADELoss, logits.repeat(2, 1), torch.cat([target, target.roll(1)]), COUNTS)
    halves = loss_of(LADELoss, logits, target, COUNTS, target_b=target.roll(1), lam=0.5)
    torch.testing.assert_close(halves, doubled)


def test_pulls_the_partition_of_each_class_to_one():
    # The bound's optimum is the log density ratio, whose partition is 1; the square holds the free constant there.
    logits = torch.full((20, 5), 3.0, dtype=torch.float64, requires_grad=True)
    target = torch.arange(20) % 5
    regularizer(logits, target, 0.5).backward()
    pull = logits.grad.sum(0)
    assert (pull > 0).all()  # all partitions are too large here: the sum of a column is to fall


def test_huge_logits_keep_their_gradients_digits():
    wide = torch.tensor([[1e4, 0.0], [1e4, 0.0], [1e4 + 1, 0.0]], dtype=torch.float64)
    grads = []
    for dtype in (torch.float32, torch.float64):
        leaf = wide.to(dtype).requires_grad_()
        loss_of(LADELoss, leaf, torch.tensor([0, 1, 0]), [3, 1], regularizer_weight=1.0).backward()
        grads.append(leaf.grad.double())
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-5, atol=1e-5 * grads[1].abs().max().item())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regularizer_weight": -1.0}, r"regularizer_weight must be finite and >= 0, got -1\.0"),
        ({"remine_lambda": math.nan}, "remine_lambda must be finite and >= 0, got nan"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        loss_of(LADELoss, *rows(), COUNTS, **settings)
