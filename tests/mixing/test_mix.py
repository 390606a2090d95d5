"""Applying a mix to images, and its random numbers: their keys and their distribution."""

import math

import numpy as np
import pytest
import torch

import reference
from lt_fast.mixing import Mix, Mixup, mixup
from lt_fast.mixing.draws import beta_coefficients, partner_positions


def images(shape, dtype=torch.float32, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (7, 3, 5, 2), (4, 9), (6,), (0, 3, 4, 4)])
@pytest.mark.parametrize("per_sample", [False, True])
def test_apply_mixes_image_by_image(shape, per_sample):
    x = images(shape)
    mix = mixup(torch.zeros(shape[0], dtype=torch.int64), per_sample=per_sample, seed=1)
    mixed = mix.apply(x)
    assert mixed.shape == x.shape
    if len(x):
        torch.testing.assert_close(mixed, reference.mixed_images(x, mix.partner, mix.lam_input))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_apply_keeps_the_dtype_and_rounds_once(dtype):
    x = images((6, 3, 8, 8), dtype)
    mix = mixup(torch.zeros(6, dtype=torch.int64), per_sample=True, seed=2)
    exact = reference.mixed_images(x.double(), mix.partner, mix.lam_input)
    mixed = mix.apply(x)
    assert mixed.dtype == dtype
    half_an_ulp = torch.finfo(dtype).eps * 0.51
    assert ((mixed.double() - exact).abs() <= exact.abs() * half_an_ulp + 1e-12).all()


def test_apply_works_on_any_strides_and_passes_gradients():
    x = images((5, 3, 4, 4)).to(memory_format=torch.channels_last).requires_grad_()
    mix = mixup(torch.zeros(5, dtype=torch.int64), per_sample=True, seed=4)
    mix.apply(x).sum().backward()
    weight = mix.lam_input.double()
    received = weight.clone().index_add_(0, mix.partner, 1 - weight)
    torch.testing.assert_close(x.grad[:, 0, 0, 0].double(), received)


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_coefficients_0_and_1_give_back_the_images(lam):
    x, partner = images((4, 2)), torch.tensor([3, 2, 1, 0])
    mix = Mix(partner, torch.full((4,), lam), torch.full((4,), lam))
    assert torch.equal(mix.apply(x), x if lam else x[partner])


def test_wrong_images_are_named():
    mix = mixup(torch.tensor([0, 1, 1]))
    with pytest.raises(TypeError, match=r"x must be floating point to be mixed, got torch\.uint8; convert it"):
        mix.apply(torch.zeros(3, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"x must hold one image per partner \(3\), got shape \(4, 2\)"):
        mix.apply(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"x must hold one image per partner \(3\), got shape \(\)"):
        mix.apply(torch.tensor(1.0))


def test_every_partner_is_taken_once():
    for size in (0, 1, 2, 7, 128, 1000):
        positions = partner_positions(size, seed=3, epoch=1, step=size)
        assert positions.dtype == np.int64
        np.testing.assert_array_equal(np.sort(positions), np.arange(size))


def test_every_pair_is_equally_likely():
    size, batches = 6, 6000
    table = np.zeros((size, size))
    for step in range(batches):
        table[np.arange(size), partner_positions(size, seed=8, epoch=0, step=step)] += 1
    chi_square = ((table - batches / size) ** 2 / (batches / size)).sum() * (size - 1) / size
    assert chi_square < 52.6  # (6-1)^2 = 25 degrees of freedom, p = 0.001


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_factors_have_the_moments_of_their_distribution(alpha):
    lam = beta_coefficients(alpha, 40_000, per_sample=True, seed=1, epoch=0, step=0).astype(np.float64)
    variance = 1 / (4 * (2 * alpha + 1))
    assert lam.mean() == pytest.approx(0.5, abs=4 * math.sqrt(variance / lam.size))
    assert lam.var() == pytest.approx(variance, rel=0.03)
    assert lam.min() >= 0
    assert lam.max() <= 1


def test_keys_do_not_share_draws():
    drawn = {
        (seed, epoch, step): beta_coefficients(1.0, 4, per_sample=True, seed=seed, epoch=epoch, step=step).tobytes()
        for seed in range(4)
        for epoch in range(4)
        for step in range(8)
    }
    assert len(set(drawn.values())) == len(drawn)


def test_neighbouring_steps_share_no_draw():
    steps = [beta_coefficients(1.0, 64, per_sample=True, seed=3, epoch=0, step=step) for step in range(64)]
    assert len(np.unique(np.concatenate(steps))) > 4090  # of 4096 float32 values; shared draws would leave 127
    shifted = [partner_positions(64, seed=3, epoch=0, step=step) for step in range(2)]
    agreement = np.corrcoef(np.argsort(shifted[0])[1:], np.argsort(shifted[1])[:-1])[0, 1]
    assert abs(agreement) < 0.5  # ranks of the same draws, one place on, would agree almost perfectly


def test_a_longer_batch_starts_with_the_same_factors():
    mixer = Mixup(per_sample=True, seed=5)
    np.testing.assert_array_equal(mixer.coefficients(1, 2, 100)[:7], mixer.coefficients(1, 2, 7))
    assert Mixup(seed=5).coefficients(1, 2, 7)[0] == mixer.coefficients(1, 2, 7)[0]
