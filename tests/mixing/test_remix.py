"""Remix: the three cases of its rule, its limits, and every refusal."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference
from losses.calls import loss_of
from lt_fast.losses import CrossEntropyLoss
from lt_fast.mixing import Remix, remix, remix_label_weight

COUNTS = [500, 120, 40, 9, 1]


@pytest.mark.parametrize(
    ("lam", "n_a", "n_b", "expected"),
    [
        (0.4, 300, 100, 0.0),  # three times as large, less than half of the image: the minority takes the label
        (0.5, 300, 100, 0.5),  # strictly less than half
        (0.4, 299, 100, 0.4),  # not three times as large
        (0.7, 100, 300, 1.0),  # the first is the minority and the other image less than half
        (0.4, 100, 300, 0.4),
        (0.4, 100, 100, 0.4),
    ],
)
def test_the_three_cases(lam, n_a, n_b, expected):
    assert remix_label_weight(lam, n_a, n_b).item() == expected


@given(
    lam=st.floats(0, 1),
    n_a=st.integers(1, 10**6),
    n_b=st.integers(1, 10**6),
    kappa=st.floats(1, 50),
    tau=st.floats(0, 1),
)
def test_equals_the_papers_rule_and_lies_in_0_to_1(lam, n_a, n_b, kappa, tau):
    weight = remix_label_weight(lam, n_a, n_b, kappa, tau).item()
    assert 0 <= weight <= 1
    near = min(abs(n_a - kappa * n_b) / n_a, abs(n_b - kappa * n_a) / n_b)
    if near > 1e-9:  # where quotient and product round to either side of each other both are right
        assert weight == reference.remix_label_factor(lam, n_a, n_b, kappa, tau)


@given(lam=st.floats(0, 1), n_a=st.integers(1, 10**6), n_b=st.integers(1, 10**6), tau=st.floats(0, 1))
def test_swapping_the_images_gives_the_complement(lam, n_a, n_b, tau):
    straight, swapped = remix_label_weight(lam, n_a, n_b, 3.0, tau), remix_label_weight(1 - lam, n_b, n_a, 3.0, tau)
    if min(abs(lam - tau), abs(1 - lam - tau)) > 1e-9:
        assert swapped.item() == pytest.approx(1 - straight.item(), abs=1e-12)


def test_without_a_threshold_it_is_mixup():
    lam = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert torch.equal(remix_label_weight(lam, 5000, 50, 3.0, 0.0), lam)


def test_a_batch_with_another_kappa_goes_through_a_loss_by_its_label_weight():
    target = torch.tensor([0, 4, 2, 2, 1, 3, 0, 0, 1])
    mix = remix(target, COUNTS, kappa=1.5, tau=0.9, per_sample=True, seed=3)
    partner = target[mix.partner]
    logits = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss = loss_of(CrossEntropyLoss, logits, target, COUNTS, target_b=partner, lam=mix.lam_label, reduction="none")
    expected = [
        reference.remix_label_factor(float(lam), COUNTS[a], COUNTS[b], 1.5, 0.9)
        for lam, a, b in zip(mix.lam_input, target, partner, strict=True)
    ]
    assert set(expected) & {0.0, 1.0}
    by_rule = reference.cross_entropy_loss(
        logits, target, COUNTS, target_b=partner, lam=torch.tensor(expected), reduction="none"
    )
    np.testing.assert_allclose(loss, by_rule, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kappa": 0.25}, r"kappa must be finite and >= 1, got 0\.25; did you mean 4\? \(larger over smaller class\)"),
        ({"kappa": -1.0}, r"kappa must be finite and >= 1, got -1\.0$"),
        ({"kappa": math.inf}, "kappa must be finite and >= 1, got inf"),
        ({"tau": 1.5}, r"tau must lie in \[0, 1\], got 1\.5"),
        ({"tau": math.nan}, r"tau must lie in \[0, 1\], got nan"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    for call in (lambda: Remix(COUNTS, **settings), lambda: remix_label_weight(0.5, 1, 1, **settings)):
        with pytest.raises(ValueError, match=message):
            call()


def test_wrong_values_are_named():
    with pytest.raises(ValueError, match=r"lam must be in \[0, 1\], got 1\.5"):
        remix_label_weight(1.5, 2, 3)
    with pytest.raises(ValueError, match="n_b must be > 0, got 0; a class without samples"):
        remix_label_weight(0.5, 2, 0)
    with pytest.raises(ValueError, match=r"target_a must lie in \[0, 5\), got 5 at position 1"):
        remix(torch.tensor([0, 5]), COUNTS)
    with pytest.raises(ValueError, match="class_counts must be >= 1 in every class, got 0 for class '1'"):
        Remix([5, 0, 3])
    kept = Remix([5, 0, 3], empty="ignore")
    assert kept.label_weight(torch.tensor([0.3]), torch.tensor([0]), torch.tensor([1])) == 0
