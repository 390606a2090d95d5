"""Classifier retraining: a fit done by hand, starts, heads, class-balanced draws, files, every refusal."""

import json

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

from lt_fast import ClassCounts, models
from lt_fast.calibration import ClassifierRetraining
from lt_fast.calibration.descent import class_balanced
from lt_fast.errors import DataError
from lt_fast.models.initialization import build

COUNTS = [40, 12, 4]
ROWS, WIDTH = sum(COUNTS), 5


def problem(dtype=torch.float32):
    """Features of an imbalanced set, the rarer classes close to the first."""
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    draw = torch.Generator().manual_seed(0)
    centres = torch.tensor([[2.0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 1, 0, 0]])
    return (centres[labels] + 0.7 * torch.randn(ROWS, WIDTH, generator=draw)).to(dtype), labels


def linear(bias=True):
    return build(lambda: nn.Linear(WIDTH, 3, bias=bias), seed=1)


def cosine():
    return build(lambda: models.CosineHead(WIDTH, 3), seed=1)


def fitted(head=None, **options):
    features, labels = problem()
    return ClassifierRetraining(COUNTS, **{"epochs": 3, "batch_size": 16, **options}).fit(features, labels, head=head)


def by_hand(head, features, labels, order, *, epochs, lr, batch_size, momentum, weight_decay, scale):
    """Equals torch's own SGD on the head itself, one learning rate an epoch."""
    optimizer = torch.optim.SGD(head.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = lr * (1 + np.cos(np.pi * epoch / epochs)) / 2
        rows = torch.as_tensor(order(epoch, len(features)))
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            optimizer.zero_grad()
            F.cross_entropy(scale * head(features[chosen]), labels[chosen]).backward()
            optimizer.step()
    return head


@pytest.mark.parametrize("make", [linear, lambda: linear(bias=False), cosine], ids=["linear", "no bias", "cosine"])
def test_equals_training_the_head_alone(make):
    settings = {"epochs": 3, "lr": 0.1, "batch_size": 16, "momentum": 0.9, "weight_decay": 5e-4, "scale": 2.0}
    features, labels = problem()
    head = make()
    before = [parameter.clone() for parameter in head.parameters()]
    found = ClassifierRetraining(COUNTS, seed=4, **settings).fit(features, labels, head=head)
    assert all(torch.equal(one, two) for one, two in zip(before, head.parameters(), strict=True))
    trained = by_hand(make(), features, labels, class_balanced(labels.numpy(), 4), **settings)
    with torch.no_grad():
        torch.testing.assert_close(found.transform(features), 2.0 * trained(features), rtol=1e-4, atol=1e-4)
    assert (found.bias is None) == (getattr(head, "bias", None) is None)
    assert len(found.losses) == 3


def test_draws_are_class_balanced_and_keyed_by_epoch():
    labels = problem()[1].numpy()
    order = class_balanced(labels, 7)
    drawn = np.concatenate([order(epoch, 1000) for epoch in range(20)])
    found = np.bincount(labels[drawn], minlength=3)
    assert stats.chisquare(found).pvalue > 1e-4
    for label in range(3):
        rows = np.bincount(drawn, minlength=ROWS)[labels == label]
        assert stats.chisquare(rows).pvalue > 1e-4
    np.testing.assert_array_equal(order(3, 50), class_balanced(labels, 7)(3, 50))
    assert not np.array_equal(order(3, 50), order(4, 50))
    assert not np.array_equal(order(3, 50), class_balanced(labels, 8)(3, 50))


def test_it_helps_the_rare_classes():
    features, labels = problem()
    biased = by_hand(
        linear(), features, labels, lambda epoch, n: np.random.default_rng(epoch).permutation(n),
        epochs=60, lr=0.05, batch_size=16, momentum=0.9, weight_decay=5e-4, scale=1.0,
    )  # fmt: skip

    def recalls(logits):
        right = logits.argmax(1) == labels
        return [float(right[labels == label].float().mean()) for label in range(3)]

    with torch.no_grad():
        before = recalls(biased(features))
    after = recalls(fitted(biased, epochs=20, lr=0.05).transform(features))
    assert np.mean(after) > np.mean(before)
    assert after[2] > before[2]


def test_a_fresh_start_forgets_the_head():
    one, two = fitted(linear(), start="fresh"), fitted(build(lambda: nn.Linear(WIDTH, 3), seed=9), start="fresh")
    assert torch.equal(one.weight, two.weight)
    assert not torch.equal(one.weight, fitted(linear(), start="fresh", seed=1).weight)
    assert not torch.equal(one.weight, fitted(linear()).weight)
    assert fitted(cosine(), start="fresh").cosine
    assert not fitted().cosine


def test_an_order_of_one_s_own():
    found = fitted(linear(), order=lambda _, n: np.zeros(n, np.int64), epochs=1)
    assert found.transform(problem()[0])[0].argmax() == 0
    for wrong in ([0], [ROWS] * ROWS, [-1] * ROWS, [0.5] * ROWS):
        with pytest.raises(ValueError, match=r"order must return 56 rows in \[0, 56\), got \d+ entries in epoch 0"):
            fitted(linear(), order=lambda *_, wrong=wrong: wrong)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_apply_puts_the_weights_into_a_copy(scale):
    model = nn.Sequential(nn.Identity(), linear())
    calibrator = fitted(model[1], scale=scale)
    features = problem()[0]
    with torch.no_grad():
        torch.testing.assert_close(calibrator.apply(model, head="1")(features), calibrator.transform(features))
    with pytest.raises(ValueError, match=r"model must have bias None in '1', as was fitted, got \(3,\)"):
        fitted(linear(bias=False)).apply(model, head="1")
    with pytest.raises(ValueError, match=r"model must have weight \(3, 5\) in '0', as was fitted, got None"):
        calibrator.apply(model, head="0")
    with pytest.raises(ValueError, match="head must name a module of Sequential, got 'head'"):
        calibrator.apply(model)


@pytest.mark.parametrize("make", [linear, lambda: linear(bias=False), cosine])
def test_it_survives_the_disk(tmp_path, make):
    calibrator = fitted(make(), scale=2.0, start="trained", seed=3)
    calibrator.save(tmp_path)
    loaded = ClassifierRetraining.load(tmp_path)
    features = problem()[0]
    assert torch.equal(loaded.transform(features), calibrator.transform(features))
    assert (loaded.losses, loaded.seed, loaded.cosine) == (calibrator.losses, 3, calibrator.cosine)
    assert repr(loaded) == "ClassifierRetraining(num_classes=3, start='trained', epochs=3, fitted)"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"method": "margin"}, "must hold a 'retraining' calibrator, got 'margin'"),
        ({"counts": [1, 2]}, r"must hold 'weight' of 2 classes, got shape \(3, 5\)"),
        ({"counts": None}, "must hold a retraining calibrator, got wrong settings"),
        ({"epochs": 0}, "got wrong settings: epochs must be >= 1, got 0"),
        ({"speed": 3}, "got wrong settings"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, change, text):
    fitted(linear()).save(tmp_path)
    file = tmp_path / "calibrator.json"
    settings = json.loads(file.read_text()) | change
    if "counts" in change:
        settings["names"] = None
    file.write_text(json.dumps(settings))
    with pytest.raises(DataError, match=text):
        ClassifierRetraining.load(tmp_path)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"start": "best"}, ValueError, "start must be one of trained, fresh, got 'best'"),
        ({"epochs": 0}, ValueError, "epochs must be >= 1, got 0"),
        ({"epochs": 2.5}, TypeError, r"epochs must be an integer, got 2\.5"),
        ({"lr": 0.0}, ValueError, r"lr must be finite and > 0, got 0\.0"),
        ({"momentum": 1.0}, ValueError, r"momentum must lie in \[0, 1\), got 1\.0"),
        ({"weight_decay": -1.0}, ValueError, r"weight_decay must be finite and >= 0, got -1\.0"),
        ({"scale": float("nan")}, ValueError, "scale must be finite and > 0, got nan"),
        ({"seed": 2**64}, ValueError, r"seed must lie in \[0, 2\*\*64\), got 18446744073709551616"),
        ({"epochs": 10**18}, ValueError, "epochs must be <= 1000000, got 1000000000000000000"),
        ({"lr": 1e300}, FloatingPointError, "calibration diverged: the loss of epoch 0 is nan; lower lr"),
        ({"lr": 1e30}, ValueError, "calibration diverged: the loss of epoch 0 is nan; lower lr"),
    ],
)
def test_wrong_settings(options, error, text):
    with pytest.raises(error, match=text):
        fitted(linear(), **options)


def test_wrong_heads():
    with pytest.raises(ValueError, match=r"head must have a weight of shape \(3, 5\) for these features, got \(4, 5\)"):
        fitted(build(lambda: nn.Linear(WIDTH, 4), seed=0))
    with pytest.raises(ValueError, match=r"head must have a weight of shape \(3, 5\) for these features, got None"):
        fitted(nn.Identity())

    class Squared(nn.Linear):
        def forward(self, x):
            return super().forward(x) ** 2

    with pytest.raises(ValueError, match="head must be linear or cosine, got Squared, whose output is neither"):
        fitted(build(lambda: Squared(WIDTH, 3), seed=0))


def test_empty_classes():
    with pytest.raises(ValueError, match="got 0 for class '1'"):
        ClassifierRetraining([3, 0, 2])
    features, labels = problem()
    kept = labels != 1
    counts = ClassCounts([40, 0, 4])
    found = ClassifierRetraining(counts, empty="ignore").fit(features[kept], labels[kept], head=linear())
    assert torch.isfinite(found.transform(features)).all()
