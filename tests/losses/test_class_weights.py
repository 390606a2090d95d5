"""Weights per class: golden numbers, the papers' formulas, limits, and every refusal."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference
from losses.calls import loss_of
from lt_fast import ClassCounts
from lt_fast.losses import (
    CrossEntropyLoss,
    effective_number_weights,
    inverse_frequency_weights,
)

CIFAR10_100 = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
some_counts = st.lists(st.integers(1, 10**6), min_size=1, max_size=40)


def test_golden_effective_number_weights():
    expected = [0.050611, 0.0769, 0.121134, 0.195037, 0.318805, 0.52459, 0.868349, 1.442627, 2.409223, 3.992724]
    weights = effective_number_weights(CIFAR10_100, beta=0.9999)
    np.testing.assert_allclose(weights, expected, atol=5e-7)
    assert weights.sum() == pytest.approx(10, abs=1e-12)


def test_golden_inverse_frequency_weights():
    expected = [0.018275, 0.033775, 0.062438, 0.115335, 0.213377, 0.393882, 0.727836, 1.345865, 2.498766, 4.59045]
    weights = inverse_frequency_weights(CIFAR10_100, 1.2)
    np.testing.assert_allclose(weights, expected, atol=5e-7)
    assert weights.sum() == pytest.approx(10, abs=1e-12)


@given(some_counts, st.floats(0, 0.9999))
def test_effective_number_weights_equal_the_formula(counts, beta):
    weights = effective_number_weights(counts, beta)
    np.testing.assert_allclose(weights, reference.effective_number_weights(counts, beta), rtol=1e-9)
    assert weights.dtype == np.float64


@given(some_counts, st.floats(0, 3))
def test_inverse_frequency_weights_equal_the_formula(counts, gamma):
    weights = inverse_frequency_weights(ClassCounts(counts), gamma)
    np.testing.assert_allclose(weights, reference.inverse_frequency_weights(counts, gamma), rtol=1e-9)


@given(some_counts)
def test_limits(counts):
    np.testing.assert_array_equal(effective_number_weights(counts, 0.0), np.ones(len(counts)))
    np.testing.assert_allclose(inverse_frequency_weights(counts, 0.0), np.ones(len(counts)), rtol=1e-12)
    nearly_one = effective_number_weights(counts, 1 - 1e-12)
    np.testing.assert_allclose(nearly_one, inverse_frequency_weights(counts, 1.0), rtol=1e-5)


@given(some_counts, st.sampled_from([0.0, 0.9, 0.9999]), st.floats(0, 50))
def test_rarer_never_weighs_less(counts, beta, gamma):
    order = np.argsort(counts)[::-1]
    for weights in (effective_number_weights(counts, beta), inverse_frequency_weights(counts, gamma)):
        assert (np.diff(weights[order]) >= -1e-12).all()
        assert np.isfinite(weights).all()


def test_an_extreme_power_stays_finite():
    weights = inverse_frequency_weights([10**9, 1, 1], 1e4)
    np.testing.assert_allclose(weights, [0, 1, 1])  # the first underflows: two classes carry the sum of two


@pytest.mark.parametrize("weights", [effective_number_weights, inverse_frequency_weights])
def test_an_ignored_class_gets_no_weight_and_changes_nothing(weights):
    with pytest.raises(ValueError, match=r"class_counts must be >= 1 in every class, got 0 for class '1' \(index 1\)"):
        weights([50, 0, 5])
    for parameter in (0.0, 0.7):
        kept = weights([50, 0, 5], parameter, empty="ignore")
        np.testing.assert_array_equal(kept, np.insert(weights([50, 5], parameter), 1, 0))


@pytest.mark.parametrize(
    ("beta", "message"),
    [
        (
            1.0,
            r"beta must lie in \[0, 1\), got 1\.0; the limit beta -> 1 is inverse_frequency_weights",
        ),
        (-0.1, r"beta must lie in \[0, 1\), got -0\.1$"),
        (math.nan, r"beta must lie in \[0, 1\), got nan"),
    ],
)
def test_a_wrong_beta_is_named(beta, message):
    with pytest.raises(ValueError, match=message):
        effective_number_weights([5, 1], beta)


@pytest.mark.parametrize("gamma", [-1.0, math.nan, math.inf])
def test_a_wrong_gamma_is_named(gamma):
    with pytest.raises(ValueError, match=f"gamma must be finite and >= 0, got {gamma}"):
        inverse_frequency_weights([5, 1], gamma)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, 2.0], r"weight must have shape \(C,\) = \(3,\), got \(2,\)"),
        (1.0, r"weight must have shape \(C,\) = \(3,\), got \(\)"),
        ([1.0, -2.0, 1.0], r"weight must be finite and >= 0 in every class, got -2\.0 for class 1"),
        ([1.0, 1.0, math.nan], "weight must be finite and >= 0 in every class, got nan for class 2"),
        ([1.0, 1.0, math.inf], "weight must be finite and >= 0 in every class, got inf for class 2"),
        ([0.0, 0.0, 0.0], "weight must be > 0 for at least one class, got 3 zeros"),
    ],
)
def test_wrong_weights_are_named(weight, message):
    logits, target = torch.zeros(2, 3), torch.tensor([0, 1])
    with pytest.raises(ValueError, match=message):
        loss_of(CrossEntropyLoss, logits, target, [3, 2, 1], weight=weight)


def test_weights_in_any_form_are_the_same():
    logits, target = torch.tensor([[0.3, 1.0, -1.0]]), torch.tensor([2])
    forms = [[1, 2, 3], np.array([1, 2, 3]), torch.tensor([1.0, 2.0, 3.0]).double()]
    losses = {
        loss_of(CrossEntropyLoss, logits, target, [3, 2, 1], weight=form, normalization="batch").item()
        for form in forms
    }
    assert len(losses) == 1


@pytest.mark.parametrize(
    "weight",
    [
        torch.ones(3, requires_grad=True),
        torch.nn.Parameter(torch.ones(3)),
        torch.ones(3, requires_grad=True) * 2,
        [torch.tensor(1.0, requires_grad=True), 1.0, 1.0],
    ],
)
def test_a_weight_that_requires_a_gradient_is_refused(weight):
    name = re.escape("weight[0]" if isinstance(weight, list) else "weight")
    message = rf"^{name} must not require a gradient: only the logits have one; pass {name}\.detach\(\)"
    with pytest.raises(ValueError, match=message):
        CrossEntropyLoss([3, 2, 1], weight=weight)
    with pytest.raises(ValueError, match=message):
        loss_of(CrossEntropyLoss, torch.zeros(1, 3), torch.tensor([0]), [3, 2, 1], weight=weight)
    if isinstance(weight, torch.Tensor):  # the advice
        assert CrossEntropyLoss([3, 2, 1], weight=weight.detach())(torch.zeros(1, 3), torch.tensor([0])).isfinite()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("form", [torch.clone, list, tuple])
def test_weights_of_every_dtype_are_taken_exactly(dtype, form):
    weight = torch.tensor([1.3, 2.6, 50.1]).to(dtype)
    made = CrossEntropyLoss([3, 2, 1], weight=form(weight))
    exact = made.options.by_name(made.vectors.for_logits(torch.zeros(1, 3, dtype=torch.float64))["rows"])["weight"]
    assert torch.equal(exact, weight.double())


@pytest.mark.parametrize("weight", [torch.ones(3, dtype=torch.complex64), [1j, 1, 1], [torch.tensor(1j), 1, 1]])
def test_complex_weights_are_refused(weight):
    with pytest.raises(TypeError, match="weight must be a vector of C numbers"):
        CrossEntropyLoss([3, 2, 1], weight=weight)


def test_a_masked_weight_is_refused_and_an_unmasked_one_taken():
    weight = np.ma.masked_array([1.0, 2.0, 3.0], mask=[False, True, False])
    with pytest.raises(ValueError, match="weight must have no masked entry, got 1, the first at position 1"):
        CrossEntropyLoss([3, 2, 1], weight=weight)
    assert CrossEntropyLoss([3, 2, 1], weight=weight.filled(1.0))(torch.zeros(1, 3), torch.tensor([0])).isfinite()
    made = CrossEntropyLoss([3, 2, 1], weight=np.ma.masked_array([1.0, 2.0, 3.0]))
    assert made.options.by_name(made.vectors.rows)["weight"].tolist() == [1, 2, 3]
