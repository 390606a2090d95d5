"""The fused op equals its reference implementation, and both equal the row-by-row one of the tests."""

import numpy as np
import pytest
import torch
from cases import LABEL_RULES, NORMALIZATIONS, REDUCTIONS, cases, distance, loss_and_gradient, make, needs_library
from hypothesis import given, settings

import reference as from_papers
from lt_fast import ops
from lt_fast.ops import reference

RULES = [
    {},
    {"mixed": False},
    {"margin": True, "scale": 30.0},
    {"maximum": True, "scale": 19.0},
    {"maximum": True, "margin": True, "scale": 26.0},
    {"maximum": True, "compat": True, "scale": 19.0},
    {"bias": True},
    {"bias": True, "margin": True, "scale": 5.0, "label_smoothing": 0.1},
    {"label_smoothing": 0.2},
    {"label_smoothing": 1.0, "margin": True},
    {"focal_gamma": 2.0},
    {"focal_gamma": 0.5, "label_smoothing": 0.1, "margin": True},
    {"weight": True, "sample_weight": True},
]


@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_fused_and_reference_agree(case):
    logits, options = case.arguments(torch.float64)
    loss, gradient = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, options)
    exact_loss, exact_gradient = loss_and_gradient(reference.mixed_margin_loss, logits, case.target, options)
    # The reference's gradient is p - 1, which loses the last digits of a well-classified row: hence the floor.
    assert distance(loss, exact_loss, floor=1.0) < 1e-11
    assert distance(gradient, exact_gradient, floor=1.0) < 1e-11


# Not with smoothing 1: the gradient is then p - 1/C, the difference of two equal numbers for equal scores.
@needs_library
@settings(max_examples=100, deadline=None)
@given(case=cases(smoothings=(0.0, 0.1)))
def test_fused_single_precision_agrees_with_the_reference_in_double(case):
    logits, options = case.arguments(torch.float32)
    loss, gradient = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, options)
    exact_loss, exact_gradient = loss_and_gradient(reference.mixed_margin_loss, *swap(case, torch.float32))
    assert distance(loss, exact_loss, floor=1e-5) < 5e-6
    assert distance(gradient, exact_gradient, floor=1e-5) < 5e-6


def swap(case, dtype):
    logits, options = case.exact(dtype)
    return logits, case.target, options


@pytest.mark.parametrize("label_rule", LABEL_RULES)
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("loss", [ops.mixed_margin_loss, reference.mixed_margin_loss], ids=["fused", "reference"])
def test_equals_the_papers_row_by_row(loss, rule, label_rule):
    case = make(9, 7, seed=3, label_rule=label_rule, reduction="none", **rule)
    logits, options = case.arguments(torch.float64)
    found, gradient = loss_and_gradient(loss, logits, case.target, options)
    exact, exact_gradient = loss_and_gradient(from_papers.mixed_margin_loss, logits, case.target, options)
    assert distance(found, exact) < 1e-12
    assert distance(gradient, exact_gradient) < 1e-12


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("loss", [ops.mixed_margin_loss, reference.mixed_margin_loss], ids=["fused", "reference"])
def test_reductions_equal_the_papers(loss, mixed, reduction, normalization):
    case = make(
        6, 5, mixed=mixed, weight=True, sample_weight=True, margin=True, label_rule="mam",
        normalization=normalization, reduction=reduction,
    )  # fmt: skip
    logits, options = case.arguments(torch.float64)
    found, gradient = loss_and_gradient(loss, logits, case.target, options)
    exact, exact_gradient = loss_and_gradient(from_papers.mixed_margin_loss, logits, case.target, options)
    assert distance(found, exact) < 1e-12
    assert distance(gradient, exact_gradient) < 1e-12


def test_equals_torch_cross_entropy():
    case = make(8, 12, mixed=False, weight=True, label_smoothing=0.0, normalization="weights")
    logits, options = case.arguments(torch.float64)
    exact = torch.nn.functional.cross_entropy(logits, case.target, weight=options["weight"])
    assert distance(ops.mixed_margin_loss(logits, case.target, **options).detach(), exact.detach()) < 1e-14
    smooth = torch.nn.functional.cross_entropy(logits, case.target, label_smoothing=0.1)
    assert distance(ops.mixed_margin_loss(logits, case.target, label_smoothing=0.1).detach(), smooth.detach()) < 1e-14


