"""The fused loss against the code people write today: forward and gradient of a mixed LDAM loss, float32.

Rivals, all in this run: LDAM-DRW's own lines called once a label and mixed (``eager``), the best eager code by hand
(``gather``: one margin subtracted in place of a one-hot matrix), both under ``torch.compile`` with ``--compile``, one
plain ``F.cross_entropy``, and copying the logits, which is the memory's own speed.

    python -m benches.mixed_margin_loss [--threads 1] [--repeats 10] [--compile] [--shapes 128x10 256x1000]
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from benches.harness import best_of, machine_line, print_table, write_csv
from torch import Tensor
from torch.nn import functional as F

from lt_fast import ops

SHAPES = ("128x10", "128x100", "256x1000", "256x8142", "1024x8142")
SCALE = 30.0


@dataclass(frozen=True)
class Batch:
    """A batch with two labels a row, in the middle of training: cosine scores, LDAM margins, class weights."""

    logits: Tensor
    target: Tensor
    target_b: Tensor
    lam: Tensor
    margin: Tensor
    weight: Tensor


def batch_of(rows: int, classes: int) -> Batch:
    generator = torch.Generator().manual_seed(rows + classes)
    logits = 2 * torch.rand(rows, classes, generator=generator) - 1
    target, target_b = (torch.randint(classes, (rows,), generator=generator) for _ in range(2))
    lam = torch.rand(rows, generator=generator)
    margin, weight = (0.1 + 0.4 * torch.rand(classes, generator=generator) for _ in range(2))
    return Batch(logits.requires_grad_(), target, target_b, lam, margin, weight)


def fused(batch: Batch) -> Tensor:
    return ops.mixed_margin_loss(
        batch.logits, batch.target, target_b=batch.target_b, lam=batch.lam, margin=batch.margin, weight=batch.weight,
        scale=SCALE, normalization="batch",
    )  # fmt: skip


def twin(batch: Batch) -> Tensor:
    return ops.reference.mixed_margin_loss(
        batch.logits, batch.target, target_b=batch.target_b, lam=batch.lam, margin=batch.margin, weight=batch.weight,
        scale=SCALE, normalization="batch",
    )  # fmt: skip


def _ldam_by_one_hot(batch: Batch, target: Tensor) -> Tensor:
    # The steps of kaidic/LDAM-DRW: a one-hot mask, the margins by matrix product, torch.where.
    mask = torch.zeros_like(batch.logits, dtype=torch.uint8).scatter_(1, target[:, None], 1)
    margins = torch.matmul(batch.margin[None, :], mask.float().t())
    scores = torch.where(mask.bool(), batch.logits - margins.view(-1, 1), batch.logits)
    return F.cross_entropy(SCALE * scores, target, weight=batch.weight, reduction="none")


def _ldam_by_gather(batch: Batch, target: Tensor) -> Tensor:
    scores = batch.logits.scatter_add(1, target[:, None], -batch.margin[target][:, None])
    return F.cross_entropy(SCALE * scores, target, weight=batch.weight, reduction="none")


def eager(batch: Batch) -> Tensor:
    first, second = (_ldam_by_one_hot(batch, target) for target in (batch.target, batch.target_b))
    return (batch.lam * first + (1 - batch.lam) * second).mean()


def gather(batch: Batch) -> Tensor:
    first, second = (_ldam_by_gather(batch, target) for target in (batch.target, batch.target_b))
    return (batch.lam * first + (1 - batch.lam) * second).mean()


def cross_entropy(batch: Batch) -> Tensor:
    return F.cross_entropy(batch.logits, batch.target)


def rivals(*, compiled: bool) -> Iterator[tuple[str, Callable[[Batch], Tensor]]]:
    yield "fused", fused
    yield "twin", twin
    yield "eager", eager
    yield "gather", gather
    yield "cross_entropy", cross_entropy
    if compiled:
        yield "eager compiled", torch.compile(eager, dynamic=False)
        yield "gather compiled", torch.compile(gather, dynamic=False)


def check(batch: Batch) -> None:
    """All mixed losses are the same number with the same gradient, or there is nothing to compare."""
    exact, exact_gradient = gather(batch), torch.autograd.grad(gather(batch), batch.logits)[0]
    for name, loss in (("fused", fused), ("twin", twin), ("eager", eager)):
        torch.testing.assert_close(loss(batch), exact, rtol=1e-5, atol=1e-6, msg=f"loss of {name}")
        (gradient,) = torch.autograd.grad(loss(batch), batch.logits)
        torch.testing.assert_close(gradient, exact_gradient, rtol=1e-3, atol=1e-6, msg=f"gradient of {name}")


def seconds_of_all(batch: Batch, repeats: int, *, compiled: bool) -> dict[str, float]:
    def step(loss: Callable[[Batch], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(loss(batch), batch.logits)

    found = {name: best_of(step(loss), repeats) for name, loss in rivals(compiled=compiled)}
    source, copy = batch.logits.detach(), torch.empty_like(batch.logits)
    found["copy"] = best_of(lambda: copy.copy_(source), repeats)
    return found


def rows_of(shape: str, seconds: dict[str, float], threads: int) -> list[dict[str, object]]:
    return [
        {
            "shape": shape,
            "threads": threads,
            "code": name,
            "us": round(1e6 * spent, 2),
            "ratio": spent / seconds["fused"],
        }
        for name, spent in seconds.items()
    ]


def main(arguments: Sequence[str] = ()) -> None:
    """Time everything, print the table, write the CSV; without arguments one thread and all shapes."""
    parser = argparse.ArgumentParser(prog="python -m benches.mixed_margin_loss", description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="rows x classes, as 256x1000")
    parser.add_argument("--compile", action="store_true", help="also torch.compile of the eager rivals (slow to start)")
    parser.add_argument("--csv", default="mixed_margin_loss.csv", help="file in benches/results")
    options = parser.parse_args(list(arguments))
    torch.set_num_threads(options.threads)
    rows = []
    for shape in options.shapes:
        batch = batch_of(*map(int, shape.split("x")))
        check(batch)
        rows += rows_of(shape, seconds_of_all(batch, options.repeats, compiled=options.compile), options.threads)
    print(f"{machine_line()}; op {ops.backend()} {ops.instruction_set()}")
    print_table(rows)
    write_csv(options.csv, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
