"""LWS, DisAlign and label-aware smoothing: formulas, fits done by hand, views, files, every refusal."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import reference
from lt_fast import ClassCounts, models
from lt_fast.calibration import (
    ClassifierRetraining,
    DisAlign,
    LabelAwareSmoothing,
    LearnableWeightScaling,
    MarginCalibration,
    aligned_logits,
    class_smoothing,
    generalized_reweighting,
    label_aware_smoothing_loss,
)
from lt_fast.calibration.descent import class_balanced, shuffled
from lt_fast.errors import DataError
from lt_fast.models.initialization import build

COUNTS = [40, 12, 4]
ROWS, WIDTH = sum(COUNTS), 5
SETTINGS = {"epochs": 3, "lr": 0.1, "batch_size": 16, "momentum": 0.9, "weight_decay": 5e-4, "scale": 2.0, "seed": 4}
KINDS = [LearnableWeightScaling, DisAlign, LabelAwareSmoothing]


def problem(dtype=torch.float64):
    """Features of an imbalanced set, the rarer classes close to the first."""
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    draw = torch.Generator().manual_seed(0)
    centres = torch.tensor([[2.0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 1, 0, 0]])
    return (centres[labels] + 0.7 * torch.randn(ROWS, WIDTH, generator=draw)).to(dtype), labels


def linear(bias=True):
    return build(lambda: nn.Linear(WIDTH, 3, bias=bias), seed=1).double()


def cosine():
    return build(lambda: models.CosineHead(WIDTH, 3), seed=1).double()


HEADS = pytest.mark.parametrize(
    "make", [linear, lambda: linear(bias=False), cosine], ids=["linear", "no bias", "cosine"]
)


def rates():
    return [
        SETTINGS["lr"] * (1 + np.cos(np.pi * epoch / SETTINGS["epochs"])) / 2 for epoch in range(SETTINGS["epochs"])
    ]


def batches(order):
    size = SETTINGS["batch_size"]
    drawn = [np.asarray(order(epoch, ROWS)) for epoch in range(SETTINGS["epochs"])]
    return [[rows[start : start + size] for start in range(0, ROWS, size)] for rows in drawn]


def descended(parameters, loss_of, order, factors=None):
    """Equals torch's own SGD, one learning rate an epoch."""
    factors = factors or [1.0] * len(parameters)
    optimizer = torch.optim.SGD(
        [{"params": [each], "lr": 0.0} for each in parameters],
        momentum=SETTINGS["momentum"], weight_decay=SETTINGS["weight_decay"],
    )  # fmt: skip
    for rate, epoch in zip(rates(), batches(order), strict=True):
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = rate * factor
        for rows in epoch:
            optimizer.zero_grad()
            loss_of(torch.as_tensor(rows)).backward()
            optimizer.step()


@HEADS
def test_lws_equals_descent_by_hand(make):
    features, labels = problem()
    head = make()
    found = LearnableWeightScaling(COUNTS, **SETTINGS).fit(features, labels, head=head)
    with torch.no_grad():
        logits = head(features)
    expected = reference.scaled_logits_fit(
        logits, labels, rates=rates(), batches=batches(class_balanced(labels.numpy(), 4)),
        momentum=0.9, weight_decay=5e-4, scale=2.0,
    )  # fmt: skip
    np.testing.assert_allclose(found.factor, expected, rtol=1e-9)
    torch.testing.assert_close(found.transform(logits), 2.0 * torch.tensor(expected, dtype=torch.float64) * logits)
    assert len(found.losses) == 3


def test_a_left_out_class_stays_so():
    found = LearnableWeightScaling(COUNTS, **SETTINGS)
    found.factor = torch.tensor([-1.0, 0.0, 2.0])
    assert found.transform(torch.tensor([[-torch.inf] * 3])).tolist() == [[-torch.inf] * 3]


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31))
def test_aligned_logits_equal_the_paper(rows, classes, seed):
    draw = torch.Generator().manual_seed(seed)
    logits, confidence, alpha, beta = (
        3 * torch.randn(*shape, dtype=torch.float64, generator=draw)
        for shape in ((rows, classes), (rows,), (classes,), (classes,))
    )
    got = aligned_logits(logits, confidence, alpha - 1, beta)
    torch.testing.assert_close(got, reference.aligned_logits(logits, confidence, alpha, beta))


