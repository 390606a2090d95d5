"""CP-Mix's label weight: the reconstructed formula, its limits and symmetry, the op's own, every refusal."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast.mixing import CPMix, Mixup, cp_mix, cp_mix_label_weight, mixup
from lt_fast.ops import mixed_margin_loss

COUNTS = [500, 120, 40, 9, 1]
SIZES = st.integers(1, 10**9)
SHARES = st.floats(0, 1)


@pytest.mark.parametrize(
    ("lam", "n_a", "n_b", "tau", "expected"),
    [
        (0.3, 5000, 50, 1.0, 0.00990099),
        (0.3, 50, 5000, 1.0, 0.99009901),
        (0.3, 5000, 50, 0.0, 0.3),
        (0.9, 100, 100, 0.5, 0.7),  # equal classes: half way to one half
        (0.4, 300, 100, 0.5, 0.325),
    ],
)
def test_golden_numbers(lam, n_a, n_b, tau, expected):
    assert cp_mix_label_weight(lam, n_a, n_b, tau).item() == pytest.approx(expected, abs=1e-8)


@given(SHARES, SIZES, SIZES, SHARES)
def test_equals_the_formula_and_lies_in_0_to_1(lam, n_a, n_b, tau):
    weight = cp_mix_label_weight(lam, n_a, n_b, tau).item()
    assert weight == pytest.approx(reference.cp_mix_label_factor(lam, n_a, n_b, tau), abs=1e-12)
    assert 0 <= weight <= 1 + 1e-15


@given(SHARES, SIZES, SIZES, SHARES)
def test_swapping_the_images_gives_the_complement(lam, n_a, n_b, tau):
    straight, swapped = cp_mix_label_weight(lam, n_a, n_b, tau), cp_mix_label_weight(1 - lam, n_b, n_a, tau)
    assert swapped.item() == pytest.approx(1 - straight.item(), abs=1e-12)


@given(SHARES, SHARES, SIZES, SIZES)
def test_a_minority_keeps_more_of_its_label_than_its_partner_would(lam, tau, n_a, n_b):
    rare, frequent = sorted((n_a, n_b))
    assert cp_mix_label_weight(lam, rare, frequent, tau) >= cp_mix_label_weight(lam, frequent, rare, tau)


def test_without_tau_it_is_mixup_and_with_all_of_it_the_sizes_alone():
    lam = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert torch.equal(cp_mix_label_weight(lam, 5000, 50, 0.0), lam)
    assert len(set(cp_mix_label_weight(lam, 5000, 50, 1.0).tolist())) == 1


@pytest.mark.parametrize("tau", [0.0, 0.3, 1.0])
def test_the_op_s_rule_is_the_mixer_s(tau):
    made, mixer = (thing for thing in (cp_mix(labels(), COUNTS, tau=tau, per_sample=True), CPMix(COUNTS, tau=tau)))
    logits = torch.randn(9, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    second = labels()[made.partner]
    options = {"target_b": second, "reduction": "none", "class_counts": COUNTS}
    by_rule = mixed_margin_loss(logits, labels(), lam=made.lam_input, label_rule="cp_mix", tau=tau, **options)
    by_factor = mixed_margin_loss(logits, labels(), lam=made.lam_label, **options)
    torch.testing.assert_close(by_rule, by_factor, rtol=1e-6, atol=1e-6)
    assert torch.equal(mixer.label_weight(made.lam_input, labels(), second), made.lam_label)


def labels():
    return torch.tensor([0, 4, 2, 2, 1, 3, 0, 0, 1])


def test_images_and_partners_are_those_of_mixup():
    plain, made = mixup(labels(), seed=3, epoch=1, step=2), cp_mix(labels(), COUNTS, seed=3, epoch=1, step=2)
    assert torch.equal(plain.partner, made.partner)
    assert torch.equal(plain.lam_input, made.lam_input)
    assert "tau=0.5" in repr(CPMix(COUNTS))


def test_the_coefficients_of_pairs_are_mixups():
    for per_sample in (False, True):
        mixer = CPMix(COUNTS, alpha=0.4, per_sample=per_sample, seed=9)
        expected = Mixup(0.4, per_sample=per_sample, seed=9).coefficients(2, 5, 6)
        np.testing.assert_array_equal(mixer.coefficients(2, 5, 6), expected)
        assert expected.dtype == np.float32
        assert expected.shape == (6,)


def test_classes_without_samples():
    with pytest.raises(ValueError, match="class_counts must be >= 1 in every class, got 0 for class '1'"):
        CPMix([5, 0, 2])
    weight = CPMix([4, 0, 2], tau=1.0, empty="ignore").label_weight(
        torch.tensor([0.5]), torch.tensor([0]), torch.tensor([1])
    )
    np.testing.assert_allclose(weight, [1 / 5])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"tau": -0.1}, r"tau must lie in \[0, 1\], got -0\.1"),
        ({"tau": 1.1}, r"tau must lie in \[0, 1\], got 1\.1"),
        ({"tau": math.nan}, r"tau must lie in \[0, 1\], got nan"),
        ({"lam": 1.5}, r"lam must be in \[0, 1\], got 1\.5"),
        ({"n_a": 0}, r"n_a must be > 0, got 0; a class without samples cannot be mixed"),
        ({"n_b": -3}, r"n_b must be > 0, got -3"),
    ],
)
def test_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        cp_mix_label_weight(**{"lam": 0.5, "n_a": 10, "n_b": 20} | arguments)
    if "tau" in arguments:
        with pytest.raises(ValueError, match=text):
            CPMix(COUNTS, **arguments)
