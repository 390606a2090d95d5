"""RISDA: what it reasons from the training images, its loss step by step, freezing, the recipe, and every refusal."""

import math

import pytest
import torch
from torch import nn

import reference
from lt_fast import experiment, models
from lt_fast.batch import Batch
from lt_fast.errors import UsageError
from lt_fast.experiment.build import build, load_data
from lt_fast.losses import CrossEntropyLoss
from lt_fast.methods import RISDA
from methods.problem import made, training_data


def in_second_stage(**options):
    """Return RISDA at the start of epoch 1 of 2, and its loader."""
    data = training_data()
    network = models.digits_net(10, seed=1)
    method = RISDA(network, data.class_counts, CrossEntropyLoss(data.class_counts), start_at=0.5, **options)
    loaders = method.loaders(data)
    method.on_epoch_start(1, 2)
    return method, list(loaders["train"].batches(1))


def test_the_reasoning_is_that_of_the_authors_code():
    method, _ = in_second_stage()
    labels = training_data().labels
    loader = method._images
    with torch.no_grad():
        found = [(method.model.eval().features(batch.x), batch.target) for batch in loader.batches(0)]
    features, target = (torch.cat(column) for column in zip(*found, strict=True))
    assert target.tolist() == labels.tolist()
    predicted = method.model.head(features).argmax(1)
    confusion = torch.zeros(10, 10)
    for label, guess in zip(target.tolist(), predicted.tolist(), strict=True):
        confusion[label, guess] += 1
    means, covariances = reference.class_moments(features.double(), target, 10)
    shift, _ = reference.reasoned(confusion, means, covariances, [])
    torch.testing.assert_close(method.shift.double(), shift, rtol=1e-4, atol=1e-5)
    assert torch.equal(method.reasoning, (confusion / confusion.sum(1, keepdim=True)).round(decimals=2))


@pytest.mark.parametrize("compound", [False, True])
def test_every_step_is_that_of_the_reference(compound):
    method, batches = in_second_stage(alpha=0.8, beta=0.5, compound=compound)
    method.train()
    # What an untrained network confuses is of little use here.
    method.reasoning.copy_(torch.rand(10, 10, generator=torch.Generator().manual_seed(0)).softmax(1))
    tail, known = range(2, 10), torch.zeros(10, 64, 64)
    seen = []
    for batch in batches[:3]:
        out = method.training_step({"train": batch}).loss
        features = method.model.features(batch.x).detach().double()
        if compound:  # one step of the running estimate on what the step before has left
            after = reference_update(known.double(), seen, features, batch.target)
        else:
            after = reference.class_moments(*joined(seen, features, batch.target), 10)[1]
        seen.append((features, batch.target))
        reasoned = after.clone()
        for label in tail:
            reasoned[label] = sum(
                share * one for share, one in zip(method.reasoning[label].double(), after, strict=True)
            )
        known = reasoned if compound else after
        weight = method.model.head.weight.detach().double()
        logits = features @ weight.T + method.model.head.bias.detach().double()
        augmented = reference.augmented_logits(
            logits, weight, batch.target, method.shift.double(), reasoned, alpha=0.4, beta=0.25
        )
        expected = reference.cross_entropy_loss(augmented, batch.target, [1] * 10)
        torch.testing.assert_close(out.double().detach(), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(method.moments.covariance.double(), known, rtol=1e-3, atol=1e-5)


def joined(seen, features, target):
    return torch.cat([*(one for one, _ in seen), features]), torch.cat([*(one for _, one in seen), target])


def reference_update(known, seen, features, target):
    """Return covariances after a batch: old and new by their numbers of rows, and what lies between the means."""
    means, covariances = reference.class_moments(features, target, 10)
    after = known.clone()
    for label in set(target.tolist()):
        new = int((target == label).sum())
        rows = [one[labels == label] for one, labels in seen]
        old = sum(map(len, rows))
        share = new / (new + old)
        before = torch.cat(rows).mean(0) if old else torch.zeros(64).double()
        apart = before - means[label]
        after[label] = (1 - share) * known[label] + share * covariances[label]
        after[label] += share * (1 - share) * torch.outer(apart, apart)
    return after


def test_the_first_stage_is_plain_and_keeps_no_moments():
    method, loaders = made("risda")
    method.on_epoch_start(0, 2)
    batch = next(iter(loaders["train"]))
    loss = method.training_step({"train": batch}).loss
    plain = nn.functional.cross_entropy(method.model(batch.x), batch.target)
    torch.testing.assert_close(loss, plain, rtol=1e-6, atol=1e-6)
    assert not method.moments.count.any()
    assert not method.reasoned
    phases = []
    for epoch in range(2):
        method.on_epoch_start(epoch, 2)
        phases.append(method.phase(epoch))
    assert phases == [(False, False, "plain"), (True, False, "plain")]


def test_the_reasoning_is_done_once_and_saved():
    method, _ = in_second_stage()
    state = method.state_dict()
    assert {"reasoning", "shift", "reasoned", "moments.covariance", "moments.count"} <= state.keys()
    data = training_data()
    again = RISDA(models.digits_net(10, seed=2), data.class_counts, CrossEntropyLoss(data.class_counts), start_at=0.5)
    again.load_state_dict(state)
    again.on_epoch_start(1, 2)  # no images were given: it would fail if it read any
    assert torch.equal(again.shift, method.shift)


@pytest.mark.parametrize("freeze", [False, True])
def test_freezing_trains_the_classifier_alone(freeze):
    method, batches = in_second_stage(freeze_from=0.5 if freeze else 1.0)
    method.train()
    method.training_step({"train": batches[0]}).loss.backward()
    assert method.model.head.weight.grad.any()
    first = method.model.trunk[0].weight.grad
    assert (first is None) == freeze
    assert method.may_leave_parameters_unused == freeze


def test_the_diagonal_is_that_of_the_covariances():
    (whole, batches), (diagonal, _) = in_second_stage(), in_second_stage(diagonal=True)
    for method in (whole, diagonal):
        method.eval()
        method.training_step({"train": batches[0]})
    variances = whole.moments.covariance.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(diagonal.moments.covariance, variances, rtol=1e-4, atol=1e-6)
    assert diagonal._covariance().shape == (10, 64)


def test_the_values_on_imagenet_are_those_of_the_code():
    config = experiment.resolve("risda", "imagenet-lt")
    method = {name: config["method"][name] for name in ("alpha", "beta", "head_fraction", "diagonal", "freeze_from")}
    assert method == {"alpha": 0.0, "beta": 7.5, "head_fraction": 0.385, "diagonal": True, "freeze_from": 0.9}
    assert (config["model"]["name"], config["epochs"], config["batch_size"]) == ("resnet50", 100, 128)


@pytest.mark.parametrize("target", [[3], [4, 4, 4], [0, 9]], ids=["one image", "one class", "two classes"])
def test_small_batches(target):
    method, _ = in_second_stage()
    x = torch.randn(len(target), 1, 8, 8, generator=torch.Generator().manual_seed(0))
    loss = method.training_step({"train": Batch(views=(x,), target=torch.tensor(target))}).loss
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())


