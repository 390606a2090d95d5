"""Vector scaling against Newton's method, its convergence, and classes without a sample."""

import re

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import reference
from lt_fast import ClassCounts
from lt_fast.calibration import TemperatureScaling, VectorScaling

NAMES = ["peat", "loess", "marl", "clay"]
COUNTS = ClassCounts([60, 30, 10, 4], names=NAMES)


def samples(sizes=(40, 20, 6, 3), seed=0, shift=0.0):
    """Logits of a biased network, which favours class 0, and their labels."""
    target = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    noise = torch.randn(len(target), len(sizes), generator=torch.Generator().manual_seed(seed))
    bias = torch.tensor([3.0, 1.0, 0.0, -2.0])[: len(sizes)]
    return 3 * noise + 4 * F.one_hot(target, len(sizes)) + bias + shift, target


@pytest.mark.parametrize("penalty", [1.0, 0.05, 20.0])
@pytest.mark.parametrize("sizes", [(40, 20, 6, 3), (25, 12, 0, 4), (30, 9)])
def test_is_the_minimum_that_newton_finds(penalty, sizes):
    logits, target = samples(sizes)
    found = VectorScaling([1] * len(sizes), penalty=penalty)
    if 0 in sizes:
        with pytest.warns(UserWarning, match="no sample of class '2'"):
            found.fit(logits, target)
    else:
        found.fit(logits, target)
    factor, offset = reference.vector_scaling(logits, target, penalty=penalty)
    torch.testing.assert_close(found.factor, factor.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.offset, offset.float(), rtol=1e-4, atol=1e-4)
    assert found.converged
    assert found.slope <= 1e-7
    torch.testing.assert_close(found(logits), (factor * logits + offset).float(), rtol=1e-4, atol=1e-3)


def test_without_a_penalty_it_is_the_likeliest():
    noise = torch.randn(300, 3, generator=torch.Generator().manual_seed(4))
    target = torch.arange(300) % 3
    logits = noise + F.one_hot(target, 3) + torch.tensor([2.0, 0.0, -1.0])
    found = VectorScaling([1, 1, 1], penalty=0).fit(logits, target)
    loss = F.cross_entropy(found(logits), target)
    temperature = TemperatureScaling([1, 1, 1]).fit(logits, target)
    assert loss < F.cross_entropy(temperature(logits), target) - 0.1
    mean = found(logits).softmax(dim=1).mean(dim=0)  # of a maximum of the likelihood with offsets
    torch.testing.assert_close(mean, torch.full((3,), 1 / 3), rtol=0, atol=1e-5)


def test_a_strong_penalty_leaves_the_temperature():
    logits, target = samples()
    found = VectorScaling(COUNTS, penalty=1e9).fit(logits, target)
    torch.testing.assert_close(found(logits), TemperatureScaling(COUNTS).fit(logits, target)(logits))


@pytest.mark.parametrize("scale", [0.1, 30.0])
def test_the_scale_of_the_loss_and_a_common_shift_of_a_row_change_little(scale):
    logits, target = samples()
    plain = VectorScaling(COUNTS).fit(logits, target)(logits)
    scaled = VectorScaling(COUNTS, scale=scale).fit(logits / scale, target)(logits / scale)
    torch.testing.assert_close(scaled, plain, rtol=1e-4, atol=1e-4)


def test_a_class_without_a_sample_keeps_the_temperature_and_is_named():
    logits, target = samples((25, 12, 0, 4))
    found = VectorScaling(COUNTS)
    with pytest.warns(
        UserWarning, match=r"no sample of class 'marl' \(index 2\): vector scaling learns nothing"
    ) as said:
        found.fit(logits, target)
    assert len(said) == 1
    assert said[0].filename == __file__
    temperature = TemperatureScaling(COUNTS).fit(logits, target).temperature
    torch.testing.assert_close(found(logits)[:, 2], logits[:, 2] / temperature)
    assert found.unseen == (2,)
    assert found.summary() == {"converged": True, "slope": found.slope, "unseen": ["marl"]}
    assert VectorScaling(COUNTS).summary() == {}


def test_says_when_it_has_not_converged():
    logits, target = samples()
    found = VectorScaling(COUNTS, max_steps=1)
    with pytest.warns(UserWarning, match="has not converged in 1 steps, a derivative is") as said:
        found.fit(logits, target)
    assert not found.converged
    assert found.slope > 1e-7
    assert said[0].filename == __file__


def test_input_of_any_kind_gives_the_same():
    logits, target = samples()
    wanted = VectorScaling(COUNTS).fit(logits, target)
    array = logits.numpy().astype(np.float64)
    array.setflags(write=False)
    for given in (array, array[::-1].copy()[::-1], array.tolist()):
        again = VectorScaling(COUNTS).fit(given, target.numpy())
        assert torch.equal(again.factor, wanted.factor)
        assert torch.equal(again.offset, wanted.offset)
    with torch.inference_mode():
        assert torch.equal(VectorScaling(COUNTS).fit(logits, target).factor, wanted.factor)
    half = logits.bfloat16()
    assert torch.equal(
        VectorScaling(COUNTS).fit(half, target).factor, VectorScaling(COUNTS).fit(half.float(), target).factor
    )


def test_a_class_that_is_left_out_stays_out():
    logits, target = samples()
    found = VectorScaling(COUNTS).fit(logits, target)
    for factor in (0.0, -1.0):
        found.factor[1] = factor
        masked = logits.clone()
        masked[:, 1] = -torch.inf
        assert torch.isneginf(found(masked)[:, 1]).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"penalty": -1}, "penalty must"), ({"max_steps": 0}, "max_steps must"), ({"scale": 0}, "scale must")],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        VectorScaling(COUNTS, **settings)


def test_one_class_alone_is_refused():
    logits, _ = samples()
    with pytest.raises(
        ValueError, match=re.escape("labels must be of at least 2 classes, got 'loess' (index 1) alone")
    ):
        VectorScaling(COUNTS).fit(logits, torch.ones(len(logits), dtype=torch.int64))


def test_settings_survive_the_disk(tmp_path):
    logits, target = samples()
    VectorScaling(COUNTS, penalty=0.5, max_steps=77, scale=2).fit(logits, target).save(tmp_path)
    again = VectorScaling.load(tmp_path)
    assert (again.penalty, again.max_steps, again.scale, again.converged) == (0.5, 77, 2, None)
