"""The goals of speed beside what was measured of them, for the first table of docs/speed.md; nothing is measured here.

Every figure is read from the CSV file of the bench that measured it. A range is over the batches or shapes of that
bench. What no CSV file has is said to be not measured.
"""

from collections.abc import Callable, Iterator

from benches.harness import RESULTS, markdown_table, read_csv

IMAGES, STEPS, LOSSES, CODE, GPU = "augmentation.csv", "training.csv", "mixed_margin_loss.csv", "sass.csv", "cuda.csv"
OF_GPU_STEPS = "training_cuda.csv"
NOT_MEASURED = "not yet measured"
STAGED = "staged"  # kernels whose rows are in shared memory, as those of every shape of the goals
OURS = "lt-fast"
MIXED, STRONG = "crop, flip, mix, normalise", "crop, flip, AutoAugment, Cutout, normalise"
SHAPES = {  # on a GPU, by type: the least share of the speed of a copy
    ("16384x8142", "float32"): 85,
    ("16384x8142", "bfloat16"): 85,
    ("65536x1000", "float32"): 85,
    ("262144x100", "float32"): 80,
}
Rows = list[dict[str, str]]
Line = tuple[str, str, str]  # what, asked, measured


def goals_table() -> str:
    """Return all goals as a Markdown table, and the machines on which they were measured."""
    lines = [*of_images(), *of_steps(), *of_losses(), *of_code(), *of_gpu()]
    table = markdown_table([dict(zip(("what", "asked", "measured"), line, strict=True)) for line in lines])
    machines = {name: read_csv(name)[0] for name in (IMAGES, STEPS, LOSSES, CODE, GPU) if (RESULTS / name).exists()}
    read = "\n".join(f"- `{name}`: {machine}." for name, machine in machines.items())
    return f"{table}\n\nMeasured on:\n\n{read}"


def of_images() -> Iterator[Line]:
    """Yield the goals of images in memory: one thread, batches of 128 and of 512."""
    rows = read_csv(IMAGES)[1]

    def over(task: str, ours: str, other: str) -> str:
        return times(costs(rows, task, other), costs(rows, task, ours))

    yield "crop, flip, mix, normalise: over batched torch", ">= 30 x", over(MIXED, OURS, "batched torch")
    yield "the same, over torchvision image by image", ">= 120 x", over(MIXED, OURS, "torchvision v2")
    seen = [1e3 / cost for cost in costs(rows, MIXED, OURS)]
    yield "the same, seen from Python", ">= 1 M images/s", f"{ends(seen, '.2f')} M images/s"
    kernel = [1e3 / cost for cost in costs(rows, MIXED, "kernel")]
    yield "the same, the kernel alone", "-", f"{ends(kernel, '.2f')} M images/s"
    copied = [1e3 / cost for cost in costs(rows, "crop, flip, normalise", "copy")]
    yield "a copy of a finished batch, for comparison", "-", f"{ends(copied, '.2f')} M images/s"
    workers = "torchvision v2, 2 workers"
    yield "with AutoAugment and Cutout: over torchvision in two workers", ">= 40 x", over(STRONG, OURS, workers)
    for task in (MIXED, STRONG):
        yield (
            f"{task}: two threads over one",
            ">= 1.8 x",
            over(task, "lt-fast, in two threads", "lt-fast, in one thread"),
        )
        through = over(task, "lt-fast, Loader, 2 threads", "lt-fast, Loader, 1 thread")
        yield "the same through a `Loader`, planning included", "-", through


def of_steps() -> Iterator[Line]:
    """Yield the goals of a ResNet-32 that trains on the CPU."""
    rows = {row["loop"]: row for row in read_csv(STEPS)[1] if row["network"] == "ResNet-32"}
    ours = rows[OURS]
    yield "waiting for data while ResNet-32 trains on the CPU", "<= 1 %", f"{ours['waiting, %']} %"
    yield "the loop over a bare loop on the same batches", "<= 3 %", f"{100 * (float(ours['times bare']) - 1):+.1f} %"
    yield "a checkpoint of each epoch", "<= 1 %", f"{ours['checkpoint, %']} %"