def test_the_recipe_has_the_values_of_the_code():
    methods = {
        ratio: experiment.resolve("risda", "cifar100-lt", imbalance_ratio=ratio)["method"] for ratio in (100, 200)
    }
    assert {ratio: each["beta"] for ratio, each in methods.items()} == {100: 0.75, 200: 1.0}
    config = experiment.resolve("risda", "cifar100-lt")
    assert (config["batch_size"], config["subset_seed"], config["optimizer"]["nesterov"]) == (100, 42, True)
    parts = build(config | {"data": "digits-lt", "model": {"name": "digits_net"}, "transform": {
        "name": "crop_flip", "crop_padding": 1, "flip": False
    }}, load_data(experiment.resolve("risda", "digits-lt")))  # fmt: skip
    rates = [parts.schedule(epoch, 0, 10) for epoch in (158, 159, 178, 179)]
    assert rates == pytest.approx([0.1, 0.001, 0.001, 0.00001])  # adjust_learning_rate(epoch + 1): 160 and 180


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1.0}, "alpha must be finite and >= 0"),
        ({"beta": math.nan}, "beta must be"),
        ({"start_at": 1.5}, r"start_at must lie in \[0, 1\]"),
        ({"freeze_from": 2.0}, r"freeze_from must lie in \[0, 1\]"),
        ({"head_fraction": -0.1}, r"head_fraction must lie in \[0, 1\]"),
    ],
)
def test_wrong_options_are_named(options, message):
    counts = training_data().class_counts
    with pytest.raises(ValueError, match=message):
        RISDA(models.digits_net(10), counts, CrossEntropyLoss(counts), **options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model.head": "cosine"},
            "head must be linear for the method risda, got CosineHead; give --set model.head=linear",
        ),
        ({"mixer": "mixup"}, "method risda does not use a mixer of the run, got mixup"),
    ],
)
def test_what_does_not_fit_is_one_line(settings, message):
    config = experiment.resolve("risda", "digits-lt", settings, seed=5)
    with pytest.raises(UsageError, match=message):
        build(config, load_data(config))


def test_without_images_it_says_what_to_call():
    counts = training_data().class_counts
    method = RISDA(models.digits_net(10), counts, CrossEntropyLoss(counts), start_at=0.0)
    with pytest.raises(RuntimeError, match=r"loaders\(data\) must be called before the second stage"):
        method.on_epoch_start(0, 2)
