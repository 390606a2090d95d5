"""The fused loss against the code people write today: forward and gradient of a mixed LDAM loss, float32.

Rivals, all in this run: LDAM-DRW's own lines called once a label and mixed (``eager``), the best eager code by hand
(``gather``: one margin subtracted in place of a one-hot matrix), both under ``torch.compile``, one plain
``F.cross_entropy``, and copying the logits, which is the memory's own speed: ``copy`` between buffers of this size,
which stay in the caches where they fit, and ``copy from DRAM``, as many bytes at the speed of buffers that fit into no
cache. ``returned`` is the same loss with ``return_gradient=True``, whose gradient is handed on to autograd at the
logits; ``autograd of a given gradient`` is that second half of it, with any gradient. ``module`` is the loss module
``LDAMLoss``. ``fused avx2`` is the fused loss in a process without AVX-512. Two lines show what a call costs apart from
its arithmetic: ``op alone``, loss and gradient without autograd, and ``autograd alone``, forward and gradient of
``logits.sum()``. A run over all shapes also updates the tables and the plot of ``docs/kernels.md``.

    python -m benches.mixed_margin_loss [--threads 1 2] [--repeats 30] [--rounds 3] [--no-compile] [--shapes 128x10]
"""

import argparse
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType

import torch
from benches.harness import (
    DOCS,
    best_of,
    machine_line,
    markdown_table,
    print_table,
    read_csv,
    replace_between,
    write_csv,
)
from benches.rivals.margin_losses import (
    SCALE,
    Batch,
    batch_of,
    cross_entropy,
    eager,
    fused,
    gather,
    reference,
    returned,
)
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from lt_fast import ops
from lt_fast.losses import LDAMLoss
from lt_fast.ops.options import WITH_GRADIENT, MarginOptions

SHAPES = ("128x10", "128x100", "256x1000", "256x8142", "1024x8142")
ROUNDS = 3  # of all shapes and rivals, so that what disturbs the machine for a while does not meet one of them alone
SAMPLE = 0.005  # seconds: many short samples, as a longer one is likelier to be disturbed
CSV = "mixed_margin_loss.csv"
WORDS = {"cross_entropy": "plain cross entropy", "gather": "eager by hand"}
_RETURNED = "The same with `return_gradient=True`, the gradient handed on to autograd:"
_PLOT = "![Useful bytes per second over the size of the problem](roofline.png)"
LARGE = 1 << 26  # elements of a buffer that no cache holds: 256 MB
BYTES = 8  # of float32 logits read and gradient written, once each: the least that any code moves per element


def module_of(batch: Batch) -> Callable[[Batch], Tensor]:
    """Return the loss module of the same loss; its margins are those of its counts."""
    counts = list(range(batch.logits.shape[1], 0, -1))
    criterion = LDAMLoss(counts, weight=batch.weight.tolist(), normalization="batch")
    return lambda batch: criterion(batch.logits, batch.target, batch.target_b, batch.lam)


def rivals(*, compiled: bool) -> Iterator[tuple[str, Callable[[Batch], Tensor]]]:
    yield "fused", fused
    yield "reference", reference
    yield "eager", eager
    yield "gather", gather
    yield "cross_entropy", cross_entropy
    if compiled:
        yield "eager compiled", torch.compile(own_copy(eager), dynamic=False)
        yield "gather compiled", torch.compile(own_copy(gather), dynamic=False)


def own_copy(function: FunctionType) -> FunctionType:
    """Return the same function with code of its own: torch searches one list for all that it compiled of a code."""
    return FunctionType(function.__code__.replace(), function.__globals__, function.__name__)


def check(batch: Batch) -> None:
    """All mixed losses are the same number with the same gradient, or there is nothing to compare."""
    exact, exact_gradient = gather(batch), torch.autograd.grad(gather(batch), batch.logits)[0]
    torch.testing.assert_close(returned(batch), (exact_gradient,), rtol=1e-3, atol=1e-6, msg="returned gradient")
    for name, loss in (("fused", fused), ("reference", reference), ("eager", eager)):
        torch.testing.assert_close(loss(batch), exact, rtol=1e-5, atol=1e-6, msg=f"loss of {name}")
        (gradient,) = torch.autograd.grad(loss(batch), batch.logits)
        torch.testing.assert_close(gradient, exact_gradient, rtol=1e-3, atol=1e-6, msg=f"gradient of {name}")


def step(loss: Callable[[Batch], Tensor], batch: Batch) -> Callable[[], object]:
    return lambda: torch.autograd.grad(loss(batch), batch.logits)


