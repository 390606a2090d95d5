"""The lean call of a training step: the same bits as the careful one, and never a stale number."""

from typing import Any

import pytest
import torch
from cases import make, needs_library
from torch import Tensor

from lt_fast import ClassCounts, ops
from lt_fast.ops import arguments, prepared

pytestmark = needs_library
EVERYTHING = {"margin": True, "bias": True, "weight": True, "sample_weight": True, "label_rule": "mam"}


def loss_and_gradient(logits: Tensor, target: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    loss = ops.mixed_margin_loss(logits, target, **options)
    return loss.detach(), torch.autograd.grad(loss, logits)[0]


@pytest.fixture
def lean_calls(monkeypatch) -> list[tuple]:
    """The calls that took the lean way."""
    calls: list[tuple] = []
    apply = prepared._apply
    monkeypatch.setattr(prepared, "_apply", lambda *inputs: calls.append(inputs) or apply(*inputs))
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("normalization", ["expected", "weights", "batch"])
@pytest.mark.parametrize("mixed", [True, False])
def test_the_same_bits_as_the_careful_way(dtype, normalization, mixed, lean_calls, monkeypatch):
    case = make(37, 23, seed=3, mixed=mixed, scale=7.0, label_smoothing=0.1, normalization=normalization, **EVERYTHING)
    logits, options = case.arguments(dtype)
    lean = loss_and_gradient(logits, case.target, options)
    assert len(lean_calls) == 1
    monkeypatch.setattr(prepared, "loss_of", lambda *_, **__: None)
    careful = loss_and_gradient(logits, case.target, options)
    assert torch.equal(lean[0], careful[0])
    assert torch.equal(lean[1], careful[1])


def test_one_factor_for_all_rows_may_be_a_number(lean_calls):
    case = make(9, 6)
    logits, options = case.arguments(torch.float32)
    number = loss_and_gradient(logits, case.target, {**options, "lam": 0.3})
    tensor = loss_and_gradient(logits, case.target, {**options, "lam": torch.tensor(0.3)})
    each = loss_and_gradient(logits, case.target, {**options, "lam": torch.full((9,), 0.3)})
    assert len(lean_calls) == 3
    assert all(torch.equal(number[at], other[at]) for other in (tensor, each) for at in range(2))


def test_a_vector_changed_in_place_counts_from_the_next_call_on(lean_calls):
    logits, target = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0])
    margin = torch.full((4,), 0.1)
    before = ops.mixed_margin_loss(logits.requires_grad_(), target, margin=margin)
    margin.mul_(3)
    after = ops.mixed_margin_loss(logits, target, margin=margin)
    assert torch.equal(after, ops.mixed_margin_loss(logits, target, margin=torch.full((4,), 0.3)))
    assert not torch.equal(after, before)
    assert len(lean_calls) == 3
    margin[2] = -1.0
    with pytest.raises(ValueError, match=r"margin must be finite and >= 0 in every class, got -1\.0 for class 2"):
        ops.mixed_margin_loss(logits, target, margin=margin)


def test_what_was_made_for_another_number_of_classes_is_not_used():
    margin = torch.full((4,), 0.1)
    for classes in (4, 5):
        logits = torch.zeros(3, classes, requires_grad=True)
        if classes == 4:
            ops.mixed_margin_loss(logits, torch.zeros(3, dtype=torch.int64), margin=margin)
        else:
            with pytest.raises(ValueError, match=r"margin must have shape \(C,\) = \(5,\), got \(4,\)"):
                ops.mixed_margin_loss(logits, torch.zeros(3, dtype=torch.int64), margin=margin)


def test_the_memory_of_constants_does_not_grow(monkeypatch):
    monkeypatch.setattr(prepared, "_MEMORY_SIZE", 3)
    logits, target = torch.zeros(3, 4, requires_grad=True), torch.zeros(3, dtype=torch.int64)
    for _ in range(6):
        ops.mixed_margin_loss(logits, target, margin=torch.full((4,), 0.1))
    prepared._memory.popitem()
    assert len(prepared._memory) < 64 + 3
    prepared._memory.clear()
    for scale in (1.0, 2.0, 3.0, 4.0, 5.0):
        ops.mixed_margin_loss(logits, target, scale=scale)
    assert len(prepared._memory) == 3


