"""The CUDA kernels' own code, run thread by thread on the CPU, against the reference implementation.

What a GPU does differently (memory order, its own exp) is not tested here; indices, reductions, barriers and the
maths are.
"""

import ctypes
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import LABEL_RULES, LAYOUTS, STREAMED, TYPES, Problem, arithmetic, forward, forward_total

pytestmark = pytest.mark.slow  # compiles the kernels, when they have changed

TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-12, torch.float16: 2e-3, torch.bfloat16: 1e-2}
# Columns that are no multiple of anything, for each layout in turn, and what a float32 row of them gets.
COLUMNS = {2: 2, 3: 2, 10: 2, 100: 2, 253: 2, 365: 12, 1000: 12, 2001: 22, 4003: 32, 8191: 42, 20_479: 41}
COLUMNS |= {24_577: STREAMED, 100_003: STREAMED}


def assert_close(found, expected, dtype, *, slack=0.0):
    """Relative to the largest; the reference in double is itself off by its rounding of logits, which reach 1e4."""
    expected, found = expected.double(), found.double()
    worst = (found - expected).abs().max()
    assert worst <= TOLERANCE[dtype] * expected.abs().max() + slack + 1e-11


def smoothing_slack(problem):
    """Near its optimum a smoothed row's gradient is a difference of nearly equal numbers, of this size."""
    weights = [problem.vectors[name].max().item() for name in ("weight", "sample_weight") if name in problem.vectors]
    size = problem.options["scale"] * problem.options.get("label_smoothing", 0.0) * math.prod(weights)
    return size * TOLERANCE[problem.logits.dtype]


def check(kernels, problem, **choices):
    loss, grad, _, prediction, layout = forward(kernels, problem, **choices)
    expected_loss, expected_grad = problem.expected()
    assert_close(loss, expected_loss, torch.float64 if problem.logits.dtype == torch.float64 else torch.float32)
    assert_close(grad, expected_grad, problem.logits.dtype, slack=smoothing_slack(problem))
    assert torch.equal(prediction, problem.logits.argmax(1))
    return layout


@pytest.mark.parametrize("columns", COLUMNS)
def test_loss_gradient_and_prediction_of_rows_of_every_length(kernels, columns):
    assert check(kernels, Problem(3, columns, seed=columns), most_blocks=2) == COLUMNS[columns]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("columns", [2, 10, 365, 1000])
def test_every_dtype(kernels, dtype, columns):
    check(kernels, Problem(5, columns, dtype=dtype, spread=2.0))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_for_short_rows(kernels, layout):
    problem = Problem(7, 21, seed=layout)
    problem.vectors["bias"] = problem.vector(21, low=-9, high=0)
    problem.options |= {"label_smoothing": 0.1, "scale": 4.0}
    assert check(kernels, problem, layout=layout, most_blocks=1) == layout


@st.composite
def problems(draw):
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    columns, rows = draw(st.integers(2, 70)), draw(st.integers(1, 6))
    problem = Problem(
        rows, columns, dtype=dtype, seed=draw(st.integers(0, 999)), mixed=draw(st.booleans()),
        spread=draw(st.sampled_from([0.3, 3.0, 30.0])), offset=draw(st.integers(0, 7)), padding=draw(st.integers(0, 3)),
    )  # fmt: skip
    vectors = {
        "margin": (columns, 0.0, 0.5), "bias": (columns, -9.0, 0.0), "weight": (columns, 0.1, 4.0),
        "sample_weight": (rows, 0.1, 2.0),
    }  # fmt: skip
    for name, (size, low, high) in vectors.items():
        if draw(st.booleans()):
            problem.vectors[name] = problem.vector(size, low=low, high=high)
    problem.vectors["class_counts"] = problem.vector(columns, low=1, high=500).round()
    problem.options |= {
        "label_rule": draw(st.sampled_from(LABEL_RULES)), "scale": draw(st.sampled_from([1.0, 30.0])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1])), "focal_gamma": draw(st.sampled_from([0.0, 1.5])),
    }  # fmt: skip
    if draw(st.booleans()):
        problem.options |= {"margin_rule": draw(st.sampled_from([1, 2])), "max_margin": 1.29, "gamma": 1.528}
    return problem


