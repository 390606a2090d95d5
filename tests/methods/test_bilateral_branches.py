"""BBN: the authors' formula in every epoch, reversed batches, and every refusal."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import reference
from lt_fast import experiment, models
from lt_fast.batch import Batch
from lt_fast.errors import UsageError
from lt_fast.experiment.build import build, load_data
from lt_fast.losses import CrossEntropyLoss
from lt_fast.methods import BilateralBranches
from lt_fast.methods.bilateral_branches import parabolic_share
from methods.problem import made, training_data

COUNTS = [50, 20, 5, 2]


class Given(nn.Module):
    """A network whose branches return features that are given."""

    def __init__(self, first, second, head):
        super().__init__()
        self.parts = nn.ParameterDict({"conventional": first, "rebalancing": second})
        self.head = head

    def branch_features(self, x, branch):
        return self.parts[branch][: len(x)]


def step_of(epoch, epochs, *, classes=4, rows=5, labels=None, seed=0):
    draw = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, rows, 3, generator=draw)
    head = nn.Linear(6, classes)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
    target, turned = torch.randint(classes, (2, rows), generator=draw) if labels is None else labels
    method = BilateralBranches(Given(first, second, head), CrossEntropyLoss(COUNTS[:classes]))
    method.on_epoch_start(epoch, epochs)
    x = torch.zeros(rows, 1)
    batches = {"train": Batch(views=(x,), target=target), "reversed": Batch(views=(x,), target=turned)}
    return method, batches, (first, second, head, target, turned)


def expected(epoch, epochs, first, second, head, target, turned):
    share = reference.bbn_share(epoch, epochs)
    weight, bias = head.weight.detach().double(), head.bias.detach().double()
    logits = reference.bbn_logits(first.double(), second.double(), share, weight, bias)
    return reference.bbn_loss(logits, target, turned, share).float()


@pytest.mark.parametrize(("epoch", "epochs"), [(0, 200), (1, 200), (120, 200), (199, 200), (0, 1), (2, 3)])
def test_the_loss_is_that_of_the_authors_code(epoch, epochs):
    method, batches, parts = step_of(epoch, epochs)
    torch.testing.assert_close(
        method.training_step(batches).loss, expected(epoch, epochs, *parts), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(
    ("classes", "labels"),
    [(2, [[0, 1], [1, 1]]), (4, [[3, 3], [3, 3]]), (4, [[0], [2]])],
    ids=["two classes", "one class in both", "one image"],
)
def test_small_batches(classes, labels):
    labels = torch.tensor(labels)
    method, batches, parts = step_of(1, 3, classes=classes, rows=labels.shape[1], labels=labels)
    loss = method.training_step(batches).loss
    torch.testing.assert_close(loss, expected(1, 3, *parts), rtol=1e-6, atol=1e-6)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())


def test_the_share_falls_from_one_and_needs_no_other_graph():
    shares = [parabolic_share(epoch, 200) for epoch in range(200)]
    assert shares[0] == 1.0
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == pytest.approx(1 - (199 / 200) ** 2)
    method, _ = made("bbn")
    phases = set()
    for epoch in range(4):
        method.on_epoch_start(epoch, 4)
        phases.add(method.phase(epoch))
        assert float(method.share) == pytest.approx(1 - (epoch / 4) ** 2)
    assert phases == {"plain"}
    assert "share" not in method.state_dict()


def test_both_batches_have_the_same_rows_and_the_second_is_reversed():
    _, loaders = made("bbn")
    assert list(loaders) == ["train", "reversed"]
    counts, drawn = training_data().class_counts.counts, []
    for epoch in range(20):
        both = zip(loaders["train"].batches(epoch), loaders["reversed"].batches(epoch), strict=True)
        for uniform, turned in both:
            assert len(uniform) == len(turned)
            drawn.append(turned.target)
    share = torch.cat(drawn).bincount(minlength=10).numpy() / sum(map(len, drawn))
    expected = (1 / counts) / (1 / counts).sum()
    assert np.abs(share - expected).max() < 0.02


@pytest.mark.parametrize(
    "sampler", [{"sampler.drop_last": True}, {"sampler": "class_balanced"}, {"sampler.num_batches": 9}]
)
def test_any_sampler_of_the_first_branch(sampler):
    config = experiment.resolve("bbn", "digits-lt", sampler, seed=5)
    parts = build(config, load_data(config))
    parts.method.on_epoch_start(0, 60)
    steps = list(zip(*(loader.batches(0) for loader in parts.loaders.values()), strict=False))
    assert len(steps) == len(parts.loaders["train"])
    loss = parts.method.training_step(dict(zip(parts.loaders, steps[-1], strict=True))).loss
    assert torch.isfinite(loss)


def test_a_network_without_branches_gets_them():
    plain = models.digits_net(10, seed=5)
    method = BilateralBranches(plain, CrossEntropyLoss(training_data().class_counts), seed=5)
    named = models.bbn(10, backbone="digits_net", in_channels=1, seed=5)
    assert all(
        torch.equal(a, b) for a, b in zip(method.model.state_dict().values(), named.state_dict().values(), strict=True)
    )


def test_the_recipe_has_the_values_of_the_authors_configuration():
    for data in ("cifar10-lt", "cifar100-lt"):
        config = experiment.resolve("bbn", data)
        assert config["model"] == {"name": "bbn", "backbone": "resnet32", "head": "linear"}
        assert (config["epochs"], config["batch_size"], config["learning_rate"]) == (200, 128, 0.1)
        assert (config["schedule"]["milestones"], config["schedule"]["factor"]) == ([0.6, 0.8], 0.01)
        assert (config["optimizer"]["weight_decay"], config["method"]["q"]) == (2e-4, -1.0)


def test_the_share_may_fall_over_more_than_the_training():
    config = experiment.resolve("bbn", "inaturalist-2018")
    counts = training_data().class_counts
    length = config["method"]["share_length"]
    method = BilateralBranches(models.digits_net(10), CrossEntropyLoss(counts), share_length=length)
    method.on_epoch_start(100, 180)
    assert float(method.share) == pytest.approx(reference.bbn_share(100, 200))  # div_epoch of the authors' code
    with pytest.raises(ValueError, match="share_length must be"):
        BilateralBranches(models.digits_net(10), CrossEntropyLoss(counts), share_length=0.5)


@pytest.mark.parametrize("q", [math.nan, math.inf])
def test_a_wrong_q_is_named(q):
    with pytest.raises(ValueError, match="q must be"):
        BilateralBranches(models.bbn(4, backbone="digits_net", in_channels=1), CrossEntropyLoss(COUNTS), q=q)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"backbone": "torchvision:squeezenet1_1"},
            r"model must be resnet32, digits_net or a ResNet of torchvision",
        ),
        ({"mixer": "mixup"}, r"method bbn does not use a mixer of the run, got mixup"),
    ],
)
def test_what_does_not_fit_is_one_line(settings, message):
    config = experiment.resolve("bbn", "digits-lt", settings, seed=5)
    with pytest.raises(UsageError, match=message):
        build(config, load_data(config))
