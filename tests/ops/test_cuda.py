"""The CUDA kernels against the reference implementation on a GPU, and what a call does to the device and the host."""

import re
import subprocess
import sys

import pytest
import torch
from cases import LABEL_RULES, Case, distance, loss_and_gradient, make
from torch import Tensor

from lt_fast import ops
from lt_fast.ops import reference
from lt_fast.ops.mixed_margin import stacked_margin_loss
from lt_fast.ops.options import VECTORS, MarginOptions

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
@pytest.mark.parametrize("classes", [2, 3, 10, 32, 33, 100, 365, 1000, 1024, 4097, 8142, 20_001, 100_000])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_kernels_agree_with_the_reference(rule, classes, dtype):
    for reduction in ("mean", "none"):
        case = make(33, classes, seed=classes, reduction=reduction, label_rule=LABEL_RULES[classes % 5], **rule)
        exact_logits, exact_options = case.exact(dtype)
        exact, exact_gradient = loss_and_gradient(reference.mixed_margin_loss, exact_logits, case.target, exact_options)
        logits, target, options = on_gpu(case, dtype)
        value = ops.mixed_margin_loss(logits, target, **options)
        outer = torch.ones_like(value) if reduction == "mean" else torch.arange(1, 34, device="cuda", dtype=value.dtype)
        (gradient,) = torch.autograd.grad(value, logits, outer)
        limit = 1e-12 if dtype == torch.float64 else 3e-6
        assert distance(value.detach().cpu(), exact) < limit
        assert distance(gradient.cpu(), exact_gradient) < max(limit, 0.51 * torch.finfo(dtype).eps)
        _, prediction = ops.mixed_margin_loss(logits, target, return_prediction=True, **options)
        assert torch.equal(prediction, logits.argmax(1))


@pytest.mark.parametrize(("rows", "classes"), [(300_001, 100), (9001, 1000), (4001, 2001), (2001, 8142), (601, 30_000)])
def test_more_rows_than_a_gpu_has_at_a_time(rows, classes):
    logits, target, options = on_gpu(make(200, classes, margin=True, weight=True, scale=30.0), torch.float32)
    place = torch.arange(rows, device="cuda") % 200
    repeated = options | {name: options[name][place] for name in ("target_b", "lam")}

    def losses_and_gradient(z: Tensor, y: Tensor, options: dict) -> tuple[Tensor, Tensor]:
        each = ops.mixed_margin_loss(z, y, **options | {"reduction": "none"})
        return each.detach(), torch.autograd.grad(ops.mixed_margin_loss(z, y, **options | {"reduction": "sum"}), z)[0]

    exact = losses_and_gradient(logits, target, options)
    found = losses_and_gradient(logits.detach()[place].requires_grad_(), target[place], repeated)
    assert all(torch.equal(one, other[place]) for one, other in zip(found, exact, strict=True))


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
        ops.mixed_margin_loss(logits, target, return_gradient=True, **options)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_call_can_be_captured_in_a_graph():
    logits, target, options = on_gpu(make(64, 100, margin=True, weight=True), torch.float32)
    options["lam"] = 0.3  # a number is made on the device

    def step() -> tuple[Tensor, Tensor]:
        loss = ops.mixed_margin_loss(logits, target, **options)
        return loss.detach(), torch.autograd.grad(loss, logits)[0]

    other = torch.cuda.Stream()  # as torch asks for: what is made once is made before the capture, on another stream
    other.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(other):
        step()
    torch.cuda.current_stream().wait_stream(other)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        logits.mul_(0.5)
    graph.replay()
    assert all(torch.equal(one, other) for one, other in zip(captured, step(), strict=True))


def test_losses_that_run_at_the_same_time_do_not_count_each_others_blocks():
    logits, target, options = on_gpu(make(4096, 1000, margin=True, weight=True, scale=30.0), torch.float32)
    logits = logits.detach()
    exact = ops.mixed_margin_loss(logits, target, **options)
    streams = [torch.cuda.Stream() for _ in range(8)]
    graphs, captured = [torch.cuda.CUDAGraph() for _ in streams], []
    for graph in graphs:
        with torch.cuda.graph(graph):
            captured.append(ops.mixed_margin_loss(logits, target, **options))
    torch.cuda.synchronize()
    eager = []
    for _ in range(30):
        for stream, graph in zip(streams, graphs, strict=True):
            with torch.cuda.stream(stream):
                graph.replay()
                eager.append(ops.mixed_margin_loss(logits, target, **options))
    torch.cuda.synchronize()
    assert (torch.stack(eager + captured) == exact).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_returned_gradient_has_the_bits_of_the_graphs(dtype):
    logits, target, options = on_gpu(make(64, 100, margin=True, weight=True, scale=9.0), dtype)
    exact = loss_and_gradient(ops.mixed_margin_loss, logits, target, options)
    found = ops.mixed_margin_loss(logits, target, return_gradient=True, **options)
    assert all(torch.equal(one, other) for one, other in zip(found, exact, strict=True))


def test_the_current_stream_is_waited_for():
    logits, target, options = on_gpu(make(64, 100), torch.float32)
    exact = ops.mixed_margin_loss(logits.detach() + 1, target, **options)
    other = torch.cuda.Stream()
    other.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(other):
        torch.cuda._sleep(10**8)  # some 50 ms: a kernel on another stream would read before the sum is there
        found = ops.mixed_margin_loss(logits.detach() + 1, target, **options)
    other.synchronize()
    assert torch.equal(found, exact)