@HEADS
@pytest.mark.parametrize(("first", "normalization"), [(1.0, "weights"), (0.0, "batch")])
def test_disalign_equals_descent_by_hand(make, first, normalization):
    features, labels = problem()
    head = make()
    found = DisAlign(COUNTS, first_scale=first, normalization=normalization, **SETTINGS).fit(
        features, labels, head=head
    )
    scale = torch.full((3,), first, dtype=torch.float64, requires_grad=True)
    offset = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    confidence = build(lambda: nn.Linear(WIDTH, 1), seed=0).double()
    nn.init.constant_(confidence.weight, 0.1)
    start = DisAlign(COUNTS, seed=4)._beginning(features)["confidence_bias"]
    assert abs(float(start)) < WIDTH**-0.5
    with torch.no_grad():
        confidence.bias.copy_(start)
        logits = 2.0 * head(features)
    weight = torch.from_numpy(generalized_reweighting(COUNTS, 1.2))

    def aligned(rows):
        sure = confidence(features[rows]).sigmoid()
        return (1 + sure * scale) * logits[rows] + sure * offset

    def loss_of(rows):
        kind = {} if normalization == "weights" else {"reduction": "none"}
        loss = F.cross_entropy(aligned(rows), labels[rows], weight, **kind)
        return loss if normalization == "weights" else loss.mean()

    descended([scale, offset, *confidence.parameters()], loss_of, shuffled(4))
    with torch.no_grad():
        torch.testing.assert_close(found.transform(features), aligned(torch.arange(ROWS)), rtol=1e-9, atol=1e-9)


def test_disalign_may_leave_the_classifier_as_it_is():
    features, labels = problem()
    head = linear()
    found = DisAlign(COUNTS, first_scale=0.0, lr=1e-30, epochs=1).fit(features, labels, head=head)
    with torch.no_grad():
        torch.testing.assert_close(found.transform(features), head(features))


def test_golden_smoothing():
    counts = [500, 250, 100, 50, 5]
    golden = [0.4, 0.310442466, 0.189076113, 0.142694451, 0.1]
    np.testing.assert_allclose(class_smoothing(counts, 0.4, 0.1), golden, atol=5e-10)
    assert class_smoothing([7, 7], 0.4, 0.1).tolist() == [0.1, 0.1]
    assert class_smoothing([9, 0, 3], 0.3, 0.0).tolist() == pytest.approx([0.3, 0.0, 0.0])


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=9, unique=True), st.integers(0, 2**31))
def test_label_aware_smoothing_equals_the_reference(counts, seed):
    smoothing = class_smoothing(counts, 0.4, 0.1)
    np.testing.assert_allclose(smoothing, reference.class_smoothing(counts, 0.4, 0.1), atol=1e-12)
    draw = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(6, len(counts), dtype=torch.float64, generator=draw)
    labels = torch.randint(len(counts), (6,), generator=draw)
    got = label_aware_smoothing_loss(logits, labels, torch.from_numpy(smoothing))
    assert got.item() == pytest.approx(reference.label_aware_smoothing_loss(logits, labels, smoothing.tolist()))
    plain = label_aware_smoothing_loss(logits, labels, torch.full((len(counts),), 0.3).double())
    assert plain.item() == pytest.approx(F.cross_entropy(logits, labels, label_smoothing=0.3).item(), rel=1e-6)


