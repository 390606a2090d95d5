"""Second stages of several experts: their formulas, files, use in a run and without one, and every refusal."""

import copy

import numpy as np
import pytest
import torch

import lt_fast
import reference
from lt_fast import ClassCounts, experiment, models
from lt_fast.calibration import (
    CALIBRATORS,
    ClassifierRetraining,
    ExpertAggregation,
    ExpertAssignment,
    LearnableWeightScaling,
    collect,
    prediction_stability,
)
from lt_fast.calibration.expert_assignment import Router, routed_logits
from lt_fast.errors import DataError, UsageError
from lt_fast.experiment.build import build, load_data
from lt_fast.experiment.calibrating import calibrate_run

COUNTS = ClassCounts([24, 10, 6])
LABELS = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS.counts))
every = pytest.mark.parametrize("name", ["expert_assignment", "test_time_aggregation"])
every_head = pytest.mark.parametrize("head", ["linear", "cosine"])


def images(seed=5):
    return torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) + LABELS.view(-1, 1, 1, 1)


def network(head="linear"):
    return models.digits_net(3, head=head, experts=3, seed=1).eval()


def fitted(name, head="linear", **options):
    model = network(head)
    features = collect(model, [(images(), LABELS)]).features
    if name == "test_time_aggregation":
        options = {"views": 2, **options}
        given = torch.cat([features, collect(model, [(images(6), LABELS)]).features])
        return CALIBRATORS[name](COUNTS, scale=5.0, **options).fit(given, head=model.head), model, features
    calibrator = CALIBRATORS[name](COUNTS, scale=5.0, **options)
    return calibrator.fit(features, LABELS, head=model.head), model, features


