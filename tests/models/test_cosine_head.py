"""The cosine head: cosines, unit rows, and what it says of its length."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from lt_fast import models
from lt_fast.losses import LDAMLoss
from lt_fast.models.initialization import build

LINEAR = build(lambda: torch.nn.Linear(5, 3), seed=0)


def filled(features, classes, seed=0):
    head = models.CosineHead(features, classes)
    head.fill(torch.Generator().manual_seed(seed))
    return head


@pytest.mark.parametrize("dtype", [None, torch.float64, torch.bfloat16, torch.float16])
def test_the_constructor_initialises_the_weight(dtype):
    for classes in range(2, 12):
        junk = [torch.full((classes, 96), torch.nan, dtype=dtype) for _ in range(8)]
        del junk
        weight = models.CosineHead(96, classes, dtype=dtype).weight
        torch.testing.assert_close(weight.double().norm(dim=1), torch.ones(classes).double(), rtol=0, atol=1e-2)
        assert weight.is_leaf
        assert weight.requires_grad


def test_the_first_loss_in_a_foreign_network_is_usual():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 64), torch.nn.ReLU())
    network.append(models.CosineHead(64, 6))
    x = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    loss = LDAMLoss([100, 60, 30, 10, 5, 3])(network(x), torch.tensor([0, 1, 2, 5]))
    assert 5 < loss.item() < 30
    loss.backward()
    assert network[-1].weight.grad.isfinite().all()


def test_the_initial_weight_depends_on_the_seed_alone():
    before = torch.random.get_rng_state()
    first, again, other = (models.CosineHead(5, 3, seed=seed).weight for seed in (0, 0, 2**64 - 1))
    assert torch.equal(first, again)
    assert torch.equal(first, models.CosineHead(5, 3).weight)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(
        models.CosineHead(5, 3, dtype=torch.bfloat16).weight.float(), first, rtol=0.02, atol=0.02
    )


def test_it_is_reset_as_torchs_own_layers_are():
    head = models.CosineHead(5, 3, seed=4)
    initial = head.weight.detach().clone()
    with torch.no_grad():
        head.weight.zero_()
    torch.nn.Sequential(head).apply(lambda module: getattr(module, "reset_parameters", lambda: None)())
    assert torch.equal(head.weight, initial)
    with torch.device("meta"):
        deferred = models.CosineHead(5, 3, seed=4)
    assert deferred.weight.is_meta
    deferred.to_empty(device="cpu").reset_parameters()
    assert torch.equal(deferred.weight, initial)
    skipped = torch.nn.utils.skip_init(models.CosineHead, 5, 3, seed=4)
    skipped.reset_parameters()
    assert torch.equal(skipped.weight, initial)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda head: pickle.loads(pickle.dumps(head))])
def test_copies_are_the_same(copied):
    head, x = models.CosineHead(5, 3, seed=1), torch.ones(2, 5)
    assert torch.equal(copied(head)(x), head(x))


def test_it_can_be_parametrized():
    head = models.CosineHead(5, 3)
    torch.nn.utils.parametrize.register_parametrization(head, "weight", torch.nn.Tanh())
    assert head(torch.ones(2, 5)).isfinite().all()
    assert (head.in_features, head.num_classes) == (5, 3)


@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 7, 4), (0, 4)])
def test_any_leading_dimensions_as_a_linear_layer(shape):
    head, x = models.CosineHead(4, 3), torch.rand(shape, generator=torch.Generator().manual_seed(0))
    expected = reference.cosines(x.reshape(-1, 4), head.weight).reshape(*shape[:-1], 3)
    torch.testing.assert_close(head(x).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"in_features": 0}, ValueError, "in_features must be >= 1, got 0"),
        ({"num_classes": 2.0}, TypeError, r"num_classes must be an integer, got 2\.0"),
        ({"seed": -1}, ValueError, r"seed must lie in \[0, 2\*\*64\), got -1"),
        ({"seed": None}, TypeError, r"seed must be an integer, got None"),
    ],
)
def test_bad_arguments_are_named(arguments, kind, message):
    with pytest.raises(kind, match=message):
        models.CosineHead(**{"in_features": 4, "num_classes": 3, **arguments})


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("scale", r"the scale belongs to the loss: lt_fast\.losses\.LDAMLoss\(counts, scale=30\)"),
        ("bias", r"a cosine has none; use lt_fast\.losses\.LogitAdjustedLoss or nn\.Linear"),
        ("num_classes", r"make another head, CosineHead\(in_features, num_classes\)"),
        ("in_features", r"make another head, CosineHead\(in_features, num_classes\)"),
    ],
)
@pytest.mark.parametrize("value", [3, torch.nn.Parameter(torch.zeros(3))])
def test_what_would_have_no_effect_cannot_be_assigned(name, advice, value):
    head = models.CosineHead(4, 3)
    with pytest.raises(AttributeError, match=f"{name} of CosineHead cannot be set: .*{advice}"):
        setattr(head, name, value)
    head.weight = torch.nn.Parameter(torch.eye(3, 4))
    assert head(torch.tensor([1.0, 0, 0, 0])).tolist() == [1.0, 0.0, 0.0]


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 5), st.integers(0, 2**31))
def test_equals_the_reference(features, classes, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    head = filled(features, classes, seed)
    with torch.no_grad():
        head.weight.mul_(1 + 3 * torch.rand(classes, 1, generator=generator))
        x = torch.randn(rows, features, generator=generator)
        torch.testing.assert_close(head(x).double(), reference.cosines(x, head.weight), rtol=1e-4, atol=1e-5)


def test_rows_start_at_unit_length_in_all_directions():
    weight = filled(64, 200).weight
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(200))
    assert abs(weight.mean().item()) < 0.01


def test_is_blind_to_the_length_of_rows_and_features():
    head = filled(8, 3)
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    before = head(x)
    with torch.no_grad():
        head.weight.mul_(7.0)
    torch.testing.assert_close(head(5.0 * x), before)
    assert head.weight_norm().tolist() == [1.0, 1.0, 1.0]


def test_a_feature_of_zeros_is_no_nan():
    head = filled(4, 2)
    x = torch.zeros(1, 4, requires_grad=True)
    head(x).sum().backward()
    assert head(x).tolist() == [[0.0, 0.0]]
    assert torch.isfinite(x.grad).all()


def test_gradients():
    head = filled(5, 3).double()
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, w: torch.func.functional_call(head, {"weight": w}, (x,)), (x, head.weight.detach().requires_grad_())
    )


def test_prints_its_sizes():
    assert repr(filled(5, 3)) == "CosineHead(in_features=5, num_classes=3)"


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_swapping_shares_the_features_and_leaves_the_model(name):
    model = models.digits_net(4, seed=1)
    head = models.digits_net(7, head=name, seed=2).head
    swapped = models.swap_head(model, head)
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model.eval()
    assert swapped.trunk is model.trunk
    assert (swapped.num_classes, model.num_classes) == (7, 4)
    assert torch.equal(swapped.features(x), model.features(x))
    assert torch.equal(swapped(x), head(model.features(x)))
    assert model(x).shape == (3, 4)


def test_swapping_needs_a_head_that_fits():
    with pytest.raises(ValueError, match="head must take 64 features, as the one it replaces, got 5"):
        models.swap_head(models.digits_net(3), LINEAR)
    with pytest.raises(ValueError, match="model must have a module named 'head', got Linear without one"):
        models.swap_head(LINEAR, LINEAR)
