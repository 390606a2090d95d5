"""A million random rows, hard ones among them: finite where the exact result is finite, and close to it."""

import pytest
import torch
from cases import needs_library
from torch import Tensor

from lt_fast import ops

BOUND = 2e-6  # of 1, of the loss, and of the size of scale * logit, whose rounding nobody can take back
ROUNDS, ROWS = 50, 20_000  # a million rows


def rows_of(generator: torch.Generator, classes: int) -> Tensor:
    """Logits of every kind: usual, huge, tiny, well classified, tied, and -inf in all columns but a few or one."""
    kinds = torch.randint(7, (ROWS, 1), generator=generator)
    z = torch.randn(ROWS, classes, generator=generator)
    scales = torch.tensor([1.0, 1e4, 1e-30, 30.0, 0.0, 5.0, 5.0])
    z = z * scales[kinds]
    gone = torch.rand(ROWS, classes, generator=generator) < 0.5
    z = torch.where((kinds == 5) & gone, -torch.inf, z)
    last = torch.randint(classes, (ROWS, 1), generator=generator)
    alone = torch.full_like(z, -torch.inf).scatter(1, last, z.gather(1, last))
    return torch.where(kinds == 6, alone, z)


def labels_of(generator: torch.Generator, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Random labels; a third of the first ones are the largest logit, a fifth of the second ones equal the first."""
    first, second = (torch.randint(logits.shape[1], (ROWS,), generator=generator) for _ in range(2))
    first = torch.where(torch.rand(ROWS, generator=generator) < 1 / 3, logits.argmax(1), first)
    second = torch.where(torch.rand(ROWS, generator=generator) < 1 / 5, first, second)
    return first, second


def options_of(generator: torch.Generator, classes: int, round_: int) -> dict:
    lam = torch.rand(ROWS, generator=generator)
    lam = torch.where(lam < 0.1, 0.0, torch.where(lam > 0.9, 1.0, lam))
    return {
        "lam": lam,
        "label_rule": ("mixup", "mam", "remix", "unimix", "cp_mix")[round_ % 5],
        "class_counts": torch.randint(1, 5000, (classes,), generator=generator),
        "margin": 0.5 * torch.rand(classes, generator=generator) if round_ % 2 else None,
        "weight": torch.rand(classes, generator=generator) if round_ % 3 else None,
        "bias": torch.randn(classes, generator=generator) if round_ % 4 == 1 else None,
        "scale": (1.0, 30.0, 5.0)[round_ % 3],
        "reduction": "sum",
    }


def both(logits: Tensor, first: Tensor, second: Tensor, options: dict) -> tuple[Tensor, Tensor]:
    """Loss of each row, and gradient of their sum."""
    logits = logits.clone().requires_grad_()
    each = ops.mixed_margin_loss(logits, first, target_b=second, **{**options, "reduction": "none"})
    total = ops.mixed_margin_loss(logits, first, target_b=second, **options)
    return each.detach(), torch.autograd.grad(total, logits)[0]


@pytest.mark.slow
@needs_library
def test_a_million_rows_in_single_precision():
    generator = torch.Generator().manual_seed(2026)
    for round_ in range(ROUNDS):
        classes = int(torch.randint(2, 40, (), generator=generator))
        logits = rows_of(generator, classes)
        first, second = labels_of(generator, logits)
        options = options_of(generator, classes, round_)
        loss, grad = both(logits, first, second, options)
        wide = {name: value.double() if isinstance(value, Tensor) else value for name, value in options.items()}
        exact_loss, exact_grad = both(logits.double(), first, second, wide)

        finite = exact_loss.isfinite()
        assert loss[finite].isfinite().all()
        assert grad[exact_grad.isfinite()].isfinite().all()
        size = 1 + exact_loss.abs() + options["scale"] * logits.masked_fill(logits.isinf(), 0.0).abs().amax(1)
        assert ((loss - exact_loss).abs() <= BOUND * size)[finite].all()
        assert ((grad - exact_grad).abs() <= BOUND * options["scale"])[exact_grad.isfinite()].all()