@HEADS
def test_label_aware_smoothing_equals_training_head_and_factors(make):
    features, labels = problem()
    head, factor = make(), torch.ones(3, dtype=torch.float64, requires_grad=True)
    before = [parameter.clone() for parameter in head.parameters()]
    found = LabelAwareSmoothing(COUNTS, smooth_head=0.3, head_lr_factor=0.5, **SETTINGS)
    found.fit(features, labels, head=head)
    assert all(torch.equal(one, two) for one, two in zip(before, head.parameters(), strict=True))
    smoothing = torch.from_numpy(class_smoothing(COUNTS, 0.3, 0.1))

    def loss_of(rows):
        return label_aware_smoothing_loss(2.0 * factor * head(features[rows]), labels[rows], smoothing)

    parameters = list(head.parameters())
    factors = [0.5] * len(parameters) + [1.0]
    descended([*parameters, factor], loss_of, class_balanced(labels.numpy(), 4), factors)
    with torch.no_grad():
        torch.testing.assert_close(found.transform(features), 2.0 * factor * head(features), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_it_helps_the_rare_classes(kind):
    features, labels = problem()
    head = linear()
    plainly = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
    for _ in range(200):
        plainly.zero_grad()
        F.cross_entropy(head(features), labels).backward()
        plainly.step()
    with torch.no_grad():
        before = head(features)
    found = kind(COUNTS, epochs=30, lr=0.1, batch_size=16).fit(features, labels, head=head)
    after = found.transform(before if found.transforms == "logits" else features)

    def mean_recall(logits):
        right = logits.argmax(1) == labels
        return np.mean([right[labels == label].float().mean() for label in range(3)])

    assert mean_recall(after) > mean_recall(before)


@pytest.mark.parametrize("kind", [*KINDS, MarginCalibration, ClassifierRetraining])
def test_views_are_read_one_an_epoch(kind):
    features, labels = problem()
    head, options = linear(), {"epochs": 2, "batch_size": 16}
    views = [features, features.flip(1)]
    both = kind(COUNTS, views=2, **options).fit(torch.cat(views), labels.repeat(2), head=head)
    given = head(features).detach() if both.transforms == "logits" else features
    same = kind(COUNTS, views=2, **options).fit(features.repeat(2, 1), labels.repeat(2), head=head)
    plain = kind(COUNTS, **options).fit(features, labels, head=head)
    assert torch.equal(same.transform(given), plain.transform(given))
    assert not torch.equal(both.transform(given), plain.transform(given))
    assert both.losses[0] == plain.losses[0]
    assert both.losses[1] != plain.losses[1]
    with pytest.raises(ValueError, match=r"labels must repeat view by view for views=2, got 56 that do not"):
        kind(COUNTS, views=2, **options).fit(features, labels, head=head)
    with pytest.raises(ValueError, match="views must be >= 0, got -1"):
        kind(COUNTS, views=-1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1.0, 3.0])
@HEADS
def test_a_calibrated_model_equals_transform_and_survives_the_disk(kind, scale, make, tmp_path):
    features, labels = problem()
    model = nn.Sequential(nn.Identity(), make())
    calibrator = kind(ClassCounts(COUNTS, names=["peat", "loess", "marl"]), scale=scale, epochs=2, views=0, seed=3)
    calibrator.fit(features, labels, head=model[1])
    with torch.no_grad():
        given = model(features) if calibrator.transforms == "logits" else features
        wanted = calibrator.transform(given)
        calibrated = calibrator.apply(model, head="1")
        torch.testing.assert_close(calibrated(features), wanted)
    assert calibrated.get_submodule("1").weight.shape == (3, WIDTH)
    assert calibrated.get_submodule("1").weight_norm().shape == (3,)
    calibrator.save(tmp_path)
    loaded = kind.load(tmp_path)
    assert torch.equal(loaded.transform(given), wanted)
    assert (loaded.losses, loaded.counts.names) == (calibrator.losses, calibrator.counts.names)
    assert loaded._settings() == calibrator._settings()
    assert repr(loaded) == f"{kind.__name__}(num_classes=3, epochs=2, fitted)"
    assert repr(kind(COUNTS)).endswith("not fitted)")
    with pytest.raises(ValueError, match="head must name a module of Sequential, got 'head'"):
        calibrator.apply(model)


