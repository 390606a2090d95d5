"""The short path of a training step: bit-identical to the checked path, and never a stale number."""

from typing import Any

import pytest
import torch
from cases import REFUSAL, make, needs_library
from torch import Tensor

from lt_fast import ClassCounts, ops
from lt_fast.ops import mixed_margin
from lt_fast.ops.mixed_margin import stacked_margin_loss
from lt_fast.ops.options import VECTORS, MarginOptions

pytestmark = needs_library
EVERYTHING = {"margin": True, "bias": True, "weight": True, "sample_weight": True, "label_rule": "mam"}


def loss_and_gradient(logits: Tensor, target: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    loss = ops.mixed_margin_loss(logits, target, **options)
    return loss.detach(), torch.autograd.grad(loss, logits)[0]


@pytest.fixture
def checked_calls(monkeypatch) -> list[tuple]:
    """The calls that left the short path."""
    calls: list[tuple] = []
    checked = mixed_margin._checked_call
    monkeypatch.setattr(mixed_margin, "_checked_call", lambda *inputs: calls.append(inputs) or checked(*inputs))
    return calls


def as_tensors(case, dtype):
    """Logits and options whose counts are a tensor of the arithmetic dtype, which the short path takes."""
    logits, options = case.arguments(dtype)
    counts = options["class_counts"]
    options["class_counts"] = torch.as_tensor(counts.counts if isinstance(counts, ClassCounts) else counts).to(
        torch.float64 if dtype == torch.float64 else torch.float32
    )
    return logits, options


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("normalization", ["expected", "weights", "batch"])
@pytest.mark.parametrize("mixed", [True, False])
def test_it_is_bit_identical_to_the_checked_path(dtype, normalization, mixed, checked_calls, monkeypatch):
    case = make(37, 23, seed=3, mixed=mixed, scale=7.0, label_smoothing=0.1, normalization=normalization, **EVERYTHING)
    logits, options = as_tensors(case, dtype)
    short = loss_and_gradient(logits, case.target, options)
    assert not checked_calls
    monkeypatch.setattr(mixed_margin, "_modes", lambda: 1)
    checked = loss_and_gradient(logits, case.target, options)
    assert len(checked_calls) == 1
    assert all(map(torch.equal, short, checked))


def test_one_coefficient_for_all_rows_may_be_a_number(checked_calls):
    case = make(9, 6)
    logits, options = as_tensors(case, torch.float32)
    number = loss_and_gradient(logits, case.target, {**options, "lam": 0.3})
    tensor = loss_and_gradient(logits, case.target, {**options, "lam": torch.tensor(0.3)})
    each = loss_and_gradient(logits, case.target, {**options, "lam": torch.full((9,), 0.3)})
    assert not checked_calls
    assert all(torch.equal(number[at], other[at]) for other in (tensor, each) for at in range(2))


def test_a_vector_changed_in_place_counts_from_the_next_call_on(checked_calls):
    logits, target = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0])
    margin = torch.full((4,), 0.1)
    before = ops.mixed_margin_loss(logits.requires_grad_(), target, margin=margin)
    margin.mul_(3)
    after = ops.mixed_margin_loss(logits, target, margin=margin)
    assert torch.equal(after, ops.mixed_margin_loss(logits, target, margin=torch.full((4,), 0.3)))
    assert not torch.equal(after, before)
    margin.data.fill_(0.1)  # a change that torch does not count
    assert torch.equal(ops.mixed_margin_loss(logits, target, margin=margin), before)
    assert not checked_calls
    margin[2] = -1.0
    with pytest.raises(ValueError, match=r"margin must be finite and >= 0 in every class, got -1\.0 for class 2"):
        ops.mixed_margin_loss(logits, target, margin=margin)


def test_a_vector_of_another_number_of_classes_is_named():
    margin = torch.full((4,), 0.1)
    for classes in (4, 5):
        logits = torch.zeros(3, classes, requires_grad=True)
        if classes == 4:
            ops.mixed_margin_loss(logits, torch.zeros(3, dtype=torch.int64), margin=margin)
        else:
            with pytest.raises(ValueError, match=r"margin must have shape \(C,\) = \(5,\), got \(4,\)"):
                ops.mixed_margin_loss(logits, torch.zeros(3, dtype=torch.int64), margin=margin)


def test_labels_and_coefficients_with_a_stride(checked_calls):
    case = make(8, 5, margin=True)
    logits, options = as_tensors(case, torch.float32)
    exact = loss_and_gradient(logits, case.target, options)
    strided = {name: torch.stack([options[name]] * 2, 1)[:, 0] for name in ("lam", "margin")}
    targets = torch.stack([case.target, options["target_b"]], 1)
    found = loss_and_gradient(logits, targets[:, 0], {**options, **strided, "target_b": targets[:, 1]})
    assert all(map(torch.equal, exact, found))
    assert not checked_calls


