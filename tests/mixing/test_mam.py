"""Margin-aware mixup against the authors' convention, written the other way round, and by its properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast.mixing import MAM, Mixup, mam, mam_label_weight
from mixing.plans import plan_of

COUNTS = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
GRID = torch.linspace(0, 1, 10_001, dtype=torch.float64)
PAIRS = [(5000, 50), (50, 5000), (700, 700), (2, 1), (1, 1_000_000)]
OMEGAS = [0.0, 0.05, 0.25, 0.5, 1.0, 3.0]


@pytest.mark.parametrize(
    ("n_a", "n_b", "expected"),
    [
        (5000, 50, [0.164528471, 0.329056942, 0.493585412, 0.791886117]),
        (50, 5000, [0.506414588, 0.670943058, 0.835471529, 0.934188612]),
    ],
)
def test_golden_numbers(n_a, n_b, expected):
    lam = torch.tensor([0.25, 0.5, 0.75, 0.9], dtype=torch.float64)
    np.testing.assert_allclose(mam_label_weight(lam, n_a, n_b, 0.25), expected, atol=5e-10)


@pytest.mark.parametrize("omega", OMEGAS[:-1])  # beyond, their threshold rounds to 1 and misses lam = 0
@pytest.mark.parametrize(("n_a", "n_b"), PAIRS)
def test_equals_the_authors_formula_in_their_convention(n_a, n_b, omega):
    expected = [reference.mam_label_factor(lam, n_a, n_b, omega) for lam in GRID.tolist()]
    np.testing.assert_allclose(mam_label_weight(GRID, n_a, n_b, omega), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("omega", OMEGAS)
@pytest.mark.parametrize(("n_a", "n_b"), PAIRS)
def test_runs_from_0_to_1_increasing_and_without_a_jump(n_a, n_b, omega):
    weight = mam_label_weight(GRID, n_a, n_b, omega)
    steps = weight.diff()
    b = 1 / (1 + (n_b / n_a) ** omega)
    assert weight[0] == 0
    assert weight[-1] == 1
    assert (steps > 0).all()
    assert steps.max() <= 1.000001e-4 / (2 * min(b, 1 - b))  # nowhere steeper than its two straight pieces


@pytest.mark.parametrize("omega", OMEGAS)
@pytest.mark.parametrize(("n_a", "n_b"), PAIRS)
def test_swapping_the_two_images_gives_the_complement(n_a, n_b, omega):
    swapped = mam_label_weight(1 - GRID, n_b, n_a, omega)
    np.testing.assert_allclose(swapped, 1 - mam_label_weight(GRID, n_a, n_b, omega), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n_a", "n_b", "omega"), [(5000, 50, 0.0), (50, 5000, 0.0), (83, 83, 0.25), (7, 7, 9.0)])
def test_without_omega_or_imbalance_it_is_mixup(n_a, n_b, omega):
    assert torch.equal(mam_label_weight(GRID, n_a, n_b, omega), GRID)


def test_the_threshold_itself_is_half_a_label():
    # b = 1/3 and 2/3 exactly, the case in which the authors' code raises.
    assert mam_label_weight(1 / 3, 1, 2, 1.0) == 0.5
    assert mam_label_weight(2 / 3, 2, 1, 1.0) == 0.5
    assert mam_label_weight(0.5, 9, 9, 1.0) == 0.5


@pytest.mark.parametrize("omega", [8.0, 100.0, 1e4])
def test_limits_of_a_huge_omega(omega):
    lam = torch.tensor([0.0, 0.25, 0.75, 1.0], dtype=torch.float64)
    np.testing.assert_allclose(mam_label_weight(lam, 5000, 50, omega), [0, 0.125, 0.375, 1], atol=1e-12)
    np.testing.assert_allclose(mam_label_weight(lam, 50, 5000, omega)[1:], [0.625, 0.875, 1], atol=1e-12)


@given(
    lam=st.floats(0, 1),
    n_a=st.integers(1, 10**7),
    n_b=st.integers(1, 10**7),
    omega=st.floats(0, 1e5),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_is_always_in_0_to_1(lam, n_a, n_b, omega, dtype):
    assert 0 <= mam_label_weight(torch.tensor(lam, dtype=dtype), n_a, n_b, omega).item() <= 1


@given(
    lam=st.floats(0, 1, width=32),
    n_a=st.integers(1, 10**6),
    n_b=st.integers(1, 10**6),
    omega=st.floats(0, 1),
)
def test_float32_keeps_its_digits(lam, n_a, n_b, omega):
    exact = mam_label_weight(lam, n_a, n_b, omega).item()
    assert mam_label_weight(torch.tensor(lam), n_a, n_b, omega).item() == pytest.approx(exact, abs=2e-6)


def test_dtypes_and_shapes():
    assert mam_label_weight(0.25, 5, 3).dtype == torch.float64
    assert mam_label_weight(torch.tensor(0.25, dtype=torch.bfloat16), 5, 3).dtype == torch.float32
    lam, n_b = torch.rand(4, 1, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 2, 3])
    assert mam_label_weight(lam, 5, n_b).shape == (4, 3)
    assert mam_label_weight(torch.zeros(0), torch.zeros(0) + 1, 3).shape == (0,)


def test_a_batch_is_mixed_pair_by_pair():
    target = torch.tensor([0, 9, 3, 3, 1, 0, 8])
    mix = mam(target, COUNTS, omega=0.25, seed=5, epoch=2, step=11)
    expected = [
        reference.mam_label_factor(float(lam), COUNTS[int(target[i])], COUNTS[int(target[j])], 0.25)
        for i, (j, lam) in enumerate(zip(mix.partner, mix.lam_input, strict=True))
    ]
    np.testing.assert_allclose(mix.lam_label, expected, atol=2e-7)
    assert mix.lam_label.dtype == torch.float32


def test_draws_what_mixup_draws():
    target = torch.arange(8)
    plain, aware = Mixup(0.5, seed=3), MAM([9] * 8, alpha=0.5, seed=3)
    for found, expected in zip(plan_of(aware, target, 1, 2), plan_of(plain, target, 1, 2), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("omega", "message"),
    [
        (-0.25, r"omega must be finite and >= 0, got -0\.25; did you mean 0\.25\?"),
        (math.nan, "omega must be finite and >= 0, got nan"),
        (math.inf, "omega must be finite and >= 0, got inf"),
    ],
)
def test_a_wrong_omega_is_named(omega, message):
    with pytest.raises(ValueError, match=message):
        mam_label_weight(0.5, 1, 1, omega)
    with pytest.raises(ValueError, match=message):
        MAM([1, 1], omega=omega)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5, 2, 3), r"lam must be in \[0, 1\], got 1\.5"),
        ((-0.1, 2, 3), r"lam must be in \[0, 1\], got -0\.1"),
        ((torch.tensor([0.5, math.nan]), 2, 3), r"lam must be in \[0, 1\], got nan"),
        ((0.5, 0, 3), r"n_a must be > 0, got 0; a class without samples"),
        ((0.5, 2, torch.tensor([3, -1])), r"n_b must be > 0, got -1; a class without samples"),
    ],
)
def test_wrong_values_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        mam_label_weight(*arguments)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (3, r"target_a must lie in \[0, 3\), got 3 at position 1"),
        (-1, r"target_a must lie in \[0, 3\), got -1 at position 1"),
    ],
)
def test_a_label_out_of_range_is_named(label, message):
    with pytest.raises(ValueError, match=message):
        mam(torch.tensor([0, label, 2]), [5, 4, 3])


def test_an_empty_class_is_named_or_ignored():
    with pytest.raises(ValueError, match=r"class_counts must be >= 1 in every class, got 0 for class '1' \(index 1\)"):
        MAM([5, 0, 3])
    kept = MAM([5, 0, 3], empty="ignore")
    lam, a, b = torch.tensor([0.3]), torch.tensor([0]), torch.tensor([2])
    assert kept.label_weight(lam, a, b) == mam_label_weight(lam, 5, 3)
    assert torch.isfinite(kept.label_weight(lam, a, torch.tensor([1]))).all()
