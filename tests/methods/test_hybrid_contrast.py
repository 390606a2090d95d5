"""Hybrid-SC and Hybrid-PSC: the formula in every epoch, what each part trains, the recipes, and every refusal."""

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
from lt_fast.methods import HybridPSC, HybridSC
from methods.problem import made

COUNTS = [50, 20, 5, 2]
KINDS = [HybridSC, HybridPSC]


class Linear(models.Classifier):
    """A network whose rows do not see each other."""

    def __init__(self, classes):
        super().__init__()
        self.head, self.num_classes = nn.Linear(3, classes), classes
        with torch.no_grad():
            for at, parameter in enumerate(self.head.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(at)))

    def features(self, x):
        return x


def step_of(kind, *, classes=4, target=(0, 1, 1, 3, 0), balanced=(2, 2, 0), seed=0, **options):
    method = kind(Linear(classes), CrossEntropyLoss(COUNTS[:classes]), width=6, **options)
    draw = torch.Generator().manual_seed(seed)
    target, balanced = torch.tensor(target), torch.tensor(balanced)
    views = tuple(torch.randn(2, len(target), 3, generator=draw))
    x = torch.randn(len(balanced), 3, generator=draw)
    return method, {"train": Batch(views=views, target=target), "balanced": Batch(views=(x,), target=balanced)}


def expected(method, batches, epoch, epochs):
    uniform, balanced = batches["train"], batches["balanced"]
    embeddings = method.projection(torch.cat(uniform.views)).detach().double()
    labels, temperature = uniform.target.repeat(2), method.temperature
    if isinstance(method, HybridPSC):
        prototypes = method.prototypes.detach().double()
        contrast = reference.prototypical_sup_con_loss(embeddings, prototypes, labels, temperature=temperature)
    else:
        contrast = reference.sup_con_loss(embeddings, labels, temperature=temperature)
    logits = method.model(balanced.x).detach().double()
    plain = reference.cross_entropy_loss(logits, balanced.target, COUNTS[: logits.shape[1]])
    return torch.as_tensor(reference.hybrid_loss(contrast, plain, epoch, epochs)).float()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("epoch", "epochs"), [(0, 200), (100, 200), (199, 200), (0, 1)])
def test_the_loss_is_that_of_the_paper(kind, epoch, epochs):
    method, batches = step_of(kind, temperature=0.3)
    method.on_epoch_start(epoch, epochs)
    found = method.training_step(batches)
    torch.testing.assert_close(found.loss, expected(method, batches, epoch, epochs), rtol=1e-5, atol=1e-6)
    found.loss.backward()
    assert method.projection[0].weight.grad.any()
    assert bool(method.model.head.weight.grad.any()) == (epoch > 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("classes", "target", "balanced"),
    [(2, (0, 1, 0), (1, 1)), (4, (3,), (3,)), (4, (2, 2, 2), (0,))],
    ids=["two classes", "one image", "one class"],
)
def test_small_batches(kind, classes, target, balanced):
    method, batches = step_of(kind, classes=classes, target=target, balanced=balanced)
    method.on_epoch_start(1, 3)
    found = method.training_step(batches).loss
    torch.testing.assert_close(found, expected(method, batches, 1, 3), rtol=1e-5, atol=1e-6)
    found.backward()
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_new_weights_are_a_function_of_the_seed(kind):
    states = [kind(Linear(4), CrossEntropyLoss(COUNTS), seed=seed).state_dict() for seed in (7, 7, 8)]
    new = [name for name in states[0] if name.startswith(("projection", "prototypes"))]
    assert len(new) == 4 + (kind is HybridPSC)
    for name in new:
        assert torch.equal(states[0][name], states[1][name])
        assert not torch.equal(states[0][name], states[2][name])


@pytest.mark.parametrize("name", ["hybrid_sc", "hybrid_psc"])
def test_two_views_and_balanced_batches(name):
    method, loaders = made(name)
    assert list(loaders) == ["train", "balanced"]
    batch = next(iter(loaders["train"]))
    assert len(batch.views) == 2
    assert not torch.equal(*batch.views)
    drawn = torch.cat([each.target for epoch in range(10) for each in loaders["balanced"].batches(epoch)])
    share = drawn.bincount(minlength=10) / len(drawn)
    assert (share - 0.1).abs().max() < 0.03
    assert {method.phase(epoch) for epoch in range(3)} == {"plain"}


def test_the_recipes_have_the_quoted_values():
    temperature = {
        (name, data): experiment.resolve(name, data)["method"]["temperature"]
        for name in ("hybrid_sc", "hybrid_psc")
        for data in ("cifar10-lt", "cifar100-lt")
    }
    assert temperature == {
        ("hybrid_sc", "cifar10-lt"): 0.1,
        ("hybrid_sc", "cifar100-lt"): 0.1,
        ("hybrid_psc", "cifar10-lt"): 1.0,
        ("hybrid_psc", "cifar100-lt"): 0.1,
    }
    config = experiment.resolve("hybrid_psc", "cifar100-lt")
    assert (config["batch_size"], config["learning_rate"], config["optimizer"]["weight_decay"]) == (512, 0.5, 1e-4)
    assert config["schedule"]["milestones"] == [0.6, 0.8]
    assert config["transform"]["name"] == "simclr"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be finite and > 0"),
        ({"width": 0}, "width must be >= 1"),
        ({"views": 0}, "views must be >= 1"),
        ({"q": math.nan}, "q must be"),
    ],
)
def test_wrong_options_are_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(Linear(4), CrossEntropyLoss(COUNTS), **options)


def test_a_network_without_a_head():
    with pytest.raises(ValueError, match=r"model must have a head with a weight \(C, D\), got Identity without one"):
        HybridSC(nn.Identity(), CrossEntropyLoss(COUNTS))


def test_a_mixer_is_refused():
    config = experiment.resolve("hybrid_sc", "digits-lt", {"mixer": "mixup"}, seed=5)
    with pytest.raises(UsageError, match="method hybrid_sc does not use a mixer of the run, got mixup"):
        build(config, load_data(config))