def of_losses() -> Iterator[Line]:
    """Yield the goals of small shapes on the CPU."""
    cost = {(row["shape"], row["code"]): float(row["us"]) for row in read_csv(LOSSES)[1] if row["threads"] == "1"}
    for shape in ("128x10", "128x100"):
        for code, words in (("fused", "by `loss.backward()`"), ("returned", "gradient returned")):
            found = f"{cost[shape, 'eager'] / cost[shape, code]:.1f} x"
            yield f"the loss and its gradient, {shape}, one CPU thread, {words}: over eager code", ">= 9 x", found


def of_code() -> Iterator[Line]:
    """Yield what the kernels' machine code for an H100 costs."""
    rows = [row for row in read_csv(CODE)[1] if row["code"] == "now" and row["arch"] == "sm_90"]
    found = [float(row["total"]) for row in rows if row["dtype"] == "float32" and row["kernel"].startswith(STAGED)]
    yield "instructions per element in the inner loops, H100, float32", "<= 18", ends(found, ".1f")


def of_gpu() -> Iterator[Line]:
    """Yield the goals on a GPU."""
    rows = read_csv(GPU)[1] if (RESULTS / GPU).exists() else []
    cell = {(row["shape"], row["dtype"], row["code"]): row for row in rows}

    def found(shape: str, dtype: str, code: str, words: Callable[[dict[str, str]], str]) -> str:
        row = cell.get((shape, dtype, code))
        return NOT_MEASURED if row is None else words(row)

    for (shape, dtype), asked in SHAPES.items():
        measured = found(shape, dtype, "fused", lambda row: f"{100 * float(row['of copy']):.0f} %")
        yield f"loss and gradient on a GPU, {shape}, {dtype}: share of a copy's speed", f">= {asked} %", measured
    in_graph = found("256x1000", "float32", "fused", lambda row: f"{row['us']} us")
    yield "the same, 256x1000 in a CUDA graph", "<= 6 us", in_graph
    yield "one call from Python, 128x100: over one plain cross entropy", "<= 1.0 x", of_call(cell)
    for what, asked in (
        ("a step of ResNet-32 on a GPU, batch 128, bfloat16, as a graph", "<= 3 ms"),
        ("the share of the time in which that GPU is idle", "-"),
    ):
        yield what, asked, of_gpu_step(what)


def of_call(cell: dict[tuple[str, str, str], dict[str, str]]) -> str:
    """Return how long a call takes beside torch's cross entropy."""
    pair = [cell.get(("128x100", "float32", f"call {code}")) for code in ("fused", "cross_entropy")]
    if pair[0] is None or pair[1] is None:
        return NOT_MEASURED
    return f"{float(pair[0]['us']) / float(pair[1]['us']):.2f} x"


def of_gpu_step(what: str) -> str:
    """Return what ``benches.training --device cuda --amp`` found, where its table is there."""
    if not (RESULTS / OF_GPU_STEPS).exists():
        return NOT_MEASURED
    row = next(row for row in read_csv(OF_GPU_STEPS)[1] if row["loop"] == "lt-fast, step as a graph")
    return f"{row['GPU idle, %']} %" if "idle" in what else f"{row['ms a step']} ms"


def costs(rows: Rows, task: str, who: str) -> list[float]:
    """Return nanoseconds an image, batch by batch."""
    return [float(row["ns per image"]) for row in rows if (row["task"], row["who"]) == (task, who)]


def times(others: list[float], ours: list[float]) -> str:
    """Return how many times as long the others take."""
    ratios = [other / own for other, own in zip(others, ours, strict=True)]
    return f"{ends(ratios, '.3g')} x"


def ends(values: list[float], digits: str) -> str:
    """Return the smallest and the largest value, or the only one."""
    low, high = format(min(values), digits), format(max(values), digits)
    return low if low == high else f"{low} to {high}"
