"""The CUDA kernels against the twin, where there is a GPU."""

import pytest
import torch
from cases import LABEL_RULES, Case, distance, loss_and_gradient, make
from torch import Tensor

from lt_fast import ops
from lt_fast.ops import reference as twin

pytestmark = pytest.mark.skipif(ops.backend() != "cuda", reason="no GPU, or no CUDA library, on this machine")
RULES = [
    {"margin": True, "scale": 30.0, "weight": True},
    {"bias": True, "label_smoothing": 0.1, "sample_weight": True},
    {"maximum": True, "scale": 19.0},
    {"maximum": True, "compat": True, "scale": 19.0},
    {"focal_gamma": 2.0, "margin": True},
]


def on_gpu(case: Case, dtype: torch.dtype) -> tuple[Tensor, Tensor, dict]:
    logits, options = case.arguments(dtype)
    options = {name: value.cuda() if isinstance(value, Tensor) else value for name, value in options.items()}
    return logits.detach().cuda().requires_grad_(), case.target.cuda(), options


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("classes", [2, 3, 10, 32, 33, 100, 365, 1000, 1024, 4097, 8142, 20_001])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_kernels_agree_with_the_twin(rule, classes, dtype):
    for reduction in ("mean", "none"):
        case = make(33, classes, seed=classes, reduction=reduction, label_rule=LABEL_RULES[classes % 5], **rule)
        exact_logits, exact_options = case.exact(dtype)
        exact, exact_gradient = loss_and_gradient(twin.mixed_margin_loss, exact_logits, case.target, exact_options)
        logits, target, options = on_gpu(case, dtype)
        value = ops.mixed_margin_loss(logits, target, **options)
        outer = torch.ones_like(value) if reduction == "mean" else torch.arange(1, 34, device="cuda", dtype=value.dtype)
        (gradient,) = torch.autograd.grad(value, logits, outer)
        limit = 1e-12 if dtype == torch.float64 else 3e-6
        assert distance(value.detach().cpu(), exact) < limit
        assert distance(gradient.cpu(), exact_gradient) < max(limit, 0.51 * torch.finfo(dtype).eps)
        _, prediction = ops.mixed_margin_loss(logits, target, return_prediction=True, **options)
        assert torch.equal(prediction, logits.argmax(1))


def test_equal_input_gives_equal_bits():
    logits, target, options = on_gpu(make(4096, 1000, margin=True, weight=True, scale=30.0), torch.float32)
    first, second = (loss_and_gradient(ops.mixed_margin_loss, logits, target, options) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_a_call_does_not_make_the_host_wait():
    logits, target, options = on_gpu(make(64, 100, margin=True, weight=True), torch.float32)
    ops.mixed_margin_loss(logits, target, **options).backward()  # vectors are looked at once, here
    try:
        torch.cuda.set_sync_debug_mode("error")
        ops.mixed_margin_loss(logits, target, **options).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
