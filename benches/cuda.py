"""The fused loss on a GPU: forward and gradient of a mixed LDAM loss, beside rivals and beside copying the logits.

Times are of the GPU alone: all calls of a cell are captured in one CUDA graph, over so many batches (``batches`` in the
table) that together they are larger than the L2 cache; small shapes stay in the cache all the same. ``copy`` copies
the logits into another buffer, which moves the bytes that any code must move: ``of copy`` is its time over the code's.
``call ...`` is the time of one eager call from Python, host and device together, for shapes where the host is what
counts. Rivals are those of ``benches.mixed_margin_loss``. Writes ``benches/results/cuda.csv``.

    python -m benches.cuda [--shapes 16384x8142] [--dtypes float32 bfloat16] [--no-compile] [--seconds 300] [--csv FILE]
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from benches.harness import best_of, machine_line, print_table, write_csv
from benches.rivals.margin_losses import Batch, batch_of, cross_entropy, eager, fused, gather, returned
from torch import Tensor

SHAPES = (
    "16384x8142", "65536x1000", "262144x100", "256x1000", "128x10", "128x100", "256x8142", "1024x8142", "4096x8142",
    "8192x32000",
)  # fmt: skip
DTYPES = ("float32", "bfloat16", "float16")
CSV = "cuda.csv"
SMALL = 256 * 1000  # elements: below, a call from Python is timed, too
MOST_BATCHES = 32
TIMES_THE_CACHE = 3  # bytes of all batches of a cell
REPLAYS = 20
TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2, "float16": 5e-3}  # of the gradient, in norm, against eager code


def batches_of(shape: str, dtype: str, device: torch.device) -> list[Batch]:
    """Return batches of one shape that the L2 cache does not hold together; their logits differ in place alone."""
    rows, classes = map(int, shape.split("x"))
    first = batch_of(rows, classes).to(device, getattr(torch, dtype))
    wanted = 1
    if device.type == "cuda":
        cache = torch.cuda.get_device_properties(device).L2_cache_size
        wanted = -(-TIMES_THE_CACHE * cache // (2 * first.logits.nbytes))
    return [first, *(first.copied() for _ in range(min(wanted, MOST_BATCHES) - 1))]


def gradient_of(loss: Callable[[Batch], Tensor]) -> Callable[[Batch], object]:
    """Return forward and backward as one call."""
    return lambda batch: torch.autograd.grad(loss(batch), batch.logits)


def codes(*, compiled: bool) -> Iterator[tuple[str, Callable[[Batch], object]]]:
    """Yield what is timed, ours first."""
    yield "fused", gradient_of(fused)
    yield "returned", returned
    yield "cross_entropy", gradient_of(cross_entropy)
    yield "gather", gradient_of(gather)
    yield "eager", gradient_of(eager)
    if compiled:
        torch.compiler.reset()  # a limit on recompilations counts over all shapes
        yield "gather compiled", gradient_of(torch.compile(gather, dynamic=False))


def check(batch: Batch, dtype: str) -> None:
    """Compare loss and gradient with eager code, or there is nothing to time."""
    exact, (exact_gradient,) = gather(batch).item(), torch.autograd.grad(gather(batch), batch.logits)
    found, (gradient,) = fused(batch).item(), torch.autograd.grad(fused(batch), batch.logits)
    off = (gradient.double() - exact_gradient.double()).norm() / exact_gradient.double().norm()
    if abs(found - exact) > 1e-4 * abs(exact) or not off <= TOLERANCE[dtype]:
        raise SystemExit(f"the fused loss must equal eager code, got {found} for {exact}, gradient off by {off:.1e}")


def graph_seconds(call: Callable[[Any], object], items: Sequence[Any]) -> float:
    """Return the shortest time of one call in a CUDA graph of one call for each item."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # what is made once is made before the capture
        for item in items[:2]:
            call(item)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # autograd's own thread takes part
        for item in items:
            call(item)
    shortest = float("inf")
    for _ in range(REPLAYS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        shortest = min(shortest, begin.elapsed_time(end) / 1e3)
    return shortest / len(items)


def seconds_of(call: Callable[[Any], object], items: Sequence[Any], device: torch.device) -> float:
    """Return the time of one call on the device; on a CPU that of the call itself."""
    return graph_seconds(call, items) if device.type == "cuda" else best_of(lambda: call(items[0]), 3, at_least=0.001)


def call_seconds(call: Callable[[Batch], object], batch: Batch, device: torch.device) -> float:
    """Return the time of one call from Python, with many in a row."""

    def many() -> None:
        for _ in range(20):
            call(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return best_of(many, 5) / 20


def cell(shape: str, dtype: str, device: torch.device, *, compiled: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of one shape and type; code that fails is named and left out."""
    batches = batches_of(shape, dtype, device)
    check(batches[0], dtype)
    size = 2 * batches[0].logits.nbytes
    pairs = [(batch.logits.detach(), torch.empty_like(batch.logits.detach())) for batch in batches]
    copy = seconds_of(lambda pair: pair[1].copy_(pair[0]), pairs, device)
    del pairs
    about = {"shape": shape, "dtype": dtype, "batches": len(batches)}

    def row(code: str, seconds: float) -> dict[str, Any]:
        of_copy = None if code.startswith("call ") else round(copy / seconds, 3)
        speed = round(size / seconds / 1e9, 1)
        return about | {"code": code, "us": round(1e6 * seconds, 2), "GB/s": speed, "of copy": of_copy}

    yield row("copy", copy)
    for code, call in codes(compiled=compiled):
        try:
            found = [row(code, seconds_of(call, batches, device))]
            if batches[0].logits.numel() <= SMALL:
                found.append(row(f"call {code}", call_seconds(call, batches[0], device)))
        except Exception as error:  # noqa: BLE001 - a compiler that is missing, too little memory: the others count
            print(f"{shape} {dtype}: {code} failed: {str(error).partition(chr(10))[0][:200]}", flush=True)
            continue
        yield from found


def measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time the cells in order of their interest, until the time is up."""
    device, begin, rows = torch.device(options.device), time.monotonic(), []
    for dtype in options.dtypes:
        for shape in options.shapes:
            if time.monotonic() - begin > options.seconds:
                print(f"time is up before {shape} {dtype}", flush=True)
                return rows
            rows += cell(shape, dtype, device, compiled=not options.no_compile)
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return rows


def device_line(device: torch.device) -> str:
    """Return the GPU, its driver's CUDA and the machine in one line."""
    if device.type != "cuda":
        return machine_line()
    properties = torch.cuda.get_device_properties(device)
    memory, cache = properties.total_memory >> 30, properties.L2_cache_size >> 20
    return f"{properties.name}, {memory} GiB, L2 {cache} MiB, CUDA {torch.version.cuda}; {machine_line()}"


def main(arguments: Sequence[str] = ()) -> None:
    """Time everything, print the table and write the CSV; without a GPU there is nothing to time."""
    parser = argparse.ArgumentParser(prog="python -m benches.cuda", description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="rows x classes, as 256x1000")
    parser.add_argument("--dtypes", nargs="+", default=DTYPES, choices=DTYPES)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the bench itself")
    parser.add_argument("--seconds", type=float, default=600, help="begin no further shape after so long")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--csv", default=CSV, help="where the table goes (default: benches/results/cuda.csv)")
    options = parser.parse_args(list(arguments))
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no GPU here: nothing is timed")
        return
    print(device_line(device), flush=True)
    rows = measured(options)
    print_table(rows)
    if rows:
        write_csv(options.csv, rows, about=device_line(device))


if __name__ == "__main__":
    main(sys.argv[1:])