@pytest.mark.parametrize(
    "change",
    [
        {"lam": torch.full((6,), 0.5, dtype=torch.float64)},
        {"lam": [0.5] * 6},
        {"sample_weight": 0.5},
        {"margin": [0.1] * 5},
        {"margin": torch.full((5,), 0.1, dtype=torch.float64)},
        {"class_counts": ClassCounts([5, 4, 3, 2, 1])},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_has_to_be_converted_leaves_it(change, checked_calls):
    case = make(6, 5)
    logits, options = as_tensors(case, torch.float32)
    ops.mixed_margin_loss(logits, case.target, **{**options, **change})
    assert len(checked_calls) == 1


@pytest.mark.parametrize("wanted", [{}, {"reduction": "none"}, {"return_prediction": True}, {"return_gradient": True}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_stacked_once_it_is_bit_identical(wanted, dtype, checked_calls):
    case = make(6, 5, margin=True, bias=True, weight=True, label_rule="remix", kappa=1.1, scale=3.0)
    logits, given = as_tensors(case, dtype)
    vectors = {name: given.pop(name) for name in VECTORS}
    call = {name: given.pop(name) for name in ("target_b", "lam")}
    extra = {name: True for name in wanted if name.startswith("return")}
    options = MarginOptions(**given, **{name: value for name, value in wanted.items() if name not in extra})
    options, exact = options.stack(**vectors)
    rows = exact if dtype == torch.float64 else exact.float()
    found = stacked_margin_loss(options, rows, logits, case.target, call["target_b"], call["lam"], **extra)
    assert not checked_calls
    same = ops.mixed_margin_loss(logits, case.target, **call, **vectors, **given, **wanted)
    found, same = (result if isinstance(result, tuple) else (result,) for result in (found, same))
    assert all(map(torch.equal, found, same))
    assert {name: value.tolist() for name, value in options.by_name(rows).items()} == {
        name: value.tolist() for name, value in vectors.items()
    }


def test_stacked_vectors_of_another_dtype_are_converted():
    case = make(6, 5, mixed=False)
    options, rows = MarginOptions(scale=2.0).stack(margin=[0.1] * 5)
    logits, _ = case.arguments(torch.float32)
    found = stacked_margin_loss(options, rows, logits, case.target)
    assert torch.equal(found, ops.mixed_margin_loss(logits, case.target, scale=2.0, margin=[0.1] * 5))


@pytest.mark.parametrize(
    ("vectors", "error", "message"),
    [
        ({"margin": [0.1, -1.0]}, ValueError, r"margin must be finite and >= 0 in every class, got -1\.0 for class 1"),
        ({"margin": [0.1], "weight": [1.0, 2.0]}, ValueError, r"class vectors must have one length C, got \[1, 2\]"),
        ({"bias": "ab"}, TypeError, "bias must be a vector of C numbers, got str"),
        ({"class_counts": [[1, 2]]}, ValueError, r"class_counts must have shape \(C,\), got \(1, 2\)"),
    ],
)
def test_stacking_names_what_is_wrong(vectors, error, message):
    with pytest.raises(error, match=message):
        MarginOptions().stack(**vectors)


def test_stacked_calls_name_what_is_wrong():
    options, rows = MarginOptions(label_rule="mam").stack(class_counts=[3, 2, 1])
    logits, target = torch.zeros(2, 3), torch.tensor([0, 3])
    with pytest.raises(ValueError, match=r"target must lie in \[0, 3\), got 3 at position 1"):
        stacked_margin_loss(options, rows.float(), logits, target)
    with pytest.raises(ValueError, match="lam must be given together with target_b, got None"):
        stacked_margin_loss(options, rows.float(), logits, target, target)
    options, rows = MarginOptions(reduction="none").stack()
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'sum' for return_gradient=True, got 'none'"):
        stacked_margin_loss(options, rows.float(), logits, torch.tensor([0, 1]), return_gradient=True)


def inputs_of_the_op(dtype: torch.dtype, *, number: bool, form: str = "list") -> list[Any]:
    """The op's own inputs, the vectors in a list or stacked, the numbers in a list or in a tensor."""
    case = make(5, 7, **EVERYTHING)
    logits, given = as_tensors(case, dtype)
    options, rows = MarginOptions(label_rule="mam", scale=2.0, label_smoothing=0.1).stack(
        **{name: given[name] for name in VECTORS}
    )
    stacked = [rows.to(given["lam"].dtype)]
    vectors = stacked if form == "stacked" else [given[name].contiguous() for name in VECTORS]
    numbers = [0.3, *options.numbers[1:]]
    if form == "traced":
        vectors, numbers = [*vectors, torch.tensor(numbers, dtype=torch.float64)], []
    lam = None if number else given["lam"]
    return [
        logits.detach(), case.target, given["target_b"], lam, given["sample_weight"], vectors, numbers, options.choices
    ]  # fmt: skip


@pytest.mark.parametrize("outputs", [0, 1 << 13, 1 << 14, 1 << 15])
@pytest.mark.parametrize("number", [True, False])
@pytest.mark.parametrize("form", ["list", "stacked", "traced"])
@pytest.mark.parametrize("overload", ["default", "raw"])
def test_opcheck_of_both_overloads(outputs, number, form, overload):
    op = getattr(torch.ops.lt_fast.mixed_margin_loss, overload)
    *inputs, choices = inputs_of_the_op(torch.float32, number=number, form=form)
    torch.library.opcheck(op, (*inputs, choices | outputs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("number", [True, False])
def test_every_form_of_the_op_gives_the_same_bits(dtype, number):
    results = []
    for form in ("list", "stacked", "traced"):
        *inputs, choices = inputs_of_the_op(dtype, number=number, form=form)
        results.append(torch.ops.lt_fast.mixed_margin_loss.raw(*inputs, choices | 1 << 13)[:2])
    assert all(torch.equal(*pair) for other in results[1:] for pair in zip(results[0], other, strict=True))


@pytest.mark.parametrize(
    ("at", "wrong", "error", "message"),
    [
        (0, torch.zeros(5, 7, dtype=torch.int64), RuntimeError, "logits must be float32, float64, float16 or bfloat16"),
        (1, torch.full((5,), 7), REFUSAL, r"target must lie in \[0, 7\), got 7 at position 0"),
        (3, torch.full((5,), 1.5), REFUSAL, r"lam must lie in \[0, 1\], got 1.5 at position 0"),
        (3, torch.ones(1), RuntimeError, r"lam must have shape \(\) or \(N,\)"),
        (5, [torch.zeros(3)], RuntimeError, "class_counts must have 7 elements, got 3"),
        (5, [torch.ones(3, 7)], RuntimeError, "weight must be among the vectors, got 1 tensors"),
        (5, [torch.ones(7)] * 3, RuntimeError, "weight must be among the vectors, got 3 tensors"),
        (5, [torch.ones(7)] * 5, RuntimeError, "vectors must be those that choices names, got more"),
        (5, [torch.ones(5, 7)], RuntimeError, "vectors must be those that choices names, got more"),
        (5, [torch.ones(1, 1, 7)], RuntimeError, r"class_counts must have shape \(C,\), got 3 dimensions"),
        (5, [torch.ones(0, 7)], RuntimeError, r"class_counts must have shape \(C,\), got 2 dimensions"),
        (6, [0.3, 0.25], RuntimeError, "numbers must be 9, got 2"),
        (6, [], RuntimeError, "numbers must be 9, in a list or in a float64 tensor on the CPU"),
        (6, [1.5, 0.2, 3.0, 0.5, 0.0, 1.0, 2.0, 0.0, 0.0], REFUSAL, r"lam must lie in \[0, 1\], got 1.5"),
        (6, [0.5, 0.2, 0.5, 0.5, 0.0, 1.0, 2.0, 0.0, 0.0], REFUSAL, r"kappa must be finite and >= 1, got 0.5"),
        (6, [0.5, 0.2, 3.0, 1.5, 0.0, 1.0, 2.0, 0.0, 0.0], REFUSAL, r"tau must be within \[0, 1\], got 1.5"),
        (6, [0.5, 0.2, 3.0, 0.5, 0.0, 1.0, 0.0, 0.0, 0.0], REFUSAL, r"scale must be finite and > 0, got 0"),
    ],
)
def test_the_op_refuses(at, wrong, error, message):
    inputs = inputs_of_the_op(torch.float32, number=at == 6)
    inputs[at] = wrong
    with pytest.raises(error, match=message):
        torch.ops.lt_fast.mixed_margin_loss.raw(*inputs)


def test_the_op_refuses_a_call_without_numbers():
    inputs = inputs_of_the_op(torch.float32, number=False)
    inputs[5], inputs[6], inputs[7] = [], [], 1 << 7
    with pytest.raises(RuntimeError, match="numbers must be given"):
        torch.ops.lt_fast.mixed_margin_loss.raw(*inputs)


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (0, 0, 0.0, "class_counts must be >= 1 in every class for this label_rule, got 0 for class 0"),
        (1, 1, torch.nan, "margin must be finite and >= 0 in every class, got nan for class 1"),
        (2, 2, torch.inf, "bias must be finite or -inf in every class, got inf for class 2"),
        (3, 3, -1.0, "weight must be finite and >= 0 in every class, got -1 for class 3"),
    ],
)
@pytest.mark.parametrize("form", ["list", "stacked", "traced"])
def test_the_op_checks_the_values_of_vectors(row, column, value, message, form):
    inputs = inputs_of_the_op(torch.float32, number=False, form=form)
    if form == "stacked":
        inputs[5][0][row, column] = value
    else:
        inputs[5][row][column] = value
    with pytest.raises(REFUSAL, match=message):
        torch.ops.lt_fast.mixed_margin_loss.raw(*inputs)


def test_a_second_derivative_is_refused_and_a_graph_is_used_once():
    logits = torch.zeros(3, 4, requires_grad=True)
    loss = ops.mixed_margin_loss(logits, torch.tensor([0, 1, 2]))
    with pytest.raises(NotImplementedError, match="mixed_margin_loss has no second derivative"):
        torch.autograd.grad(loss, logits, create_graph=True)
    loss = ops.mixed_margin_loss(logits, torch.tensor([0, 1, 2]))
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()