@settings(max_examples=60, deadline=None)
@given(problem=problems(), layout=st.sampled_from([-1, 11, STREAMED]))
def test_every_option(kernels, problem, layout):
    check(kernels, problem, layout=layout)


@pytest.mark.parametrize("layout", [1, 12, 41, STREAMED])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 1e7, 1e10, 1e30])
def test_a_class_that_the_bias_takes_out_has_the_largest_logit(kernels, layout, dtype, size):
    columns = 21
    problem = Problem(4, columns, dtype=dtype, spread=size, seed=layout)
    problem.target, problem.target_b = problem.target % (columns - 1), problem.target_b % (columns - 1)
    problem.logits[0, :-1] /= size  # scores of the usual size, far below the one that is taken out
    problem.logits[:, -1] = 9 * size
    problem.vectors["bias"] = problem.vector(columns, low=-9, high=0)
    problem.vectors["bias"][-1] = -math.inf
    loss, grad, _, _, _ = forward(kernels, problem, layout=layout)
    kept = Problem(4, columns, dtype=dtype)
    kept.logits, kept.target, kept.target_b = problem.logits[:, :-1], problem.target, problem.target_b
    kept.vectors = problem.vectors | {"bias": problem.vectors["bias"][:-1]}
    expected, expected_grad = kept.expected()
    assert (grad[:, -1] == 0).all()
    assert torch.allclose(loss.double(), expected, rtol=3e-6, atol=1e-5)
    assert (grad[:, :-1].double() - expected_grad).abs().max() < 1e-5


def test_remix_with_kappa_1_and_equal_classes(kernels):
    problem = Problem(4, 3)
    problem.target, problem.target_b = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    problem.vectors |= {"lam": torch.tensor([0.25, 0.5, 0.75, 1.0]), "class_counts": torch.full((3,), 9.0)}
    problem.options |= {"label_rule": "remix", "kappa": 1.0}
    check(kernels, problem)
    alone = Problem(4, 3)
    alone.target, alone.target_b = problem.target, problem.target_b
    alone.vectors["lam"] = torch.tensor([0.0, 0.5, 1.0, 1.0])
    assert torch.equal(forward(kernels, problem)[0], forward(kernels, alone)[0])


def test_a_grid_smaller_than_the_rows_goes_round(kernels):
    for rows, columns in [(70, 10), (11, 365), (5, 1100)]:
        problem = Problem(rows, columns)
        whole, part = forward(kernels, problem), forward(kernels, problem, most_blocks=2)
        assert all(torch.equal(x, y) for x, y in zip(whole[:4], part[:4], strict=True))


@pytest.mark.parametrize("columns", [10, 20_491])
def test_rows_more_than_2_to_31_elements_apart(kernels, columns, tmp_path):
    near, far = Problem(2, columns, dtype=torch.float16), Problem(2, columns, dtype=torch.float16)
    stride = 2**31 + 3
    # A file of holes: only the pages of the two rows are ever there.
    memory = np.memmap(tmp_path / "rows", dtype=np.float16, mode="w+", shape=stride + columns)
    far.logits = torch.from_numpy(memory).as_strided((2, columns), (stride, 1)).copy_(near.logits)
    for found, exact in zip(forward(kernels, far), forward(kernels, near), strict=True):
        assert found == exact if isinstance(found, int) else torch.equal(found, exact)


def test_a_row_does_not_depend_on_its_neighbours(kernels):
    many, one = Problem(9, 37), Problem(9, 37)
    loss, grad, *_ = forward(kernels, many)
    one.logits, one.target, one.target_b = one.logits[4:5].clone(), one.target[4:5], one.target_b[4:5]
    one.vectors["lam"] = one.vectors["lam"][4:5]
    alone_loss, alone_grad, *_ = forward(kernels, one)
    assert torch.equal(alone_loss, loss[4:5])
    assert torch.equal(alone_grad, grad[4:5])


def test_the_denominator_divides_loss_and_gradient(kernels):
    problem = Problem(4, 12)
    loss, grad, *_ = forward(kernels, problem)
    divided_loss, divided_grad, *_ = forward(kernels, problem, denominator=8.0)
    assert torch.equal(divided_loss, loss / 8)
    assert torch.equal(divided_grad, grad / 8)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("columns", [2, 10, 365, 1100])
