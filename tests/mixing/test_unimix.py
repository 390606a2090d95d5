"""UniMix: golden factors, partners in the right frequencies, and the order in which it is asked."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast.mixing import UniMix, unimix, unimix_factor

COUNTS = [500, 120, 40, 9, 1]


@pytest.mark.parametrize(
    ("lam", "n_a", "n_b", "expected"), [(0.3, 5000, 50, 0.3099009901), (0.9, 50, 5000, 0.8900990099)]
)
def test_golden_factors(lam, n_a, n_b, expected):
    assert unimix_factor(lam, n_a, n_b).item() == pytest.approx(expected, abs=5e-11)


@given(lam=st.floats(0, 1), n_a=st.integers(1, 10**7), n_b=st.integers(1, 10**7))
def test_equals_the_papers_formula_and_is_a_factor(lam, n_a, n_b):
    factor = unimix_factor(lam, n_a, n_b).item()
    assert factor == reference.unimix_label_factor(lam, n_a, n_b)
    assert 0 <= factor <= 1
    assert 0 <= unimix_factor(torch.tensor(lam, dtype=torch.float32), n_a, n_b).item() <= 1


def test_image_and_label_have_the_one_shifted_factor():
    target = torch.tensor([0, 4, 2, 2, 1, 3, 0, 0, 1])
    made, plain = unimix(target, COUNTS, seed=2, epoch=1, step=4), UniMix(COUNTS, seed=2)._draws.factor(1, 4, 9)
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
    drawn = np.concatenate([mixer.partner(0, step, target) for step in range(steps)])
    weight = np.array(COUNTS, dtype=float)[target] ** tau
    expected = drawn.size * weight / weight.sum()
    chi_square = ((np.bincount(drawn, minlength=40) - expected) ** 2 / expected).sum()
    assert chi_square < 72.1  # 39 degrees of freedom, p = 0.001


@pytest.mark.parametrize("tau", [-1e3, 1e3])
def test_an_extreme_exponent_draws_from_one_class_and_stays_finite(tau):
    target = torch.tensor([0, 1, 2, 3, 4, 4, 0])
    chosen = target[torch.from_numpy(UniMix([10**9, 5, 4, 3, 2], tau=tau).partner(0, 0, target))]
    assert set(chosen.tolist()) == {4 if tau < 0 else 0}


def test_the_factor_belongs_to_the_partners_before_it():
    mixer, target = UniMix(COUNTS, seed=1), torch.tensor([0, 4, 2])
    for asked, last in ((None, "nothing"), ((3, 7), "epoch 3, step 7")):
        if asked is not None:
            mixer.partner(*asked, target)
        with pytest.raises(
            ValueError, match=rf"factor must follow partner for the same batch \(epoch 3, step 8.* {last}"
        ):
            mixer.factor(3, 8, 3)
    with pytest.raises(
        ValueError, match=r"factor must follow partner for the same batch \(epoch 3, step 7, 4 samples\)"
    ):
        mixer.factor(3, 7, 4)
    first = mixer.factor(3, 7, 3)
    mixer.partner(3, 8, target)
    mixer.partner(3, 7, target)
    np.testing.assert_array_equal(mixer.factor(3, 7, 3), first)


@pytest.mark.parametrize("tau", [math.nan, math.inf])
def test_a_wrong_tau_is_named(tau):
    with pytest.raises(ValueError, match=f"tau must be finite, got {tau}; 0 draws partners uniformly"):
        UniMix(COUNTS, tau=tau)


def test_wrong_labels_and_counts_are_named():
    with pytest.raises(ValueError, match=r"target must lie in \[0, 5\), got -1 at position 1"):
        unimix(torch.tensor([0, -1]), COUNTS)
    with pytest.raises(ValueError, match="class_counts must be >= 1 in every class, got 0 for class '1'"):
        UniMix([5, 0, 3])
    kept = UniMix([5, 0, 3], empty="ignore")
    assert set(kept.partner(0, 0, np.array([0, 1, 2]))) <= {0, 1, 2}
    assert np.isfinite(kept.factor(0, 0, 3)).all()