class Cell:
    """All that is timed at one shape with so many threads: the shortest times of rounds that may lie far apart."""

    def __init__(self, shape: str, threads: int, *, compiled: bool) -> None:
        torch.set_num_threads(threads)
        self.shape, self.threads = shape, threads
        batch = batch_of(*map(int, shape.split("x")))
        check(batch)
        self.calls = dict(calls_of(batch, compiled=compiled))
        self.seconds = dict.fromkeys(self.calls, float("inf"))
        self.elements = batch.logits.numel()

    def run(self, repeats: int, *, avx2: bool) -> None:
        """Time every code once more."""
        torch.set_num_threads(self.threads)
        for name, call in self.calls.items():
            self._note(name, best_of(call, repeats, at_least=SAMPLE))
        self._note("copy from DRAM", large_copy(repeats) * self.elements / LARGE)
        if avx2:
            self._note("fused avx2", seconds_with("avx2", self.shape, self.threads, repeats))

    def _note(self, name: str, seconds: float) -> None:
        self.seconds[name] = min(self.seconds.get(name, float("inf")), seconds)

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield the lines of the CSV."""
        for name, spent in self.seconds.items():
            ratio = spent / self.seconds["fused"]
            us = round(1e6 * spent, 2)
            yield {"shape": self.shape, "threads": self.threads, "code": name, "us": us, "ratio": ratio}


def calls_of(batch: Batch, *, compiled: bool) -> Iterator[tuple[str, Callable[[], object]]]:
    for name, loss in rivals(compiled=compiled):
        yield name, step(loss, batch)
    given = torch.ones_like(batch.logits)
    yield "module", step(module_of(batch), batch)
    yield "returned", lambda: returned(batch)
    yield "autograd of a given gradient", lambda: torch.autograd.grad(batch.logits, batch.logits, given)
    yield "op alone", op_alone(batch)
    yield "autograd alone", step(lambda batch: batch.logits.sum(), batch)
    source, copy = batch.logits.detach(), torch.empty_like(batch.logits)
    yield "copy", lambda: copy.copy_(source)


def op_alone(batch: Batch) -> Callable[[], object]:
    """Return the op that a loss module calls, which gives loss and gradient without a graph."""
    options, exact = MarginOptions(scale=SCALE, normalization="batch").stack(margin=batch.margin, weight=batch.weight)
    rows, numbers, choices = [exact.float()], options.numbers, options.choices | WITH_GRADIENT
    logits, op = batch.logits.detach(), torch.ops.lt_fast.mixed_margin_loss.raw
    return lambda: op(logits, batch.target, batch.target_b, batch.lam, None, rows, numbers, choices)


@functools.cache
def large_buffers() -> tuple[Tensor, Tensor]:
    return torch.ones(LARGE), torch.ones(LARGE)


def large_copy(repeats: int) -> float:
    """Seconds to copy ``LARGE`` elements."""
    source, copy = large_buffers()
    return best_of(lambda: copy.copy_(source), repeats)


def seconds_with(instruction_set: str, shape: str, threads: int, repeats: int) -> float:
    """Time of the fused loss in a process whose processor is told to be an older one."""
    command = [sys.executable, "-m", "benches.mixed_margin_loss", "--fused-only", "--shapes", shape]
    command += ["--threads", str(threads), "--repeats", str(repeats)]
    environment = {**os.environ, "LT_FAST_INSTRUCTION_SET": instruction_set}
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def measured(
    shapes: Sequence[str], all_threads: Sequence[int], rounds: int, repeats: int, *, compiled: bool
) -> list[dict[str, object]]:
    """Time everything in ``rounds``; of a machine that is disturbed for minutes many of them still find quiet ones."""
    cells = [Cell(shape, threads, compiled=compiled) for threads in all_threads for shape in shapes]
    for number in tqdm(range(rounds), desc="rounds", disable=None):
        for cell in cells:
            cell.run(-(-repeats // rounds), avx2=number < ROUNDS and ops.instruction_set() == "avx512")
    return [row for cell in cells for row in cell.rows()]


# --- docs/kernels.md --------------------------------------------------------------------------------------------------


def write_docs() -> None:
    """Renew the table and the plot from the CSV."""
    machine, rows = read_csv(CSV)
    times: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        times.setdefault((row["threads"], row["shape"]), {})[row["code"]] = float(row["us"])
    ordered = sorted(times.items(), key=_order)
    table, second = (
        markdown_table([row(threads, shape, us) for (threads, shape), us in ordered])
        for row in (_table_row, _returned_row)
    )
    text = f"{table}\n\n{_RETURNED}\n\n{second}\n\nMeasured on: {machine}.\n\n{_PLOT}"
    replace_between(DOCS / "kernels.md", "mixed_margin_loss", text)
    draw_roofline(times)


def _order(item: tuple[tuple[str, str], object]) -> tuple[int, int]:
    threads, shape = item[0]
    rows, classes = map(int, shape.split("x"))
    return int(threads), rows * classes


def _table_row(threads: str, shape: str, us: dict[str, float]) -> dict[str, object]:
    compiled = [us[name] for name in ("eager compiled", "gather compiled") if name in us]
    fused = us["fused"]
    return {
        "threads": threads,
        "shape": shape.replace("x", " x "),
        "fused, us": fused,
        "eager": us["eager"] / fused,
        "eager by hand": us["gather"] / fused,
        "best compiled": min(compiled) / fused if compiled else None,
        "plain cross entropy": us["cross_entropy"] / fused,
        "copy": us["copy"] / fused,
        "copy from DRAM": us["copy from DRAM"] / fused,
        "op alone": us["op alone"] / fused,
        "autograd alone": us["autograd alone"] / fused,
        "AVX2": us["fused avx2"] / fused if "fused avx2" in us else None,
    }


def _returned_row(threads: str, shape: str, us: dict[str, float]) -> dict[str, object]:
    compiled = [us[name] for name in ("eager compiled", "gather compiled") if name in us]
    spent = us["returned"]
    return {
        "threads": threads,
        "shape": shape.replace("x", " x "),
        "returned, us": spent,
        "of which autograd, us": us["autograd of a given gradient"],
        "eager": us["eager"] / spent,
        "best compiled": min(compiled) / spent if compiled else None,
        "plain cross entropy": us["cross_entropy"] / spent,
    }


def draw_roofline(times: dict[tuple[str, str], dict[str, float]]) -> None:
    """Draw useful bytes per second over the size of the problem, with copying as the roof."""
    all_threads = sorted({threads for threads, _ in times})
    figure = Figure(figsize=(5.5 * len(all_threads), 4), layout="constrained")
    axes = figure.subplots(1, len(all_threads), squeeze=False, sharey=True)
    for axis, threads in zip(axes[0], all_threads, strict=True):
        shapes = sorted((item for item in times.items() if item[0][0] == threads), key=_order)
        megabytes = [
            BYTES * rows * classes / 1e6 for rows, classes in (map(int, key[1].split("x")) for key, _ in shapes)
        ]
        for code, style in (
            ("copy", "k--"),
            ("copy from DRAM", "k:"),
            ("fused", "o-"),
            ("cross_entropy", "s-"),
            ("gather", "^-"),
            ("eager", "v-"),
        ):
            speed = [1e3 * size / us[code] for size, (_, us) in zip(megabytes, shapes, strict=True)]
            axis.loglog(megabytes, speed, style, label=WORDS.get(code, code))
        axis.set(title=f"{threads} thread{'s' * (threads != '1')}", xlabel="logits and gradient, MB")
    axes[0][0].set_ylabel("useful GB/s")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    figure.savefig(DOCS / "roofline.png", dpi=110)


def main(arguments: Sequence[str] = ()) -> None:
    """Time everything, print the table, write the CSV; without arguments all shapes with one and with all threads."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(prog="python -m benches.mixed_margin_loss", description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, cores}))
    parser.add_argument("--repeats", type=int, default=30, help="of each code, in all rounds together")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="more of them for a machine that is not quiet")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="rows x classes, as 256x1000")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, which takes minutes")
    parser.add_argument("--fused-only", action="store_true", help="print the fused op's seconds and nothing else")
    options = parser.parse_args(list(arguments))
    if options.fused_only:
        torch.set_num_threads(options.threads[0])
        print(best_of(step(fused, batch_of(*map(int, options.shapes[0].split("x")))), options.repeats, at_least=SAMPLE))
        return
    compiled = not options.no_compile
    rows = measured(options.shapes, options.threads, options.rounds, options.repeats, compiled=compiled)
    print(f"{machine_line()}; op {ops.backend()} {ops.instruction_set()}")
    print_table(rows)
    if tuple(options.shapes) == SHAPES:
        write_csv(CSV, rows)
        write_docs()


if __name__ == "__main__":
    main(sys.argv[1:])
