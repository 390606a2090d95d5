"""Tables of docs/benchmarks.md, docs/speed.md, docs/scale.md and README, from the CSV files of the others.

Nothing is measured here.

Each row gives the range over its counts or shapes, and every rival of the CSV file, also where we lose. A rival that
was not measured, because it is not installed, is missing from its row.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benches import speed_picture
from benches.goals import goals_table
from benches.harness import RESULTS, markdown_table, read_csv, replace_between

README = Path(__file__).parent.parent / "README.md"
PAGE = README.parent / "docs" / "benchmarks.md"
SPEED, SCALE = PAGE.with_name("speed.md"), PAGE.with_name("scale.md")
BLOCK = "benches"  # of the page
HEADLINES = "speed"  # of README
SAMPLING, LOSSES, AUGMENTATION = "sampling.csv", "mixed_margin_loss.csv", "augmentation.csv"
TRAINING, FILES, RANKS, LABELS, CLASSES = "training.csv", "files.csv", "ranks.csv", "labels.csv", "classes.csv"
SETS = ("cifar100-lt", "imagenet-lt", "inaturalist-2018")
OF_SAMPLERS = """\
Samplers: nanoseconds per index, and how many times as long the others take, from the smallest to the largest value over
the counts of CIFAR-100-LT, ImageNet-LT and iNaturalist 2018. Below 1 we lose."""
OF_LOSSES = """\
The mixed LDAM loss with its gradient, rows x classes, float32, one thread; again how many times as long the others
take. Copying the logits moves as many bytes as any code must. For shapes where the call dominates, a second line gives
the same loss with `return_gradient=True`, whose gradient is passed to autograd at the logits."""
OF_AUGMENTATION = """\
Batches of 128 and 512 images of 32 x 32 x 3 in memory, from uint8 to the normalised tensor, one thread: nanoseconds per
image, and again how many times as long the others take. The kernel writes into memory that is there already."""
INTEGERS = "Python's integers: cached ones below 131,072, new ones beyond"
CLASS_AWARE = {
    "ClassAwareSampler": "ClassAwareSampler",
    "ClassAwareSampler by generators": "the same by generators",
}
WEIGHTED = {"WeightedRandomSampler + BatchSampler": "`WeightedRandomSampler`"}
RIVALS = "compared with"
CALL = "the call: autograd and Python"
SHAPES = {
    "128x10": CALL,
    "128x100": CALL,
    "256x1000": "arithmetic: one exponential per element",
    "256x8142": "arithmetic, then memory",
    "1024x8142": "memory",
}


@dataclass(frozen=True)
class Line:
    """One row of the table: one line of ours in the CSV file, and the lines to compare it with."""

    what: str
    draw: str
    output: str
    ours: str
    rivals: dict[str, str]
    limit: str
    counts: tuple[str, ...] = SETS
    unit: str = "ns"


LINES = (
    Line(
        "class-balanced, the kernel alone", "class-balanced", "kernel", "lt-fast replace",
        {"NumPy two-level": "NumPy two-level", "NumPy in place": "NumPy's best, in place"},
        "arithmetic; the caches from thousands of classes on",
    ),
    Line(
        "class-balanced, an epoch as an array", "class-balanced", "array", "lt-fast replace",
        {"NumPy two-level": "NumPy two-level", "WeightedRandomSampler": "`WeightedRandomSampler`"},
        "the kernel, and a new array",
    ),
    Line(
        "the same, every image of a class before any repeats", "class-balanced", "array", "lt-fast cycle",
        {"NumPy two-level": "NumPy two-level (independent draws)", "WeightedRandomSampler": "`WeightedRandomSampler`"},
        "one step of a shuffle per draw, in another region of memory for each class",
    ),
    Line(
        "class-balanced, lists of 128", "class-balanced", "list batches", "lt-fast replace",
        {**WEIGHTED, **CLASS_AWARE, "torchsampler": "torchsampler", "NumPy two-level": "NumPy two-level"}, INTEGERS,
    ),
    Line(
        "the same, every image of a class before any repeats (as ClassAwareSampler)", "class-balanced", "list batches",
        "lt-fast cycle",
        {**CLASS_AWARE, **WEIGHTED}, "Python's integers, and the shuffles",
    ),
    Line(
        "by weight, independent, an array", "weighted", "array", "lt-fast",
        {"WeightedRandomSampler": "`WeightedRandomSampler`", "NumPy binary search": "NumPy's binary search"},
        "the caches: one look into a table of N",
    ),
    Line(
        "by weight, distinct, an array", "weighted, distinct", "array", "lt-fast",
        {"WeightedRandomSampler": "`WeightedRandomSampler(replacement=False)`"},
        "a key for each of the N weights, and their order",
    ),
    Line(
        "shuffled, an array", "shuffled", "array", "lt-fast",
        {
            "RandomSampler": "`RandomSampler`", "NumPy permutation": "NumPy's permutation",
            "grain IndexSampler": "grain",
        },
        "beyond 65,536 samples a permutation with random access, which NumPy's does not have",
    ),
    Line(
        "shuffled, lists of 128", "shuffled", "list batches", "lt-fast",
        {
            "RandomSampler + BatchSampler": "`RandomSampler`",
            "DistributedSampler + BatchSampler": "`DistributedSampler`", "NumPy permutation": "NumPy's permutation",
        },
        INTEGERS,
    ),
    Line(
        "confusion pairs of 100 classes, arrays", "confusion pairs", "array batches", "lt-fast", {"NumPy": "NumPy"},
        "arithmetic", ("100 classes",),
    ),
    Line(
        "the same, lists", "confusion pairs", "list batches", "lt-fast", {"Python": "Python"}, INTEGERS,
        ("100 classes",),
    ),
    Line(
        "confusion pairs of 1,000 classes, arrays", "confusion pairs", "array batches", "lt-fast", {"NumPy": "NumPy"},
        "the caches: a table of a million cells", ("1000 classes",),
    ),
    Line(
        "the same, lists", "confusion pairs", "list batches", "lt-fast", {"Python": "Python"},
        "the caches, and Python's integers", ("1000 classes",),
    ),
    Line(
        "4 of each of 32 classes, lists", "m per class", "list batches", "lt-fast",
        {"MPerClassSampler": "pytorch-metric-learning"}, "Python's integers, and an order for each class",
    ),
    Line(
        "building a sampler from a million labels", "construction", "sampler", "lt-fast",
        {"torchsampler": "torchsampler"}, "memory", ("1 M labels",), "ms",
    ),
    Line(
        "a batch at position 10^9, independent draws", "seek", "replace, from either end", "lt-fast at 1e9 or 5e8",
        {"lt-fast at 0 or 5e8": "ours at position 0"}, "nothing: a batch is a formula of its position",
    ),
    Line(
        "the same, every image of a class before any repeats", "seek", "cycle, from either end",
        "lt-fast at 1e9 or 5e8", {"lt-fast at 0 or 5e8": "ours at position 0"},
        "the position of each class, and its order up to there",
    ),
    Line(
        "a whole `DataLoader` in memory", "whole loader", "batches", "lt-fast cycle",
        {"WeightedRandomSampler": "with `WeightedRandomSampler`"}, "the loader: the sampler is not the bottleneck",
    ),
)  # fmt: skip


def main() -> None:
    """Write the tables into the pages, and the headlines into README."""
    replace_between(PAGE, BLOCK, tables())
    for block, table in SCALE_BLOCKS.items():
        replace_between(SCALE, block, table())
    replace_between(README, HEADLINES, headlines())
    speed_picture.draw()
    replace_between(SPEED, "training", training_table())
    replace_between(SPEED, "goals", goals_table())
    print(f"{SCALE.name}: the tables of scale, from {FILES}, {RANKS}, {LABELS} and {CLASSES}")
    files = f"{SAMPLING}, {LOSSES}, {AUGMENTATION} and {TRAINING}"
    print(f"{PAGE.name}, {SPEED.name}, {README.name}: the tables of speed, from {files}")


def headlines() -> str:
    """Return the picture and the few figures that README shows, as Markdown."""
    samplers = {row["what"]: row for row in sampling_rows(read_csv(SAMPLING)[1])}
    losses = {row["shape"]: row for row in loss_rows(read_csv(LOSSES)[1])}
    array, loader = samplers["class-balanced, an epoch as an array"], samplers["a whole `DataLoader` in memory"]
    lines = [
        f"Class-balanced draws, an epoch as an array: {array['lt-fast']} per index; {array[RIVALS]}.",
        f"A whole `DataLoader` in memory: {loader[RIVALS]}; the sampler is not the bottleneck.",
    ]
    for shape in ("128 x 100", "1024 x 8142"):
        row = losses[shape]
        lines.append(
            f"The mixed LDAM loss with its gradient, {shape} logits, one CPU thread: {row['lt-fast']}; "
            f"{row['best compiled']} the best compiled PyTorch code, {row['one plain `F.cross_entropy`']} one plain "
            "`F.cross_entropy`."
        )
    picture = f"![{speed_picture.words()}](docs/{speed_picture.NAME})\n\n"
    return picture + "\n".join(f"- {line}" for line in lines)


def tables() -> str:
    """Return the tables with their machines' lines, as Markdown."""
    machine, rows = read_csv(SAMPLING)
    loss_machine, losses = read_csv(LOSSES)
    parts = (
        OF_SAMPLERS,
        markdown_table(list(sampling_rows(rows))),
        f"Measured on: {machine}.",
        OF_LOSSES,
        markdown_table(list(loss_rows(losses))),
        f"Measured on: {loss_machine}.",
        *augmentation_table(),
    )
    return "\n\n".join(parts)


