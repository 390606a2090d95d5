"""Collecting: the numbers of a forward pass in eval mode, and the model as it was."""

import copy

import pytest
import torch
from torch import nn

from lt_fast import models
from lt_fast.calibration import collect
from lt_fast.models.initialization import build


def batches(sizes=(5, 3), *, mixed=False):
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        x = torch.randn(size, 1, 8, 8, generator=generator)
        yield (x, torch.arange(size) % 3, None, None) if mixed else (x, torch.arange(size) % 3)


@pytest.mark.parametrize("mixed", [False, True])
def test_is_the_forward_pass_in_eval_mode(mixed):
    model = models.digits_net(3).train()
    before = copy.deepcopy(model.state_dict())
    features, logits, labels = collect(model, batches(mixed=mixed))
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    model.eval()
    x = torch.cat([batch[0] for batch in batches()])
    with torch.no_grad():
        torch.testing.assert_close(features, model.features(x))
        torch.testing.assert_close(logits, model(x))
    assert labels.tolist() == [0, 1, 2, 0, 1, 0, 1, 2]
    assert labels.dtype == torch.int64
    assert not logits.requires_grad


def test_modes_are_restored_one_by_one():
    model = models.digits_net(3).train()
    model.trunk[1].eval()
    collect(model, batches())
    assert (model.training, model.trunk[1].training, model.trunk[4].training) == (True, False, True)


def test_the_model_is_restored_after_an_error():
    model = models.digits_net(3).train()
    with pytest.raises(RuntimeError):
        collect(model, [(torch.zeros(2, 7, 8, 8), torch.zeros(2, dtype=torch.int64))])
    assert model.training
    assert not model.head._forward_hooks


def test_amp_computes_in_bfloat16_and_returns_float32():
    model = models.digits_net(3)
    exact, rounded = collect(model, batches()), collect(model, batches(), amp=True)
    assert rounded.features.dtype == rounded.logits.dtype == torch.float32
    assert not torch.equal(exact.logits, rounded.logits)
    torch.testing.assert_close(exact.logits, rounded.logits, rtol=0.1, atol=0.1)


def test_any_model_by_the_name_of_its_head():
    model = build(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), seed=0)
    features, logits, _ = collect(model, batches(), head="1", device="cpu")
    assert features.shape == (8, 64)
    torch.testing.assert_close(logits, model[1](features).detach())


def test_progress_shows_a_bar(capsys):
    collect(models.digits_net(3), batches(), progress=True)
    assert "collect" in capsys.readouterr().err


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        return self.head(x.flatten(1)) + self.head(x.flatten(1))


@pytest.mark.parametrize(
    ("model", "given", "kwargs", "message"),
    [
        (models.digits_net(3), [], {}, "batches must yield at least one batch, got none"),
        (models.digits_net(3), batches(), {"head": "fc"}, "head must name a module of DigitsNet, got 'fc'"),
        (
            models.digits_net(3),
            batches(),
            {"head": "trunk"},
            r"'trunk' must be given features \(N, D\) with N = 5",
        ),
        (build(Twice, seed=0), batches(), {}, "the forward pass must call 'head' exactly once, got 2 calls"),
        (
            models.digits_net(3),
            [(torch.zeros(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64), torch.zeros(2), torch.ones(2))],
            {},
            "batches must not be mixed, got a second label or a factor in batch 0; leave partner out",
        ),
        (
            models.digits_net(3),
            [(torch.zeros(2, 1, 8, 8), torch.zeros(3, dtype=torch.int64))],
            {},
            r"labels must have shape \(2,\) in batch 0, got \(3,\)",
        ),
    ],
)
def test_bad_input_is_named(model, given, kwargs, message):
    with pytest.raises(ValueError, match=message):
        collect(model, given, **kwargs)
