"""UniMix: golden coefficients, partners in the right frequencies, and independence of the order of calls."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast.mixing import UniMix, unimix, unimix_coefficient
from mixing.plans import plan_of

COUNTS = [500, 120, 40, 9, 1]


@pytest.mark.parametrize(
    ("lam", "n_a", "n_b", "expected"), [(0.3, 5000, 50, 0.3099009901), (0.9, 50, 5000, 0.8900990099)]
)
def test_golden_coefficients(lam, n_a, n_b, expected):
    assert unimix_coefficient(lam, n_a, n_b).item() == pytest.approx(expected, abs=5e-11)


@given(lam=st.floats(0, 1), n_a=st.integers(1, 10**7), n_b=st.integers(1, 10**7))
def test_equals_the_papers_formula_and_lies_in_0_to_1(lam, n_a, n_b):
    coefficient = unimix_coefficient(lam, n_a, n_b).item()
    assert coefficient == reference.unimix_label_factor(lam, n_a, n_b)
    assert 0 <= coefficient <= 1
    assert 0 <= unimix_coefficient(torch.tensor(lam, dtype=torch.float32), n_a, n_b).item() <= 1


def test_image_and_label_have_the_same_shifted_coefficient():
    target = torch.tensor([0, 4, 2, 2, 1, 3, 0, 0, 1])
    made, plain = unimix(target, COUNTS, seed=2, epoch=1, step=4), UniMix(COUNTS, seed=2)._draws.coefficients(1, 4, 9)
    expected = [
        reference.unimix_label_factor(float(lam), COUNTS[a], COUNTS[b])
        for lam, a, b in zip(plain, target, target[made.partner], strict=True)
    ]
    np.testing.assert_allclose(made.lam_input, expected, atol=2e-7)
    assert torch.equal(made.lam_label, made.lam_input)


@pytest.mark.parametrize("tau", [-1.0, -0.5, 0.0, 1.0])
def test_partners_are_drawn_by_class_size(tau):
    target = torch.tensor([0] * 20 + [1] * 10 + [2] * 6 + [3] * 3 + [4])
    mixer, steps = UniMix(COUNTS, tau=tau, seed=5), 2000
    drawn = np.concatenate([plan_of(mixer, target, 0, step).partner for step in range(steps)])
    weight = np.array(COUNTS, dtype=float)[target] ** tau
    expected = drawn.size * weight / weight.sum()
    chi_square = ((np.bincount(drawn, minlength=40) - expected) ** 2 / expected).sum()
    assert chi_square < 72.1  # 39 degrees of freedom, p = 0.001


@pytest.mark.parametrize("tau", [-1e3, 1e3])
def test_an_extreme_exponent_draws_from_one_class_and_stays_finite(tau):
    target = torch.tensor([0, 1, 2, 3, 4, 4, 0])
    chosen = target[torch.from_numpy(plan_of(UniMix([10**9, 5, 4, 3, 2], tau=tau), target).partner)]
    assert set(chosen.tolist()) == {4 if tau < 0 else 0}


def test_a_plan_does_not_depend_on_the_calls_before_it():
    mixer, target = UniMix(COUNTS, seed=1), torch.tensor([0, 4, 2])
    first = plan_of(mixer, target, 3, 7)
    plan_of(mixer, target.flip(0), 3, 8)
    again = plan_of(mixer, target, 3, 7)
    np.testing.assert_array_equal(again.partner, first.partner)
    np.testing.assert_array_equal(again.lam, first.lam)


@pytest.mark.parametrize("tau", [math.nan, math.inf])
def test_a_wrong_tau_is_named(tau):
    with pytest.raises(ValueError, match=f"tau must be finite, got {tau}; 0 samples partners uniformly"):
        UniMix(COUNTS, tau=tau)


def test_wrong_labels_and_counts_are_named():
    with pytest.raises(ValueError, match=r"target must lie in \[0, 5\), got -1 at position 1"):
        unimix(torch.tensor([0, -1]), COUNTS)
    with pytest.raises(ValueError, match="class_counts must be >= 1 in every class, got 0 for class '1'"):
        UniMix([5, 0, 3])
    kept = UniMix([5, 0, 3], empty="ignore")
    plan = plan_of(kept, np.array([0, 1, 2]))
    assert set(plan.partner) <= {0, 1, 2}
    assert np.isfinite(plan.lam).all()
