"""The gradient in the caller's hand: the bits that the graph would have brought, and no graph."""

from typing import Any

import pytest
import torch
from cases import cases, distance, make, needs_library
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lt_fast import ops
from lt_fast.ops import mixed_margin, reference

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
EVERYTHING = {"margin": True, "bias": True, "weight": True, "sample_weight": True, "label_rule": "mam", "scale": 7.0}


def by_graph(loss: Any, logits: Tensor, target: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    value = loss(logits, target, **options)
    return value.detach(), torch.autograd.grad(value, logits)[0]


@needs_library
@pytest.mark.parametrize("dtype", DTYPES)
@given(case=cases(max_rows=12, max_classes=150), reduction=st.sampled_from(["mean", "sum"]))
def test_it_has_the_bits_of_the_graphs(dtype, case, reduction):
    logits, options = case.arguments(dtype)
    options["reduction"] = reduction
    loss, gradient = ops.mixed_margin_loss(logits, case.target, return_gradient=True, **options)
    exact = by_graph(ops.mixed_margin_loss, logits, case.target, options)
    assert torch.equal(loss, exact[0])
    assert torch.equal(gradient, exact[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [0, 1, 9])
def test_the_references_is_its_own_gradient(dtype, rows):
    case = make(rows, 6, **EVERYTHING)
    logits, options = case.arguments(dtype)
    found = reference.mixed_margin_loss(logits, case.target, return_gradient=True, **options)
    exact = by_graph(reference.mixed_margin_loss, logits, case.target, options)
    assert all(distance(one, other) < torch.finfo(dtype).eps for one, other in zip(found, exact, strict=True))
    assert found[1].dtype == dtype


@needs_library
def test_the_short_path_is_bit_identical_to_the_checked_one(monkeypatch):
    case = make(37, 23, **EVERYTHING)
    logits, options = case.arguments(torch.float32)
    options["class_counts"] = options["class_counts"].float()
    short = ops.mixed_margin_loss(logits, case.target, return_gradient=True, **options)
    monkeypatch.setattr(mixed_margin, "_modes", lambda: 1)
    checked = ops.mixed_margin_loss(logits, case.target, return_gradient=True, **options)
    assert all(torch.equal(one, other) for one, other in zip(short, checked, strict=True))


@pytest.mark.parametrize("loss", [ops.mixed_margin_loss, reference.mixed_margin_loss])
@pytest.mark.parametrize("prediction", [False, True])
@pytest.mark.parametrize("wants_gradient", [False, True])
def test_nothing_hangs_on_a_graph(loss, prediction, wants_gradient):
    logits = make(5, 4).logits.float().requires_grad_(wants_gradient)
    target = torch.tensor([0, 1, 2, 3, 0])
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            results = loss(logits, target, return_gradient=True, return_prediction=prediction)
        assert len(results) == 2 + prediction
        assert not any(result.requires_grad for result in results)
        if prediction:
            assert torch.equal(results[2], logits.argmax(1))


@pytest.mark.parametrize("loss", [ops.mixed_margin_loss, reference.mixed_margin_loss])
def test_a_network_learns_the_same_from_it(loss):
    generator = torch.Generator().manual_seed(0)
    images, target = torch.randn(6, 5, generator=generator), torch.tensor([0, 1, 2, 3, 0, 1])
    layer = nn.Linear(5, 4)
    loss(layer(images), target, scale=3.0).backward()
    exact = layer.weight.grad.clone()
    layer.zero_grad()
    logits = layer(images)
    _, gradient = loss(logits, target, scale=3.0, return_gradient=True)
    logits.backward(gradient)
    assert distance(layer.weight.grad, exact) < 1e-6


@pytest.mark.parametrize("loss", [ops.mixed_margin_loss, reference.mixed_margin_loss])
def test_what_it_refuses(loss):
    logits = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"reduction must be 'mean' or 'sum' for return_gradient=True, got 'none'"):
        loss(logits, torch.tensor([0, 1]), reduction="none", return_gradient=True)
    with pytest.raises(ValueError, match=r"target must lie in \[0, 3\), got 3 at position 1"):
        loss(logits, torch.tensor([0, 3]), return_gradient=True)
    with pytest.raises(TypeError, match="logits must be a tensor, got list"):
        loss([[0.0, 1.0]], torch.tensor([0]), return_gradient=True)


@pytest.mark.parametrize("loss", [ops.mixed_margin_loss, reference.mixed_margin_loss])
def test_it_can_be_compiled_and_mapped(loss):
    case = make(6, 9, **EVERYTHING)
    logits, options = case.arguments(torch.float32)

    def step(z: Tensor) -> tuple[Tensor, Tensor]:
        return loss(2 * z, case.target, return_gradient=True, **options)  # type: ignore[no-any-return]

    exact = step(logits)
    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)(logits)
    torch.compiler.reset()
    mapped = torch.func.vmap(step)(torch.stack([logits, logits]).detach())
    for found in (compiled, (mapped[0][1], mapped[1][1])):
        assert all(distance(one, other) < 2e-6 for one, other in zip(found, exact, strict=True))
