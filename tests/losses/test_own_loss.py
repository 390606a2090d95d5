"""A margin loss of a user's own, as a file outside the package would have it."""

import copy
import inspect
from typing import Unpack

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lt_fast import ClassCounts
from lt_fast.losses import Loss, SharedOptions

COUNTS = [400, 100, 25, 4]


class SquareRootMarginLoss(Loss):
    """Margins proportional to ``counts ** -0.5``, and balanced softmax's bias."""

    def __init__(self, counts, *, max_margin: float = 0.5, scale: float = 30.0, **shared: Unpack[SharedOptions]):
        counts = ClassCounts(counts).require_no_empty()
        margin = max_margin * (counts.counts.min() / counts.counts) ** 0.5
        super().__init__(counts, margin=margin, bias=np.log(counts.prior), scale=scale, **shared)


def problem():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.rand(6, 4, generator=generator, dtype=torch.float64) - 1
    return logits.requires_grad_(), torch.tensor([0, 3, 2, 1, 3, 0]), torch.tensor([1, 0, 3, 2, 2, 3])


def plainly(logits, target):
    counts = torch.tensor(COUNTS, dtype=torch.float64)
    margin = 0.5 * (4 / counts) ** 0.5
    scores = 30 * (logits - F.one_hot(target, 4) * margin) + (counts / counts.sum()).log()
    return F.cross_entropy(scores, target, reduction="none")


def test_it_has_the_formula_and_gradient_of_its_vectors():
    logits, target, _ = problem()
    loss = SquareRootMarginLoss(COUNTS)(logits, target)
    expected = plainly(logits, target).mean()
    torch.testing.assert_close(loss, expected)
    slope, expected_slope = (torch.autograd.grad(value, logits)[0] for value in (loss, expected))
    torch.testing.assert_close(slope, expected_slope)
    torch.testing.assert_close(SquareRootMarginLoss(COUNTS).loss_and_gradient(logits, target), (loss, slope))


def test_it_has_the_options_of_every_loss():
    logits, target, target_b = problem()
    shares = 0.3 * plainly(logits, target) + 0.7 * plainly(logits, target_b)
    torch.testing.assert_close(SquareRootMarginLoss(COUNTS, reduction="none")(logits, target, target_b, 0.3), shares)
    weighted = SquareRootMarginLoss(COUNTS, weight={3: 4.0, 2: 3.0, 1: 2.0, 0: 1.0}, normalization="batch")
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(weighted(logits, target), (weight[target] * plainly(logits, target)).mean())
    shared = ["weight", "label_rule", "omega", "kappa", "tau", "normalization", "reduction"]
    shared += ["ignore_index", "class_dim", "empty"]
    assert list(inspect.signature(SquareRootMarginLoss).parameters) == ["counts", "max_margin", "scale", *shared]
    with pytest.raises(ValueError, match=r"label_rule must be one of .*, got 'mixpu'; did you mean 'mixup'\?"):
        SquareRootMarginLoss(COUNTS, label_rule="mixpu")
    with pytest.raises(TypeError, match="unexpected keyword argument 'sclae'"):
        SquareRootMarginLoss(COUNTS, sclae=2.0)


def test_it_is_fixed_and_checked_like_every_loss():
    criterion = SquareRootMarginLoss(COUNTS)
    with pytest.raises(AttributeError, match=r"make a new one, SquareRootMarginLoss\(counts, max_margin=...\)"):
        criterion.max_margin = 1.0
    with pytest.raises(AttributeError, match="margin of SquareRootMarginLoss cannot be set: it follows from the count"):
        criterion.margin = 1.0
    assert criterion.state_dict() == {}
    logits, target, _ = problem()
    with pytest.warns(UserWarning, match="logits of SquareRootMarginLoss with scale=30 must be cosines"):
        criterion(9 * logits, target)
    assert torch.equal(copy.deepcopy(criterion).half()(logits, target), criterion(logits, target))
    with pytest.raises(ValueError, match=r"class_counts must be >= 1 in every class, got 0 for class '1'"):
        SquareRootMarginLoss([3, 0, 2])