def test_labels_and_factors_out_of_line_are_taken_too(lean_calls):
    case = make(8, 5)
    logits, options = case.arguments(torch.float32)
    exact = loss_and_gradient(logits, case.target, options)
    scattered = {**options, "lam": torch.stack([options["lam"]] * 2, 1)[:, 0]}
    targets = torch.stack([case.target, scattered["target_b"]], 1)
    found = loss_and_gradient(logits, targets[:, 0], {**scattered, "target_b": targets[:, 1]})
    assert all(torch.equal(one, other) for one, other in zip(exact, found, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {"lam": torch.full((6,), 0.5, dtype=torch.float64)},
        {"lam": [0.5] * 6},
        {"sample_weight": 0.5},
        {"margin": [0.1] * 5},
        {"reduction": "none"},
        {"return_prediction": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_unusual_goes_the_careful_way(change, lean_calls):
    case = make(6, 5)
    logits, options = case.arguments(torch.float32)
    ops.mixed_margin_loss(logits, case.target, **{**options, **change})
    assert not lean_calls


def test_inference_tensors_have_no_version_and_are_read_every_time():
    logits, target = torch.zeros(2, 3, requires_grad=True), torch.tensor([0, 1])
    with torch.inference_mode():
        weight = torch.ones(3)
    for factor in (1.0, 2.0):
        with torch.inference_mode():
            weight.fill_(factor)
        loss = ops.mixed_margin_loss(logits, target, weight=weight, normalization="batch")
        assert torch.allclose(loss, factor * torch.tensor(3.0).log())


def inputs_of_the_op(dtype: torch.dtype, *, number: bool) -> tuple:
    case = make(5, 7, **EVERYTHING)
    logits, options = case.arguments(dtype)
    chosen = arguments.settings(
        "mam", 0.25, 3.0, 0.5, "fixed", None, None, None, 2.0, 0.1, 0.0, "expected", "mean"
    )  # fmt: skip
    vectors = tuple(options[name] for name in ("class_counts", "margin", "bias", "weight"))
    vectors = tuple(torch.as_tensor(v.counts if isinstance(v, ClassCounts) else v, dtype=dtype) for v in vectors)
    constants = prepared.constants_of(logits, chosen, vectors)
    lam = None if number else options["lam"]
    return logits.detach(), case.target, options["target_b"], lam, 0.3, options["sample_weight"], constants


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("number", [True, False])
def test_opcheck_of_the_prepared_op(dtype, number):
    torch.library.opcheck(torch.ops.lt_fast.mixed_margin_loss_prepared.default, inputs_of_the_op(dtype, number=number))


@pytest.mark.parametrize(
    ("at", "wrong", "message"),
    [
        (0, torch.zeros(5, 7, dtype=torch.bfloat16), "a prepared call needs float32 or float64 logits"),
        (1, torch.full((5,), 7), r"target must lie in \[0, 7\), got 7 at position 0"),
        (3, torch.full((5,), 1.5), r"lam must lie in \[0, 1\], got 1.5 at position 0"),
        (3, torch.ones(1), r"lam and sample_weight must have shape \(\) or \(N,\)"),
        (6, torch.zeros(3), "constants must begin with 16 numbers"),
        (6, torch.ones(20), "constants must have 44 numbers, got 20"),
    ],
)
def test_the_op_refuses(at, wrong, message):
    inputs = list(inputs_of_the_op(torch.float32, number=False))
    inputs[at] = wrong
    with pytest.raises(RuntimeError, match=message):
        torch.ops.lt_fast.mixed_margin_loss_prepared.default(*inputs)


def test_a_second_derivative_is_refused_and_a_graph_is_used_once():
    logits = torch.zeros(3, 4, requires_grad=True)
    loss = ops.mixed_margin_loss(logits, torch.tensor([0, 1, 2]))
    with pytest.raises(NotImplementedError, match="mixed_margin_loss has no second derivative"):
        torch.autograd.grad(loss, logits, create_graph=True)
    loss = ops.mixed_margin_loss(logits, torch.tensor([0, 1, 2]))
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()
