"""A million random rows, hard ones among them: finite where the exact result is finite, and within 2e-6 of it."""

import pytest
import torch
from cases import needs_library
from hard_rows import assert_every_row_exact, exact, labels_of, options_of, rows_of
from torch import Tensor

from lt_fast import ops

ROUNDS, ROWS = 60, 17_000  # a million rows


def found(logits: Tensor, first: Tensor, second: Tensor, options: dict) -> tuple[Tensor, Tensor]:
    """Loss of each row, and gradient of their sum, from the op."""
    if options["margin_rule"] == "fixed":
        options = {name: value for name, value in options.items() if name not in ("max_margin", "gamma")}
    logits = logits.clone().requires_grad_()
    each = ops.mixed_margin_loss(logits, first, target_b=second, **options, reduction="none")
    total = ops.mixed_margin_loss(logits, first, target_b=second, **options, reduction="sum")
    return each.detach(), torch.autograd.grad(total, logits)[0]


@pytest.mark.slow
@needs_library
def test_a_million_rows_in_single_precision():
    generator = torch.Generator().manual_seed(2026)
    for round_ in range(ROUNDS):
        classes = int(torch.randint(2, 40, (), generator=generator))
        logits = rows_of(generator, ROWS, classes)
        first, second = labels_of(generator, logits)
        options = options_of(generator, ROWS, classes, round_)
        assert_every_row_exact(found(logits, first, second, options), exact(logits, first, second, options))