@every
@every_head
def test_apply_is_transform_after_the_model(name, head):
    calibrator, model, features = fitted(name, head)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        out = calibrator.apply(model).eval()(images())
    torch.testing.assert_close(out, calibrator.transform(features), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert calibrator.transform(features[:0]).shape == (0, 3)


@every
def test_files_and_repetition(name, tmp_path):
    calibrator, _, features = fitted(name)
    calibrator.save(tmp_path)
    loaded = CALIBRATORS[name].load(tmp_path)
    assert torch.equal(loaded.transform(features), calibrator.transform(features))
    assert torch.equal(fitted(name)[0].transform(features), calibrator.transform(features))
    assert loaded.losses == calibrator.losses
    (tmp_path / "calibrator.json").unlink()
    with pytest.raises(DataError, match="must exist"):
        CALIBRATORS[name].load(tmp_path)


@every
def test_what_no_such_calibrator_can_use(name):
    calibrator, model, features = fitted(name)
    make = CALIBRATORS[name]
    views = 10 if name == "test_time_aggregation" else 1
    given, labels = features.repeat(views, 1), LABELS.repeat(views)
    with pytest.raises(
        ValueError, match=r"head must be that of several experts, got Linear; train with --set model.ex"
    ):
        make(COUNTS).fit(given, labels, head=models.digits_net(3).head)
    with pytest.raises(ValueError, match=r"head must be that of several experts, got None"):
        make(COUNTS).fit(given, labels)
    with pytest.raises(DataError, match="features must be finite, got NaN or infinity in row 7"):
        make(COUNTS).fit(given.index_fill(0, torch.tensor([7]), torch.nan), labels, head=model.head)
    with pytest.raises(ValueError, match="features must have 192 columns, as head takes, got 64"):
        make(COUNTS).fit(given[:, :64], labels, head=model.head)
    with pytest.raises(ValueError, match=r"features must have shape \(N, 192\), got \(40, 2\)"):
        calibrator.transform(features[:, :2])
    with pytest.raises(RuntimeError, match="must be fitted before transform"):
        make(COUNTS).transform(features)
    with pytest.raises(ValueError, match="head must be that of several experts, got Linear"):
        calibrator.apply(models.digits_net(3))
    words = make.__doc__
    assert all(section in words for section in ("Args:", "Raises:", "Source:", "Differs from"))


def test_the_router_is_the_papers():
    draw = torch.Generator().manual_seed(3)
    features = torch.randn((9, 3, 4), generator=draw, dtype=torch.float64)
    logits = 3 * torch.randn((9, 3, 5), generator=draw, dtype=torch.float64)
    target = torch.randint(5, (9,), generator=draw)
    shapes = ((2, 6, 4), (2, 6), (2 + 6,), (1,))
    router = Router(*(torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes))
    hidden = list(zip(router.hidden_weight, router.hidden_bias, strict=True))
    plain = (hidden, router.output_weight, router.output_bias[0])
    loss, answers, used = reference.expert_assignment(plain, features, logits, target, top=2, positive_weight=7.0)
    calibrator = ExpertAssignment([5, 4, 3, 2, 1], positive_weight=7.0)
    found = calibrator._loss(router, features.flatten(1), logits, target)
    torch.testing.assert_close(found, loss)
    routed, number = routed_logits(router, features.flatten(1), logits)
    torch.testing.assert_close(routed, answers)
    assert number.tolist() == used
    assert len(set(used)) > 1


def test_early_exit_computes_what_transform_says():
    calibrator, model, features = fitted("expert_assignment", positive_weight=1.0)
    calibrator.output_bias = calibrator.output_bias * 0
    expected, used = calibrator.transform(features), calibrator.used
    calls = []
    for number, expert in enumerate(model.experts):
        expert.register_forward_hook(lambda _, given, __, number=number: calls.append((number, len(given[0]))))
    logits, number = calibrator.predict(model, images())
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(torch.bincount(number - 1, minlength=3), used)
    assert dict(calls) == {e: int((number > e).sum()) for e in range(3)}
    told = calibrator.summary()
    assert told["mean_experts"] == pytest.approx(float(number.float().mean()))
    assert sum(told["share_by_experts"]) == pytest.approx(1)


def test_stability_is_the_papers_and_its_weights_grow_with_it():
    draw = torch.Generator().manual_seed(1)
    first = torch.randn((60, 3, 5), generator=draw, dtype=torch.float64)
    second = first + torch.tensor([0.01, 2.0, 2.0])[None, :, None] * torch.randn(first.shape, generator=draw)
    share = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    found = prediction_stability(first, second, share)
    torch.testing.assert_close(found, reference.prediction_stability(first, second, share))
    steady = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    assert prediction_stability(first, second, steady) > found


def test_labels_play_no_part():
    calibrator, model, features = fitted("test_time_aggregation")
    given = torch.cat([features, collect(model, [(images(6), LABELS)]).features])
    again = ExpertAggregation(COUNTS, scale=5.0, views=2).fit(given, "nonsense", head=model.head)
    assert torch.equal(again.share, calibrator.share)
    assert calibrator.share.sum() == pytest.approx(1)
    stopped = ExpertAggregation(COUNTS, scale=5.0, views=2, smallest=0.9).fit(given, head=model.head)
    assert len(stopped.losses) == 1
    with pytest.raises(ValueError, match="views must be even, got 3: each epoch compares two; give views=4"):
        ExpertAggregation(COUNTS, views=3)
    with pytest.raises(ValueError, match="features must have as many rows for each of 2 views, got 79"):
        ExpertAggregation(COUNTS, views=2).fit(given[:79], head=model.head)


@every_head
@pytest.mark.parametrize("make", [ClassifierRetraining, LearnableWeightScaling])
def test_other_second_stages_take_the_mean_of_the_experts(make, head):
    model = network(head)
    features, logits, _ = collect(model, [(images(), LABELS)])
    calibrator = make(COUNTS).fit(features, LABELS, head=model.head)
    given = features if calibrator.transforms == "features" else logits
    with torch.no_grad():
        out = calibrator.apply(model).eval()(images())
    torch.testing.assert_close(out, calibrator.transform(given), rtol=1e-4, atol=1e-4)


def test_a_run_with_a_router_says_what_it_costs(tmp_path):
    config = experiment.resolve("ride", "digits-lt", {"epochs": 1, "calibrator": "expert_assignment"}, seed=5)
    result = experiment.run(config, tmp_path / "run", progress=False)
    assert 1 <= result["calibration"]["mean_experts"] <= 3
    found = lt_fast.load(tmp_path / "run").predict(load_data(config).test.images).probabilities.argmax(1)
    assert (found == load_data(config).test.labels).mean() == pytest.approx(result["metrics"]["top1"])
    assert experiment.evaluate_run(tmp_path / "run")["metrics"] == result["metrics"]


def test_aggregation_for_a_finished_run_says_that_it_reads_the_test_images(tmp_path):
    config = experiment.resolve("sade", "digits-lt", {"epochs": 1}, seed=5)
    experiment.run(config, tmp_path / "run", progress=False)
    with pytest.warns(UserWarning, match="test_time_aggregation reads the test images, without their labels"):
        found = calibrate_run(tmp_path / "run", "test_time_aggregation", options={"views": 4})
    assert found["fitted_on"] == "unlabelled test"
    np.testing.assert_allclose(sum(found["summary"]["expert_weights"]), 1, rtol=1e-6)


def test_a_network_without_experts_is_refused_before_the_training():
    config = experiment.resolve("ce", "digits-lt", {"calibrator": "expert_assignment"}, seed=5)
    with pytest.raises(UsageError, match="head must be that of several experts, got Linear; train with"):
        build(config, load_data(config))
    config = experiment.resolve("ce", "digits-lt", {"loss": "sade"}, seed=5)
    with pytest.raises(UsageError, match="model must have 3 experts for the loss SADELoss, got 1; train with"):
        build(config, load_data(config))
    config = experiment.resolve("sade", "digits-lt", {"model.experts": 4, "mixer": "remix"}, seed=5)
    with pytest.raises(UsageError, match="model must have 3 experts for the loss SADELoss, got 4"):
        build(config, load_data(config))
