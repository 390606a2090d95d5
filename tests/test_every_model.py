"""What every model of the registry keeps, whatever its layers."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lt_fast import models
from lt_fast.errors import UsageError

CHANNELS = {"digits_net": 1}
DEEP = {"resnet50", "resnet152", "resnext50"}
"""Made by the code that makes ResNet-10, and too large for every test: tests/models/test_resnet.py."""
NAMES = sorted(set(models.MODELS) - DEEP)
HEADS = ("linear", "cosine")

every = pytest.mark.parametrize("name", NAMES)
every_head = pytest.mark.parametrize("head", HEADS)


def images(name, rows=4, size=8, seed=0):
    return torch.randn(rows, CHANNELS.get(name, 3), size, size, generator=torch.Generator().manual_seed(seed))


@every
@every_head
def test_forward_is_head_of_features(name, head):
    model = models.MODELS[name](6, head=head).eval()
    x = images(name)
    features = model.features(x)
    assert features.ndim == 2
    assert torch.equal(model(x), model.head(features))
    assert model(x).shape == (4, 6)
    assert model.head.weight.shape == (6, features.shape[1])
    assert model.num_classes == 6


@every_head
@pytest.mark.parametrize("network", [models.DigitsNet, lambda *a, **k: models.ResNetCifar(1, *a, **k)])
def test_a_network_made_by_its_constructor_is_usable(network, head):
    with torch.random.fork_rng(devices=[]):
        model = network(3, head=head, in_channels=1)
    junk = [torch.full_like(parameter, torch.nan) for parameter in model.parameters()]
    del junk
    logits = model(images("digits_net"))
    F.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    assert logits.isfinite().all()
    assert 0.01 < logits.std() < 10
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@every
@every_head
def test_weights_are_a_function_of_the_seed(name, head):
    first, again, other = (models.MODELS[name](3, head=head, seed=seed) for seed in (7, 7, 8))
    pairs = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert all(
        not torch.equal(a, b)
        for (key, a), b in zip(first.named_parameters(), other.parameters(), strict=True)
        if a.ndim > 1
    )


@every
def test_the_global_generators_are_neither_read_nor_written(name):
    before, legacy = torch.random.get_rng_state(), np.random.get_state()  # noqa: NPY002  (looked at, not drawn from)
    first = models.MODELS[name](3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], legacy[1])  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert torch.equal(models.MODELS[name](3).head.weight, first.head.weight)


@every
def test_the_backbone_does_not_depend_on_the_head(name):
    linear, cosine = (models.MODELS[name](classes, head=head) for classes, head in ((3, "linear"), (9, "cosine")))
    kept = {key: value for key, value in linear.state_dict().items() if not key.startswith("head")}
    assert kept
    assert all(torch.equal(value, cosine.state_dict()[key]) for key, value in kept.items())


@every
@every_head
def test_starts_finite_on_the_cpu_in_train_mode(name, head):
    model = models.MODELS[name](3, head=head)
    assert model.training
    assert all(t.device.type == "cpu" and torch.isfinite(t).all() for t in model.state_dict().values())


@every
@every_head
def test_gradients_reach_every_parameter(name, head):
    model = models.MODELS[name](3, head=head)
    F.cross_entropy(model(images(name)), torch.tensor([0, 1, 2, 0])).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() and p.grad.any() for p in model.parameters())


@every
def test_channels_last_gives_the_same_and_stays_channels_last(name):
    model = models.MODELS[name](3).eval()
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    x = images(name, size=16)
    seen = []
    first = next(m for m in last.modules() if isinstance(m, torch.nn.Conv2d))
    deepest = [m for m in last.modules() if isinstance(m, torch.nn.BatchNorm2d)][-1]
    deepest.register_forward_hook(lambda _, __, out: seen.append(out.is_contiguous(memory_format=torch.channels_last)))
    assert first.weight.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        torch.testing.assert_close(last(x.to(memory_format=torch.channels_last)), model(x), rtol=1e-4, atol=1e-4)
    assert seen == [True]


@every
def test_eval_mode_does_not_depend_on_the_rest_of_the_batch(name):
    model = models.MODELS[name](3).eval()
    x = images(name, rows=5)
    with torch.no_grad():
        torch.testing.assert_close(model(x[:1]), model(x)[:1], rtol=1e-4, atol=1e-5)
        assert torch.equal(model(x), model(x))


@every
def test_train_mode_moves_the_running_statistics(name):
    model = models.MODELS[name](3)
    before = copy.deepcopy(dict(model.named_buffers()))
    model(images(name))
    assert all(not torch.equal(before[key], value) for key, value in model.named_buffers())


@every
@every_head
def test_bfloat16_autocast(name, head):
    model = models.MODELS[name](3, head=head).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.isfinite(model(images(name))).all()


@every
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (1, 1), (32, 32)])
def test_any_image_size(name, size):
    x = torch.zeros(2, CHANNELS.get(name, 3), *size)
    assert models.MODELS[name](3).eval()(x).shape == (2, 3)


@every
def test_other_channels_and_one_class(name):
    model = models.MODELS[name](1, in_channels=5).eval()
    assert model(torch.zeros(2, 5, 8, 8)).shape == (2, 1)


@every
def test_no_rows_no_logits(name):
    assert models.MODELS[name](3).eval()(images(name, rows=0)).shape == (0, 3)


@every
def test_state_dict_round_trip(name):
    first, second = models.MODELS[name](3, seed=1).eval(), models.MODELS[name](3, seed=2).eval()
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(images(name)), second(images(name)))


@every
@pytest.mark.parametrize(
    ("kwargs", "kind", "message"),
    [
        ({"num_classes": 0}, ValueError, "num_classes must be >= 1, got 0"),
        ({"num_classes": 2.0}, TypeError, "num_classes must be an integer, got 2.0"),
        ({"in_channels": 0}, ValueError, "in_channels must be >= 1, got 0"),
        ({"in_channels": True}, TypeError, "in_channels must be an integer, got True"),
        ({"head": "cosin"}, ValueError, "head must be one of linear, cosine, got 'cosin'; did you mean 'cosine'"),
        ({"seed": -3}, ValueError, r"seed must lie in \[0, 2\*\*64\), got -3"),
    ],
)
def test_bad_settings_are_named(name, kwargs, kind, message):
    with pytest.raises(kind, match=message):
        models.MODELS[name](**{"num_classes": 3, **kwargs})


@every
def test_the_docstring_says_shape_raises_and_source(name):
    words = models.MODELS[name].__doc__
    assert all(section in words for section in ("Args:", "Raises:", "Source:"))


def test_an_unknown_model_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"model must be one of .*, got 'resnet-32'; did you mean 'resnet32'\?"):
        models.MODELS["resnet-32"]


@pytest.mark.slow
def test_digits_net_learns_real_digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.from_numpy((digits.images / 16).astype(np.float32)).unsqueeze(1)
    y = torch.from_numpy(digits.target)
    model = models.digits_net(10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(12):
        for rows in np.array_split(np.random.default_rng((0, epoch)).permutation(400), 7):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        accuracy = (model.eval()(x[400:]).argmax(1) == y[400:]).float().mean().item()
    assert accuracy > 0.85