def test_the_backward_recomputes_the_gradient(kernels, columns, dtype):
    problem = Problem(5, columns, dtype=dtype, offset=3, padding=1)
    problem.vectors["bias"] = problem.vector(columns, low=-3, high=0)
    _, grad, numbers, _, _ = forward(kernels, problem)
    call, found = problem.call(most_blocks=2), torch.full((5, columns), math.nan, dtype=dtype)
    outer = torch.tensor([1.0, 2.0, 0.0, -1.0, 0.5], dtype=arithmetic(dtype))
    call.row_numbers, call.grad = numbers.data_ptr(), found.data_ptr()
    call.grad_output, call.grad_output_step = outer.data_ptr(), 1
    kernels.backward(ctypes.c_char(TYPES[dtype]), ctypes.byref(call))
    assert_close(found, grad.double() * outer[:, None].double(), dtype)


@pytest.mark.parametrize("layout", [-1, STREAMED])
def test_extreme_rows(kernels, layout):
    problem = Problem(4, 40)
    problem.logits[0] *= 1e4
    problem.logits[1] = -math.inf
    problem.logits[1, problem.target[1]] = 2.0  # certain, and the other label impossible
    problem.vectors["lam"][1] = 1.0
    problem.logits[2, :30] = -math.inf
    problem.target[2], problem.target_b[2] = 33, 36
    problem.logits[3] = 5.0  # ties: the lowest index is predicted
    loss, grad, _, prediction, _ = forward(kernels, problem, layout=layout)
    expected_loss, expected_grad = problem.expected()
    assert loss[1] == 0
    assert grad.isfinite().all()
    assert_close(loss[[0, 2, 3]], expected_loss[[0, 2, 3]], torch.float32)
    assert_close(grad[[0, 2, 3]], expected_grad[[0, 2, 3]], torch.float32)
    assert prediction[3] == 0


@pytest.mark.parametrize("layout", [-1, STREAMED])
@pytest.mark.parametrize("where", ["label", "other"])
def test_nan_makes_the_loss_nan_and_is_predicted(kernels, layout, where):
    problem = Problem(2, 40, mixed=False)
    column = int(problem.target[1]) if where == "label" else (int(problem.target[1]) + 1) % 40
    problem.logits[1, column] = math.nan
    loss, grad, _, prediction, _ = forward(kernels, problem, layout=layout)
    assert loss.isnan().tolist() == [False, True]
    assert grad[0].isfinite().all()
    assert prediction[1] == column


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("columns", "most_blocks"), [(10, 1), (10, 3), (365, 3), (1000, 99), (100_003, 2)])
def test_blocks_add_up_their_losses(kernels, columns, most_blocks, dtype):
    problem = Problem(5 if columns > 50_000 else 75, columns, dtype=dtype)
    losses, grad, *_ = forward(kernels, problem)
    for _ in range(2):  # the count of arrivals is as it was
        total, same_grad = forward_total(kernels, problem, most_blocks=most_blocks)
        assert total.item() == pytest.approx(losses.double().sum().item(), rel=1e-6)
        assert torch.equal(same_grad, grad)


@pytest.mark.parametrize("columns", [2, 7, 1000, 30_000])
def test_the_expected_weight_divides_loss_and_gradient(kernels, columns):
    problem = Problem(6, columns)
    problem.vectors["weight"] = problem.vector(columns, low=0.1, high=5)
    counts = problem.vector(columns, low=1, high=900).round()
    mean = (counts.double() @ problem.vectors["weight"].double() / counts.sum(dtype=torch.float64)).item()
    total, grad = forward_total(kernels, problem, mean_counts=counts)
    divided, divided_grad = forward_total(kernels, problem, denominator=6 * mean)
    assert total.item() == pytest.approx(divided.item(), rel=1e-6)
    assert torch.allclose(grad, divided_grad, rtol=1e-6, atol=0)


@pytest.mark.parametrize("columns", [10, 365, 30_000])
@pytest.mark.parametrize(("denominator", "expected"), [(1.0, 0.0), (0.0, math.nan)])
def test_the_total_of_no_rows(kernels, columns, denominator, expected):
    problem = Problem(1, columns)
    problem.logits = problem.logits[:0]
    total, _ = forward_total(kernels, problem, denominator=denominator)
    assert total.item() == pytest.approx(expected, nan_ok=True)


