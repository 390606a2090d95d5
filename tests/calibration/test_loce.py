"""LOCE on the class level: the authors' loss, moving averages, memory and draws, a fit by hand, and refusals."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import reference
from lt_fast.calibration import EquilibriumTuning, equilibrium_loss, updated_mean_score
from lt_fast.calibration.descent import shuffled
from lt_fast.calibration.loce import FeatureMemory, weak_classes
from lt_fast.models.initialization import build

COUNTS = [24, 9, 3]
ROWS, WIDTH = sum(COUNTS), 4
SETTINGS = {"epochs": 6, "lr": 0.2, "batch_size": 10, "queue_size": 5, "seed": 4}


def problem():
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    draw = torch.Generator().manual_seed(0)
    centres = torch.tensor([[2.0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]])
    return (centres[labels] + 0.7 * torch.randn(ROWS, WIDTH, generator=draw)).double(), labels


@pytest.mark.parametrize("classes", [8, 1, 0])
def test_the_fit_equals_the_authors_code(classes):
    features, labels = problem()
    head = build(lambda: nn.Linear(WIDTH, 3), seed=1).double()
    found = EquilibriumTuning(COUNTS, classes_per_step=classes, **SETTINGS).fit(features, labels, head=head)
    orders = [shuffled(4)(epoch, ROWS).tolist() for epoch in range(6)]
    batches = [order[start : start + 10] for order in orders for start in range(0, ROWS, 10)]
    rates = [rate for rate in (0.2, 0.2, 0.2, 0.02, 0.02, 0.002) for _ in range(4)]
    weight, bias, scores = reference.loce_fit(
        features, labels, 3, head.weight.detach(), head.bias.detach(), batches, np.random.default_rng((4, 2)),
        rates=rates, queue_size=5, classes=classes, each=4, first=0.01, alpha=0.9, momentum=0.9, weight_decay=1e-4,
    )  # fmt: skip
    torch.testing.assert_close(found.weight, weight, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.bias, bias, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.mean_score, torch.tensor(scores, dtype=torch.float64), rtol=1e-9, atol=1e-12)
    assert not torch.allclose(found.weight, head.weight, atol=0.05)


def test_with_the_frequencies_as_strengths_it_is_balanced_softmax():
    logits, target = torch.randn(7, 3, generator=torch.Generator().manual_seed(2)), torch.tensor([0, 1, 2, 0, 0, 1, 2])
    found = equilibrium_loss(logits, target, torch.tensor(COUNTS) / ROWS)
    torch.testing.assert_close(found, reference.balanced_softmax_loss(logits, target, COUNTS).float())
    torch.testing.assert_close(equilibrium_loss(logits, target, torch.full((3,), 0.2)), F.cross_entropy(logits, target))


def test_a_class_without_an_image_keeps_its_strength():
    before, score = torch.tensor([0.01, 0.5, 0.3]), torch.tensor([0.2, 0.4, 0.6])
    after = updated_mean_score(before, score, torch.tensor([2, 0, 2]), 0.9)
    torch.testing.assert_close(after, torch.tensor([0.9 * 0.01 + 0.1 * 0.4, 0.5, 0.81 * 0.3 + 0.19 * 0.4]))


def test_weak_classes_are_drawn_by_one_over_their_strength():
    strengths = np.array([0.5, 0.1, 0.02, np.inf])
    drawn = np.bincount(weak_classes(strengths, 30_000, np.random.default_rng(0)), minlength=4)
    expected = 30_000 * np.array([2, 10, 50]) / 62
    assert drawn[3] == 0
    assert ((drawn[:3] - expected) ** 2 / expected).sum() < 13.8  # 2 degrees of freedom, p = 0.001


def test_the_memory_holds_the_latest_of_each_class():
    memory, generator = FeatureMemory(3, 2, torch.zeros(1, 1)), np.random.default_rng(0)
    features, labels = memory.draw(np.array([0, 1, 2]), 4, generator)
    assert (len(features), len(labels)) == (0, 0)
    for value in range(5):
        memory.add(torch.tensor([[float(value)], [10.0]]), torch.tensor([0, 2]))
    features, labels = memory.draw(np.array([0, 1, 2]), 40, generator)
    assert set(features[labels == 0].flatten().tolist()) == {3.0, 4.0}
    assert set(features[labels == 2].flatten().tolist()) == {10.0}
    assert 1 not in labels
    memory.add(torch.arange(5.0)[:, None], torch.ones(5, dtype=torch.int64))
    assert set(memory.draw(np.array([1]), 40, generator)[0].flatten().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(("counts", "labels"), [([3, 1], [0, 0, 0, 1]), ([2, 0, 1], [0, 0, 2]), ([1, 1], [1, 0])])
def test_few_images_and_a_class_without_any(counts, labels):
    features = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0))
    found = EquilibriumTuning(counts, epochs=2, batch_size=4, empty="ignore").fit(features, torch.tensor(labels))
    assert found.weight.isfinite().all()
    assert (found.mean_score[torch.tensor(counts) == 0] == 0.01).all()
    assert (found.mean_score[torch.tensor(counts) > 0] > 0.01).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"queue_size": 0}, "queue_size must be >= 1, got 0"),
        ({"classes_per_step": -1}, "classes_per_step must be >= 0, got -1"),
        ({"features_per_class": 0}, "features_per_class must be >= 1, got 0"),
        ({"first_score": 0.0}, r"first_score must lie in \(0, 1\], got 0.0"),
        ({"decay": math.nan}, r"decay must lie in \[0, 1\], got nan"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        EquilibriumTuning(COUNTS, **settings)