def test_one_number_for_all_rows_equals_a_vector_of_it():
    case = make(10, 6, label_rule="mam", seed=2)
    logits, options = case.arguments(torch.float32)
    options["lam"] = 0.3
    alone = ops.mixed_margin_loss(logits, case.target, **options)
    options["lam"] = torch.tensor(0.3)
    assert ops.mixed_margin_loss(logits, case.target, **options) == alone
    options["lam"] = torch.full((10,), 0.3)
    assert ops.mixed_margin_loss(logits, case.target, **options) == alone


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_any_strides(dtype):
    case = make(12, 30, seed=5, margin=True, weight=True, spread=2.0)
    contiguous, options = case.arguments(dtype)
    plain = loss_and_gradient(ops.mixed_margin_loss, contiguous, case.target, options)
    transposed = contiguous.detach().t().contiguous().t().requires_grad_()
    wide = torch.zeros(24, 64, dtype=dtype)
    wide[::2, 3:33] = contiguous.detach()
    sliced = wide[::2, 3:33].requires_grad_()
    every_second = torch.zeros(12, 60, dtype=dtype)
    every_second[:, ::2] = contiguous.detach()
    strided = every_second[:, ::2].requires_grad_()
    for logits in (transposed, sliced, strided):
        assert not logits.is_contiguous()
        loss, gradient = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, options)
        assert torch.equal(loss, plain[0])
        assert torch.equal(gradient, plain[1])
    labels = torch.stack([case.target, case.target], 1)[:, 0]
    assert torch.equal(ops.mixed_margin_loss(contiguous, labels, **options).detach(), plain[0])


@needs_library
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_rows_more_than_2_to_31_elements_apart(reduction, tmp_path):
    case = make(2, 37, margin=True, weight=True, reduction=reduction)
    near, options = case.arguments(torch.float16)
    stride = 2**31 + 3
    # A file of holes: only the pages of the two rows are ever there.
    memory = np.memmap(tmp_path / "rows", dtype=np.float16, mode="w+", shape=stride + 37)
    far = torch.from_numpy(memory).as_strided((2, 37), (stride, 1)).copy_(near.detach())
    with torch.no_grad():
        exact = ops.mixed_margin_loss(near, case.target, return_prediction=True, **options)
        found = ops.mixed_margin_loss(far, case.target, return_prediction=True, **options)
    assert torch.equal(found[0], exact[0])
    assert torch.equal(found[1], exact[1])


@needs_library
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_hundred_thousand_classes(dtype):
    case = make(3, 100_003, margin=True, bias=True, label_rule="cp_mix", label_smoothing=0.1)
    logits, options = case.arguments(dtype)
    loss, gradient = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, options)
    exact_loss, exact_gradient = loss_and_gradient(reference.mixed_margin_loss, *swap(case, dtype))
    limit = 1e-12 if dtype == torch.float64 else 3e-6
    assert distance(loss, exact_loss) < limit
    assert distance(gradient, exact_gradient) < max(limit, 0.51 * torch.finfo(dtype).eps)


def test_one_row_broadcast_over_the_batch():
    row = torch.linspace(-1, 1, 9)[None].requires_grad_()
    target = torch.tensor([0, 4, 8])
    (gradient,) = torch.autograd.grad(ops.mixed_margin_loss(row.expand(3, 9), target), row)
    exact = torch.autograd.grad(torch.nn.functional.cross_entropy(row.expand(3, 9), target), row)[0]
    assert distance(gradient, exact) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@settings(max_examples=40, deadline=None)
@given(case=cases(max_rows=20, max_classes=300))
def test_prediction_is_torchs_argmax(dtype, case):
    logits, options = case.arguments(dtype)
    loss, prediction = ops.mixed_margin_loss(logits, case.target, return_prediction=True, **options)
    assert torch.equal(prediction, logits.argmax(1))
    assert torch.equal(loss, ops.mixed_margin_loss(logits, case.target, **options))


def test_prediction_takes_the_lowest_of_ties_and_a_nan_first():
    logits = torch.tensor([[1.0, 2, 2, 0], [3, 3, 3, 3], [0, torch.nan, 9, 1], [-torch.inf] * 4, [0, 1, torch.inf, 2]])
    target = torch.tensor([2, 1, 2, 3, 2])
    _, prediction = ops.mixed_margin_loss(logits, target, return_prediction=True)
    assert prediction.tolist() == [1, 0, 1, 0, 2]
    assert prediction.dtype == torch.int64