def classes_table() -> str:
    """Return seconds and peak memory by the number of classes, with the machine's line, as Markdown."""
    machine, rows = read_csv(CLASSES)
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        cell = f"{digits(float(row['seconds']))} s, {float(row['MiB']):,.0f} MiB"
        lines.setdefault(row["what"], {"what": row["what"]})[f"{int(row['classes']):,} classes"] = cell
    return f"{markdown_table(list(lines.values()))}\n\nMeasured on: {machine}."


def augmentation_table() -> tuple[str, ...]:
    """Return the table of augmentation and its machine's line; nothing before it is measured for the first time."""
    if not (RESULTS / AUGMENTATION).exists():
        return ()
    machine, rows = read_csv(AUGMENTATION)
    return OF_AUGMENTATION, markdown_table(list(augmentation_rows(rows))), f"Measured on: {machine}."


def training_table() -> str:
    """Return the table of training loops and its machine's line."""
    machine, rows = read_csv(TRAINING)
    return f"{markdown_table(list(training_rows(rows)))}\n\nMeasured on: {machine}."


def training_rows(rows: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Yield the row of each loop; a column of shares is left out where none was measured.

    The loop's own microseconds are those of the network that takes no time, its share that of the one that does.
    """
    rows = list(rows)
    shares = [name for name in ("waiting, %", "checkpoint, %", "GPU idle, %") if any(row[name] for row in rows)]
    for row in rows:
        bare, small = row["loop"] == "bare PyTorch", row["network"] == "a few pixels"
        yield {
            "network": row["network"],
            "loop": row["loop"],
            "a step": f"{digits(float(row['ms a step']))} ms",
            "an epoch": f"{digits(float(row['seconds an epoch']))} s",
            "over the bare loop": "-" if bare or small else f"{100 * (float(row['times bare']) - 1):+.1f} %",
            "of each step": f"{float(row['us over bare']):+,.0f} us" if small and not bare else "-",
            **{name: f"{float(row[name]):.2f} %" if row[name] else "-" for name in shares},
        }


def files_table() -> str:
    """Return what was measured of image files, with what is asked."""
    machine, rows = read_csv(FILES)
    shown = [
        {
            "what": row["what"],
            "of": row["who"],
            "measured": f"{digits(float(row['value']), fine=row['unit'] in ('x', 's'))} {row['unit']}",
            "asked": f"{row['asked']} {row['unit']}" if row["asked"] else "-",
        }
        for row in rows
    ]
    return f"{markdown_table(shown)}\n\nMeasured on: {machine}."


def plain_table(csv: str) -> str:
    """Return the rows of a CSV file as they are, with their machine's line."""
    machine, rows = read_csv(csv)
    return f"{markdown_table(rows)}\n\nMeasured on: {machine}."


SCALE_BLOCKS = {
    "files": files_table,
    "ranks": lambda: plain_table(RANKS),
    "labels": lambda: plain_table(LABELS),
    "classes": classes_table,
}


def sampling_rows(rows: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Yield the rows of the table that were measured."""
    costs = {
        (row["draw"], row["output"], row["sampler"], row["counts"]): float(row["ns per index"]) for row in rows
    }  # of every line of the CSV
    for line in LINES:
        ours = [costs.get((line.draw, line.output, line.ours, counts)) for counts in line.counts]
        if None in ours:
            continue
        mine = [cost for cost in ours if cost is not None]
        yield {
            "what": line.what,
            "lt-fast": f"{span(mine)} {line.unit}",
            RIVALS: "; ".join(compared(costs, line, mine)),
            "what limits it": line.limit,
        }


def compared(costs: dict[tuple[str, str, str, str], float], line: Line, ours: list[float]) -> Iterator[str]:
    """Yield the ratio of each rival over the counts for which it was measured."""
    for rival, shown in line.rivals.items():
        theirs = [costs.get((line.draw, line.output, rival, counts)) for counts in line.counts]
        ratios = [their / our for their, our in zip(theirs, ours, strict=True) if their is not None]
        if ratios:
            yield f"{span(ratios)} x {shown}"


def span(values: list[float]) -> str:
    """Return the smallest and the largest value, or one value if they print alike."""
    most = max(values)
    low, high = (digits(value, fine=most < 2) for value in (min(values), most))
    return low if low == high else f"{low} to {high}"


def digits(value: float, *, fine: bool = False) -> str:
    """Return a number with two or three significant digits; ``fine`` for values close to 1."""
    decimals = 2 if fine or value < 1 else 1 if value < 10 else 0
    return f"{value:,.{decimals}f}"


def augmentation_rows(rows: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Yield a row per task, over the sizes of batches."""
    tasks: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        tasks.setdefault(row["task"], {}).setdefault(row["who"], []).append(float(row["ns per image"]))
    for task, costs in tasks.items():
        ours = costs.pop("lt-fast")
        ratios = {who: [their / our for their, our in zip(cost, ours, strict=True)] for who, cost in costs.items()}
        yield {
            "what": task,
            "lt-fast": f"{span(ours)} ns",
            RIVALS: "; ".join(f"{span(times)} x {who.replace('lt-fast', 'ours')}" for who, times in ratios.items()),
        }


def loss_rows(rows: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Yield a row per shape at one thread, and one for the returned gradient where the call dominates."""
    times: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["threads"] == "1":
            times.setdefault(row["shape"], {})[row["code"]] = float(row["us"])
    for shape, us in times.items():
        yield loss_row(shape.replace("x", " x "), us, us["fused"], SHAPES.get(shape, "-"))
        if SHAPES.get(shape) == CALL and "returned" in us:
            yield loss_row("the same, gradient returned", us, us["returned"], CALL)


def loss_row(shape: str, us: dict[str, float], ours: float, limit: str) -> dict[str, str]:
    """Return a row of the times of all codes, divided by ours."""
    fastest = min((us[name] for name in ("eager compiled", "gather compiled") if name in us), default=None)
    return {
        "shape": shape,
        "lt-fast": f"{ours:,.0f} us",
        "usual eager code": ratio(us["eager"], ours),
        "best eager by hand": ratio(us["gather"], ours),
        "best compiled": ratio(fastest, ours),
        "one plain `F.cross_entropy`": ratio(us["cross_entropy"], ours),
        "copying the logits": ratio(us["copy"], ours),
        "what limits it": limit,
    }


def ratio(theirs: float | None, ours: float) -> str:
    """Return how many times as long as ours ``theirs`` is."""
    if theirs is None:
        return "-"
    times = theirs / ours
    return f"{digits(times, fine=times < 2)} x"


if __name__ == "__main__":
    main()
