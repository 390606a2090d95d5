"""The CUDA kernels' code on the CPU: every row within 2e-6 of the exact result, with exponentials as bad as a GPU's."""

import pytest
import torch
from hard_rows import assert_every_row_exact, exact, labels_of, options_of, rows_of
from kernel_calls import STREAMED, Problem, forward

pytestmark = pytest.mark.slow  # compiles the kernels, when they have changed
ROWS = {-1: 150, STREAMED: 1}  # a block of a streamed row has 512 threads
VECTORS = ("lam", "class_counts", "margin", "weight", "bias")


def problem_of(logits, first, second, options):
    problem = Problem(*logits.shape)
    problem.logits, problem.target, problem.target_b = logits, first, second
    problem.vectors = {name: options[name] for name in VECTORS}
    problem.options = {name: value for name, value in options.items() if name not in VECTORS}
    problem.options["margin_rule"] = int(options["margin_rule"] == "maximum")
    return problem


@pytest.mark.parametrize("layout", ROWS)
def test_hard_rows(kernels, layout):
    generator = torch.Generator().manual_seed(2026)
    for round_ in range(40):
        rows, classes = ROWS[layout], int(torch.randint(2, 40, (), generator=generator))
        logits = rows_of(generator, rows, classes)
        first, second = labels_of(generator, logits)
        options = options_of(generator, rows, classes, round_)
        loss, grad, *_ = forward(kernels, problem_of(logits, first, second, options), layout=layout)
        assert_every_row_exact((loss, grad), exact(logits, first, second, options))


@pytest.mark.parametrize("classes", [100, 365, 1000, 2001, 8142, 30_001])
@pytest.mark.parametrize("spread", [0.3, 1e4])
def test_long_rows(kernels, classes, spread):
    generator = torch.Generator().manual_seed(classes)
    logits = spread * torch.randn(4, classes, generator=generator)
    logits[0] = -0.3  # equal logits lose no digits in their sum
    first, second = torch.randint(classes, (2, 4), generator=generator)
    options = options_of(generator, 4, classes, round_=1) | {"bias": None, "scale": 30.0}
    loss, grad, *_ = forward(kernels, problem_of(logits, first, second, options))
    assert_every_row_exact((loss, grad), exact(logits, first, second, options))
