"""Numbers computed once in float64, independently, for CIFAR-10-LT's counts at imbalance ratio 100."""

import numpy as np
import pytest
import torch

from losses.calls import loss_of
from lt_fast.losses import (
    BalancedSoftmaxLoss,
    CrossEntropyLoss,
    LDAMLoss,
    effective_number_weights,
    inverse_frequency_weights,
    ldam_margins,
    log_prior,
)

COUNTS = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
ROW = [-0.1, 0.05, 0.3, -0.25, 0.0, 0.15, -0.05, 0.1, 0.4]
LOGITS = torch.tensor([[0.2, *ROW], [0.6, *ROW]], dtype=torch.float64)
TARGET = torch.tensor([9, 3])
DRW = effective_number_weights(COUNTS)


def test_margins():
    expected = [0.158114, 0.179697, 0.204238, 0.232091, 0.263829, 0.299768, 0.340675, 0.387221, 0.440497, 0.5]
    np.testing.assert_allclose(ldam_margins(COUNTS), expected, atol=5e-7)


def test_ldam():
    each = LDAMLoss(COUNTS, reduction="none")(LOGITS, TARGET)
    np.testing.assert_allclose(each, [12.06212111, 15.96521205], atol=5e-9)
    for normalization in ("expected", "weights", "batch"):
        mean = loss_of(LDAMLoss, LOGITS, TARGET, COUNTS, normalization=normalization)
        assert mean.item() == pytest.approx(14.013666576951557, rel=1e-14)


def test_ldam_with_deferred_reweighting():
    loss = LDAMLoss(COUNTS, weight=DRW, normalization="weights")(LOGITS, TARGET)
    assert loss.item() == pytest.approx(12.243899850305755, rel=1e-14)


def test_balanced_softmax_on_five_times_the_logits():
    each = BalancedSoftmaxLoss(COUNTS, reduction="none")(5 * LOGITS, TARGET)
    np.testing.assert_allclose(each, [4.18289284, 3.1358537], atol=5e-8)


def test_cross_entropy_with_the_weights_of_margin_calibration():
    weight = inverse_frequency_weights(COUNTS, 1.2)
    by_batch_weights = CrossEntropyLoss(COUNTS, weight=weight, normalization="weights")(5 * LOGITS, TARGET)
    assert by_batch_weights.item() == pytest.approx(1.1314276096499896, rel=1e-14)
    by_batch_size = CrossEntropyLoss(COUNTS, weight=weight, normalization="batch")(5 * LOGITS, TARGET)
    assert by_batch_size.item() == pytest.approx(2.662127654206969, rel=1e-14)


def test_log_prior():
    np.testing.assert_allclose(np.exp(log_prior(COUNTS)), np.array(COUNTS) / 12406, rtol=1e-14)


@pytest.mark.parametrize("max_margin", [-0.5, float("nan"), float("inf")])
def test_a_wrong_margin_is_named(max_margin):
    with pytest.raises(ValueError, match=f"max_margin must be finite and >= 0, got {max_margin}"):
        LDAMLoss(COUNTS, max_margin=max_margin)


def test_an_ignored_class_gets_the_largest_finite_margin():
    np.testing.assert_array_equal(ldam_margins([16, 0, 1], empty="ignore"), [0.25, 0.5, 0.5])
    np.testing.assert_allclose(log_prior([6, 0, 2], empty="ignore"), np.log([0.75, 0.25, 0.25]))
    for vector in (ldam_margins, log_prior):
        with pytest.raises(ValueError, match="class_counts must be >= 1 in every class, got 0 for class '1'"):
            vector([16, 0, 1])
