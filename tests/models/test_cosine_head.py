"""The cosine head: cosines, unit rows, and what it says of its length."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from lt_fast import models
from lt_fast.models.initialization import build

LINEAR = build(lambda: torch.nn.Linear(5, 3), seed=0)


def filled(features, classes, seed=0):
    head = models.CosineHead(features, classes)
    head.fill(torch.Generator().manual_seed(seed))
    return head


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
