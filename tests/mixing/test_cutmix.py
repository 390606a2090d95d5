"""CutMix: rectangles of the authors' code, labels by area, and loaders that paste what the plan says."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast import _rust
from lt_fast.mixing import CutMix, Mixup, cutmix
from mixing.plans import plan_of

SIDES = st.integers(1, 40)


@given(height=SIDES, width=SIDES, size=st.integers(1, 9), seed=st.integers(0, 2**64 - 1), per_sample=st.booleans())
def test_boxes_are_those_of_the_authors_code_for_the_same_draws(height, width, size, seed, per_sample):
    plan = plan_of(CutMix((height, width), per_sample=per_sample, seed=seed), np.zeros(size, int), 3, 7)
    drawn = Mixup(per_sample=per_sample, seed=seed).coefficients(3, 7, size)
    for at, (box, lam) in enumerate(zip(plan.boxes.tolist(), drawn.tolist(), strict=True)):
        first = 7 * 2**32 + 2**31 + 3 * at * per_sample
        uniform = _rust.uniform(seed, _rust.STREAM_PARTNER, 3, first, 2)
        centre = [int(uniform[0] * height), int(uniform[1] * width)]
        assert box == reference.cutmix_box((height, width), lam, centre)


@given(height=SIDES, width=SIDES, size=st.integers(0, 9), seed=st.integers(0, 999), probability=st.floats(0, 1))
def test_a_plan_is_inside_the_image_and_its_coefficient_is_the_area(height, width, size, seed, probability):
    mixer = CutMix((height, width), probability=probability, per_sample=True, seed=seed)
    plan = plan_of(mixer, np.zeros(size, int))
    top, left, bottom, right = plan.boxes.T
    assert ((top >= 0) & (top <= bottom) & (bottom <= height)).all()
    assert ((left >= 0) & (left <= right) & (right <= width)).all()
    area = (bottom - top) * (right - left)
    np.testing.assert_allclose(plan.lam, 1 - area / (height * width), rtol=0, atol=1e-7)
    own = np.arange(size)
    np.testing.assert_array_equal(plan.partner[area == 0], own[area == 0])
    np.testing.assert_array_equal(plan.position, plan.partner)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("shape", [(6, 3, 8, 5), (6, 8, 5), (0, 3, 8, 5)])
def test_apply_pastes_as_the_authors_code(per_sample, shape):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    for step in range(5):
        mix = cutmix(torch.zeros(shape[0], dtype=torch.int64), (8, 5), per_sample=per_sample, seed=1, step=step)
        assert torch.equal(mix.apply(x), reference.cutmix_images(x, mix.partner, mix.boxes))
        assert torch.equal(mix.lam_label, mix.lam_input)


def test_partners_are_those_of_mixup():
    target = torch.zeros(64, dtype=torch.int64)
    mix, blend = cutmix(target, 400, seed=4, epoch=2, step=9), plan_of(Mixup(seed=4), target, 2, 9)
    assert mix.boxes[:, 2:].gt(mix.boxes[:, :2]).all()
    np.testing.assert_array_equal(mix.partner, blend.partner)


@pytest.mark.parametrize("per_sample", [False, True])
def test_the_probability_is_that_of_a_batch_or_of_an_image(per_sample):
    mixer, steps = CutMix(1000, probability=0.3, per_sample=per_sample, seed=5), 400
    mixed = np.stack([plan_of(mixer, np.zeros(8, int), 0, step).lam < 1 for step in range(steps)])
    trials = mixed if per_sample else mixed[:, :1]
    assert per_sample or (mixed == mixed[:, :1]).all()
    assert trials.mean() == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / trials.size))
    assert not (plan_of(CutMix(1000, probability=0.0, per_sample=True), np.zeros(500, int)).lam < 1).any()


def test_the_centre_is_uniform_and_independent_of_the_partner():
    mixer = CutMix((64, 48), alpha=1.0, per_sample=True, seed=8)
    plan = plan_of(mixer, np.zeros(20_000, int))
    top, left, bottom, right = plan.boxes[(plan.boxes[:, :2] > 0).all(1) & (plan.boxes[:, 2:] < (64, 48)).all(1)].T
    assert np.corrcoef(top + bottom, left + right)[0, 1] == pytest.approx(0, abs=0.04)
    assert (top + bottom).mean() == pytest.approx(63.5, abs=2)
    assert (left + right).mean() == pytest.approx(47.5, abs=2)
    assert abs(np.corrcoef(plan.partner, plan.boxes[:, 0])[0, 1]) < 0.04


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"image_size": 0}, ValueError, "image_size must be >= 1, got 0"),
        ({"image_size": (4, -1)}, ValueError, "image_size must be >= 1, got -1"),
        ({"image_size": (4, 4, 3)}, ValueError, "image_size must be one integer or (height, width), got (4, 4, 3)"),
        ({"image_size": 4.5}, TypeError, "image_size must be an integer, got 4.5"),
        ({"image_size": "44"}, TypeError, "image_size must be an integer, got '4'"),
        ({"probability": 1.5}, ValueError, "probability must lie in [0, 1], got 1.5"),
        ({"probability": math.nan}, ValueError, "probability must lie in [0, 1], got nan"),
        ({"alpha": 0}, ValueError, "alpha must be finite and > 0, got 0; leave the mixer out"),
    ],
)
def test_refused(arguments, error, text):
    with pytest.raises(error, match=re.escape(text)):
        CutMix(**{"image_size": 4, **arguments})


def test_the_size_may_be_one_number():
    assert CutMix(32).image_size == CutMix((32, 32)).image_size == CutMix([32, 32]).image_size == (32, 32)
    assert repr(CutMix((8, 5), probability=0.5)) == (
        "CutMix(image_size=(8, 5), alpha=1.0, probability=0.5, per_sample=False, seed=0)"
    )