@pytest.mark.parametrize("kind", [DisAlign, LabelAwareSmoothing])
def test_another_head_is_refused(kind):
    features, labels = problem()
    calibrator = kind(COUNTS, epochs=1).fit(features, labels, head=linear())
    with pytest.raises(ValueError, match=r"model must have weight \(3, 5\) in '0', as was fitted, got \(3, 7\)"):
        calibrator.apply(nn.Sequential(build(lambda: nn.Linear(7, 3), seed=0)), head="0")
    with pytest.raises(ValueError, match=r"head must have a weight of shape \(3, 5\) for these features, got \(4, 5\)"):
        kind(COUNTS).fit(features, labels, head=build(lambda: nn.Linear(WIDTH, 4), seed=0))


def test_logits_without_a_head():
    features, labels = problem()
    with pytest.raises(
        ValueError, match=r"logits must have one column a class \(3\), got 5; features need head=model.head"
    ):
        DisAlign(COUNTS).fit(features, labels)
    for kind in (DisAlign, LearnableWeightScaling):
        with pytest.raises(ValueError, match="logits must be what the softmax takes"):
            kind(COUNTS).fit(features[:, :3].softmax(1), labels)
    assert LabelAwareSmoothing(COUNTS).fit(features, labels).weight.shape == (3, WIDTH)


@pytest.mark.parametrize(
    ("kind", "change", "text"),
    [
        (LearnableWeightScaling, {"method": "margin"}, "must hold a 'lws' calibrator, got 'margin'"),
        (
            LearnableWeightScaling,
            {"counts": [1, 2], "names": None},
            r"must hold 'factor' of 2 classes, got shape \(3,\)",
        ),
        (
            DisAlign,
            {"gamma": -1.0},
            "must hold a disalign calibrator, got wrong settings: gamma must be finite and >= 0",
        ),
        (LabelAwareSmoothing, {"speed": 3}, "must hold a label_aware_smoothing calibrator, got wrong settings"),
    ],
)
def test_a_damaged_file_is_named(kind, change, text, tmp_path):
    features, labels = problem()
    kind(COUNTS, epochs=1).fit(features, labels, head=linear()).save(tmp_path)
    file = tmp_path / "calibrator.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(DataError, match=text):
        kind.load(tmp_path)


@pytest.mark.parametrize(
    ("kind", "options", "error", "text"),
    [
        (LearnableWeightScaling, {"epochs": 0}, ValueError, "epochs must be >= 1, got 0"),
        (
            LearnableWeightScaling,
            {"lr": 1e308, "batch_size": 4},
            FloatingPointError,
            r"calibration diverged: the loss of epoch \d is nan",
        ),
        (DisAlign, {"gamma": -1.0}, ValueError, r"gamma must be finite and >= 0, got -1\.0"),
        (DisAlign, {"first_scale": -1.0}, ValueError, r"first_scale must be finite and >= 0, got -1\.0"),
        (DisAlign, {"normalization": "wights"}, ValueError, "got 'wights'; did you mean 'weights'"),
        (LabelAwareSmoothing, {"smooth_head": 1.0}, ValueError, r"smooth_head must lie in \[0, 1\), got 1\.0"),
        (LabelAwareSmoothing, {"smooth_tail": -0.1}, ValueError, r"smooth_tail must lie in \[0, 1\), got -0\.1"),
        (LabelAwareSmoothing, {"head_lr_factor": -1}, ValueError, "head_lr_factor must be finite and >= 0, got -1"),
        (LabelAwareSmoothing, {"shift_epochs": 1.5}, TypeError, r"shift_epochs must be an integer, got 1\.5"),
    ],
)
def test_wrong_settings(kind, options, error, text):
    with pytest.raises(error, match=text):
        kind(COUNTS, **{"epochs": 2, **options}).fit(*problem(), head=linear())


@pytest.mark.parametrize("kind", KINDS)
def test_empty_classes(kind):
    with pytest.raises(ValueError, match="got 0 for class '1'"):
        kind([3, 0, 2])
    features, labels = problem()
    kept = labels != 1
    found = kind(ClassCounts([40, 0, 4]), empty="ignore", epochs=1).fit(features[kept], labels[kept], head=linear())
    given = linear()(features).detach() if found.transforms == "logits" else features
    assert torch.isfinite(found.transform(given)).all()