def test_the_sum_of_a_batch_s_factors(kernels):
    problem = Problem(1500, 7)
    problem.vectors["weight"] = problem.vector(7, low=0.1, high=5)
    problem.vectors["class_counts"] = counts = problem.vector(7, low=1, high=900).round()
    weight, lam = problem.vectors["weight"].double(), problem.vectors["lam"].double()
    call, factors = problem.call(), ctypes.c_double()
    call.class_counts = counts.data_ptr()  # which the rule mixup must not read
    call.label_rule = 0
    kernels.sum_factors(ctypes.byref(call), ctypes.byref(factors))
    drawn = (lam * weight[problem.target] + (1 - lam) * weight[problem.target_b]).sum()
    assert factors.value == pytest.approx(drawn.item(), rel=1e-6)


SPOILT = {
    "problem.target[3] = 10": "target must lie in [0, 10), got 10 at position 3",
    "problem.target_b[2] = -1": "target must lie in [0, 10), got -1 at position 2",
    "problem.vectors['lam'][1] = 1.5": "lam must lie in [0, 1], got 1.5 at position 1",
    "problem.vectors['lam'][1] = float('nan')": "lam must lie in [0, 1], got nan at position 1",
    "problem.vectors['sample_weight'][4] = -2": "sample_weight must be finite and >= 0, got -2 at position 4",
    "problem.vectors['sample_weight'][0] = math.inf": "sample_weight must be finite and >= 0, got inf at position 0",
    "problem.vectors['weight'][problem.target_b[1]] = -1": (
        "weight must be finite and >= 0 in every class, got -1 for class {target_b[1]}"
    ),
    "problem.vectors['margin'][problem.target[0]] = math.nan": (
        "margin must be finite and >= 0 in every class, got nan for class {target[0]}"
    ),
    "problem.vectors['class_counts'][problem.target[2]] = 0": (
        "class_counts must be >= 1 in every class for this label_rule, got 0 for class {target[2]}"
    ),
}


def spoilable():
    problem = Problem(5, 10)
    problem.vectors |= {"sample_weight": torch.ones(5), "class_counts": torch.arange(1.0, 11.0)}
    problem.vectors |= {"weight": torch.ones(10), "margin": torch.zeros(10)}
    problem.options["label_rule"] = "mam"
    return problem


# Each in a process of its own: a kernel that stops takes its process along.
SPOIL = """
import ctypes, math, os, sys
import test_cuda_on_cpu as t
kernels = ctypes.CDLL(sys.argv[1])
for statement in t.SPOILT:
    if (child := os.fork()) == 0:
        problem = t.spoilable()
        exec(statement)
        t.forward(kernels, problem)
        os._exit(0)
    print("stopped" if os.WIFSIGNALED(os.waitpid(child, 0)[1]) else "went on", flush=True)
"""


def test_bad_values_stop_the_kernel(emulator_path):
    command = [sys.executable, "-c", SPOIL, emulator_path]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    said = [re.sub("-nan", "nan", line) for line in found.stdout.splitlines()]
    messages = [eval(f"f{message!r}", vars(spoilable())) for message in SPOILT.values()]
    assert said == [line for message in messages for line in (message, "stopped")]
    rules = ("target lies in [0, num_classes)", "lam lies in [0, 1]", "sample_weight is finite and >= 0")
    assert [found.stderr.count(rule) for rule in rules] == [2, 2, 2]
    others = ("class vectors are finite and >= 0", "class_counts is >= 1")
    assert [found.stderr.count(rule) for rule in others] == [2, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 255, 256, 1000])
@pytest.mark.parametrize("factor", [1.0, 0.25, 0.0, -3.0])
def test_a_ready_gradient_times_a_factor(kernels, dtype, count, factor):
    memory = torch.randn(count + 2, dtype=dtype, generator=torch.Generator().manual_seed(count))
    before, by = memory.clone(), torch.tensor(factor, dtype=dtype)
    address = ctypes.c_void_p(memory.data_ptr() + memory.element_size())
    kernels.rescale_gradient(
        ctypes.c_char(TYPES[dtype]), address, ctypes.c_int64(count), ctypes.c_void_p(by.data_ptr()), ctypes.c_uint(2)
    )
    assert torch.equal(memory[1:-1], before[1:-1] * factor)
    assert torch.equal(memory[[0, -1]], before[[0, -1]])
