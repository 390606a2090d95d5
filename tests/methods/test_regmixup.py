"""RegMixup: the authors' loss, the same images in both halves, any mixer and loss, and every refusal."""

import math

import pytest
import torch
from torch import nn

import reference
from lt_fast import experiment
from lt_fast.batch import Batch
from lt_fast.errors import UsageError
from lt_fast.experiment.build import build, load_data
from lt_fast.losses import BalancedSoftmaxLoss, CrossEntropyLoss
from lt_fast.methods import RegMixup
from methods.problem import made

COUNTS = [50, 20, 5, 2]


class Given(nn.Module):
    """A network that answers with logits that are given."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x):
        assert len(x) == len(self.logits)
        return self.logits


def step_of(eta, *, seed=0, rows=6):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(2 * rows, 4, generator=draw)
    target, target_b = torch.randint(4, (2, rows), generator=draw)
    lam = torch.rand(rows, generator=draw)
    x = torch.zeros(rows, 1)
    batches = {
        "train": Batch(views=(x,), target=target),
        "mixed": Batch(views=(x,), target=target, target_b=target_b, lam=lam),
    }
    method = RegMixup(Given(logits), CrossEntropyLoss(COUNTS), eta=eta)
    return method, batches, (logits, target, target_b, lam)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0, 4.0])
def test_the_loss_is_that_of_the_paper(eta):
    method, batches, (logits, target, target_b, lam) = step_of(eta)
    loss = method.training_step(batches).loss
    expected = reference.regmixup_loss(logits[:6], logits[6:], target, target_b, lam, COUNTS, eta=eta)
    torch.testing.assert_close(loss, expected.float(), rtol=1e-6, atol=1e-6)
    loss.backward()
    assert (method.model.logits.grad.abs().sum(1)[6:] > 0).all() == (eta > 0)


def test_the_loss_of_equal_halves_is_that_of_the_authors_code():
    method, batches, (logits, target, target_b, _) = step_of(1.0, seed=1)
    batches["mixed"].lam = torch.full((6,), 0.3)
    first, second = torch.cat([target, target]), torch.cat([target, target_b])
    entropy = nn.functional.cross_entropy
    expected = 0.3 * entropy(logits, first) + 0.7 * entropy(logits, second)
    torch.testing.assert_close(method.training_step(batches).loss, expected, rtol=1e-6, atol=1e-6)


def test_both_halves_are_the_same_images_with_the_same_augmentation():
    _, loaders = made("regmixup")
    assert list(loaders) == ["train", "mixed"]
    for clean, mixed in zip(loaders["train"], loaders["mixed"], strict=True):
        assert torch.equal(clean.index, mixed.index)
        assert clean.target_b is None
        lam = mixed.lam[0]
        other = (mixed.x - lam * clean.x) / (1 - lam)
        distance = (other[:, None] - clean.x[None]).abs().flatten(2).amax(2)
        assert (distance.amin(1) < 1e-4).all()


def test_any_mixer_and_any_loss():
    settings = {"mixer": "cutmix", "loss": "balanced_softmax", "mixer.probability": 1.0}
    config = experiment.resolve("regmixup", "digits-lt", settings, seed=5)
    parts = build(config, load_data(config))
    assert type(parts.method.criterion) is BalancedSoftmaxLoss
    assert next(iter(parts.loaders["mixed"])).lam.lt(1).any()


def test_deferred_reweighting_changes_both_halves():
    settings = {"reweight": "effective_number", "defer_until": 0.5, "epochs": 2}
    config = experiment.resolve("regmixup", "digits-lt", settings, seed=5)
    method = build(config, load_data(config)).method
    phases = []
    for epoch in range(2):
        method.on_epoch_start(epoch, 2)
        phases.append(method.phase(epoch))
    assert phases == ["plain", "reweighted"]


def test_the_recipe_has_the_authors_alpha():
    alpha = {data: experiment.resolve("regmixup", data)["mixer"]["alpha"] for data in ("cifar10-lt", "cifar100-lt")}
    assert alpha == {"cifar10-lt": 20.0, "cifar100-lt": 10.0}


@pytest.mark.parametrize("eta", [-0.1, math.nan, math.inf])
def test_a_wrong_eta_is_named(eta):
    with pytest.raises(ValueError, match=rf"eta must be finite and >= 0, got {eta}"):
        RegMixup(nn.Identity(), CrossEntropyLoss(COUNTS), eta=eta)


def test_a_run_without_a_mixer_is_told_to_name_one():
    config = experiment.resolve("regmixup", "digits-lt", {"mixer": "none"}, seed=5)
    with pytest.raises(UsageError, match=r"mixer must be given for the method regmixup, got None; name one with --set"):
        build(config, load_data(config))