def test_more_than_2_to_31_elements():
    rows, classes = 22_000, 100_003
    generator = torch.Generator("cuda").manual_seed(0)
    logits = torch.randn(rows, classes, device="cuda", dtype=torch.bfloat16, generator=generator)
    target = torch.arange(rows, device="cuda")

    def last_rows(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        loss = ops.mixed_margin_loss(z.requires_grad_(), y, reduction="none")
        return loss[-3:].detach(), torch.autograd.grad(loss.sum(), z)[0][-3:]

    alone = last_rows(logits[-3:].clone(), target[-3:])
    loss, gradient = last_rows(logits, target)
    assert distance(loss, alone[0]) < 1e-6
    assert distance(gradient, alone[1]) < torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize("normalization", ["expected", "weights"])
def test_no_rows(normalization):
    logits = torch.empty(0, 7, device="cuda", requires_grad=True)
    target = torch.empty(0, dtype=torch.int64, device="cuda")
    loss = ops.mixed_margin_loss(logits, target, weight=[1.0] * 7, class_counts=[1] * 7, normalization=normalization)
    assert loss.isnan() if normalization == "weights" else loss == 0
    assert torch.autograd.grad(loss, logits)[0].shape == (0, 7)


def test_what_lies_on_another_device_is_refused():
    logits, target = torch.zeros(4, 3, device="cuda"), torch.zeros(4, dtype=torch.int64, device="cuda")
    for wrong in ({"target_b": target.cpu(), "lam": 0.5}, {"target_b": target, "lam": torch.ones(4)}):
        (name,) = (key for key, value in wrong.items() if isinstance(value, Tensor) and not value.is_cuda)
        with pytest.raises(ValueError, match=f"{name} must be on the logits' device cuda:0, got cpu"):
            ops.mixed_margin_loss(logits, target, **wrong)
    op, numbers = torch.ops.lt_fast.mixed_margin_loss, (0.5, 0.25, 3.0, 0.5, 0.0, 1.0, 1.0, 0.0, 0.0)
    for wrong_target, margin, message in [
        (target.cpu(), None, "target must be an int64 tensor of shape (N,) on the logits' device"),
        (target, torch.zeros(3), "margin must be contiguous, on the logits' device, and float64 for float64 logits"),
        (target, torch.zeros(2, device="cuda"), "margin must have 3 elements, got 2"),
    ]:
        vectors = [] if margin is None else [margin]
        with pytest.raises(RuntimeError, match=re.escape(message)):
            op(logits, wrong_target, None, None, None, vectors, numbers, 1 << 7 | len(vectors) << 10)


def test_wrong_values_that_the_host_has_are_errors():
    logits, target = torch.zeros(4, 3, device="cuda"), torch.zeros(4, dtype=torch.int64, device="cuda")
    with pytest.raises(ValueError, match=r"margin must be finite and >= 0 in every class, got nan for class 1"):
        ops.mixed_margin_loss(logits, target, margin=[0.0, torch.nan, 0.0])
    for options, message in (
        ({"scale": -1.0}, r"scale must be finite and > 0, got -1\.0"),
        ({"target_b": target, "lam": 1.5}, r"lam must lie in \[0, 1\], got 1\.5"),
    ):
        with pytest.raises(ValueError, match=message):
            ops.mixed_margin_loss(logits, target, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_stacked_vectors_give_the_same_bits(dtype):
    case = make(64, 100, margin=True, weight=True, bias=True, scale=9.0, label_rule="mam")
    logits, target, options = on_gpu(case, dtype)
    exact = loss_and_gradient(ops.mixed_margin_loss, logits, target, options)
    target_b, lam = options.pop("target_b"), options.pop("lam")
    vectors = {name: options.pop(name) for name in VECTORS}
    stacked, rows = MarginOptions(**options).stack(**vectors)
    rows = rows.float().cuda()
    try:
        torch.cuda.set_sync_debug_mode("error")
        loss = stacked_margin_loss(stacked, rows, logits, target, target_b, lam)
        (gradient,) = torch.autograd.grad(loss, logits)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(loss.detach(), exact[0])
    assert torch.equal(gradient, exact[1])


# Each in a process of its own: a kernel that stops takes the process's device along.
STOPPED = {
    "target[3] = 10": "target lies in [0, num_classes)",
    "target_b[2] = -1": "target lies in [0, num_classes)",
    "lam[1] = 1.5": "lam lies in [0, 1]",
    "lam[1] = torch.nan": "lam lies in [0, 1]",
    "sample_weight[0] = -1": "sample_weight is finite and >= 0",
    "counts[0] = 0": "class_counts is >= 1",
    "margin[0] = torch.nan": "class vectors are finite and >= 0",
    "weight[0] = -1": "class vectors are finite and >= 0",
}
SPOIL = """
import sys, torch
from lt_fast import ops
logits, target = torch.zeros(5, 10, device="cuda"), torch.zeros(5, dtype=torch.int64, device="cuda")
target_b, lam, sample_weight = target.clone(), torch.full((5,), 0.5, device="cuda"), torch.ones(5, device="cuda")
counts, margin, weight = (torch.ones(10, device="cuda") for _ in range(3))
exec(sys.argv[1])
ops.mixed_margin_loss(
    logits, target, target_b=target_b, lam=lam, sample_weight=sample_weight, class_counts=counts, label_rule="mam",
    margin=margin, weight=weight,
)
torch.cuda.synchronize()
print("went on", flush=True)
"""


@pytest.mark.parametrize("statement", STOPPED)
def test_bad_values_stop_the_kernel(statement):
    command = [sys.executable, "-c", SPOIL, statement]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert found.returncode != 0
    assert "went on" not in found.stdout
    assert STOPPED[statement] in found.stdout + found.stderr
