"""A few figures of each version, for the history on docs/benchmarks.md; nothing is measured here.

``benches/results/history.csv`` has the figures that were measured last in each version, with date and machine.
``python -m benches history`` adds those of the CSV files of the benches under the version of this source. A bench whose
figures and machine have not changed since is not recorded again, so that a date is always one of a measurement. The
times of two machines cannot be compared; a ratio to other code in the same run can be, with care.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple

from benches.harness import DOCS, markdown_table, read_csv, replace_between, write_csv
from benches.summary import digits, ratio

from lt_fast import __version__

PAGE, BLOCK, CSV = DOCS / "benchmarks.md", "history", "history.csv"
ABOUT = "figures of each version; of another machine a ratio may be compared, a time may not"
DASH = "A dash: no new measurement in that version."
Rows = list[dict[str, str]]


class Figure(NamedTuple):
    """A time of ours and the code that it is compared with: the fastest of ``rivals``."""

    what: str
    where: dict[str, str]  # columns of the CSV file that choose the rows
    ours: str
    rivals: tuple[str, ...]
    beside: str  # the rival's name on the page


class Bench(NamedTuple):
    """One bench: its title on the page, its CSV file, the columns of code and time, and its figures."""

    title: str
    csv: str
    code: str
    time: str
    unit: str
    figures: tuple[Figure, ...]


def _drawn(draw: str, output: str) -> dict[str, str]:
    return {"counts": "imagenet-lt", "draw": draw, "output": output}


def _loss(shape: str) -> dict[str, str]:
    return {"shape": shape, "threads": "1"}


def _images(task: str) -> dict[str, str]:
    return {"task": task, "batch": "128"}


WEIGHTED, COMPILED = "WeightedRandomSampler", ("eager compiled", "gather compiled")
IN_LISTS = f"{WEIGHTED} + BatchSampler"
BALANCED, LISTS, P_BY_K = "class-balanced", "list batches", "4 of each of 32 classes, lists"
BENCHES = (
    Bench(
        "Samplers, counts of ImageNet-LT", "sampling.csv", "sampler", "ns per index", "ns",
        (
            Figure("class-balanced, an array", _drawn(BALANCED, "array"), "lt-fast replace", (WEIGHTED,), WEIGHTED),
            Figure("class-balanced, lists", _drawn(BALANCED, LISTS), "lt-fast replace", (IN_LISTS,), WEIGHTED),
            Figure("shuffled, an array", _drawn("shuffled", "array"), "lt-fast", ("RandomSampler",), "RandomSampler"),
            Figure("by weight, an array", _drawn("weighted", "array"), "lt-fast", (WEIGHTED,), WEIGHTED),
            Figure(P_BY_K, _drawn("m per class", LISTS), "lt-fast", ("MPerClassSampler",), "pytorch-metric-learning"),
        ),
    ),
    Bench(
        "The mixed LDAM loss with its gradient, one thread", "mixed_margin_loss.csv", "code", "us", "us",
        tuple(
            Figure(shape.replace("x", " x "), _loss(shape), "fused", COMPILED, "the best compiled code")
            for shape in ("128x10", "128x100", "256x1000", "256x8142", "1024x8142")
        ),
    ),
    Bench(
        "Images in memory, batches of 128, one thread", "augmentation.csv", "who", "ns per image", "ns",
        tuple(
            Figure(task, _images(task), "lt-fast", ("torchvision v2",), "torchvision v2")
            for task in ("crop, flip, mix, normalise", "crop, flip, AutoAugment, Cutout, normalise")
        ),
    ),
    Bench(
        "A training step of ResNet-32 on the CPU", "training.csv", "loop", "ms a step", "ms",
        (Figure("a step", {"network": "ResNet-32"}, "lt-fast", ("bare PyTorch",), "a bare loop"),),
    ),
)  # fmt: skip


def main() -> None:
    """Record what has been measured since, and write the tables into docs/benchmarks.md."""
    recorded = read_csv(CSV)[1]
    rows = updated(recorded, version=__version__, date=datetime.now(UTC).date().isoformat())
    if rows != recorded:
        write_csv(CSV, rows, about=ABOUT)
    replace_between(PAGE, BLOCK, tables(rows))
    print(f"{PAGE.name}: the history, from {CSV}; {len(rows) - len(recorded)} new rows")


def updated(recorded: Rows, *, version: str, date: str) -> Rows:
    """Return the rows of the history with what the benches' CSV files have that was not recorded last.

    What was measured again in one version takes the place of what was measured there before.
    """
    rows = recorded
    for bench in BENCHES:
        machine, measurements = read_csv(bench.csv)
        found = [{"version": version, "date": date, **row, "machine": machine} for row in measured(bench, measurements)]
        if _undated(found) != _undated(latest(rows, bench)):
            rows = [row for row in rows if (row["bench"], row["version"]) != (bench.csv, version)] + found
    return rows


def measured(bench: Bench, rows: Rows) -> Iterator[dict[str, str]]:
    """Yield the figures of a bench from the rows of its CSV file: our time, and the fastest rival's over ours."""
    for what, where, ours, rivals, beside in bench.figures:
        chosen = {row[bench.code]: float(row[bench.time]) for row in rows if where.items() <= row.items()}
        time, theirs = chosen[ours], min(chosen[name] for name in rivals if name in chosen)
        yield {
            "bench": bench.csv,
            "what": what,
            "time": f"{time:.6g}",
            "unit": bench.unit,
            "compared with": beside,
            "times as long": f"{theirs / time:.4g}",
        }


def latest(rows: Rows, bench: Bench) -> Rows:
    """Return the rows of the version in which a bench was measured last."""
    of_bench = [row for row in rows if row["bench"] == bench.csv]
    return [row for row in of_bench if row["version"] == of_bench[-1]["version"]]


def tables(rows: Rows) -> str:
    """Return a table per bench with a column per version, and where each was measured, as Markdown."""
    versions = list(dict.fromkeys(row["version"] for row in sorted(rows, key=lambda row: row["date"])))
    parts = [part for bench in BENCHES for part in _table(bench, rows, versions)]
    return "\n\n".join([*parts, DASH])


def _table(bench: Bench, rows: Rows, versions: list[str]) -> Iterator[str]:
    of_bench = [row for row in rows if row["bench"] == bench.csv]
    cells = {(row["what"], row["version"]): _cell(row) for row in of_bench}
    yield f"**{bench.title}**"
    yield markdown_table(
        [
            {
                "what": figure.what,
                "compared with": figure.beside,
                **{version: cells.get((figure.what, version)) for version in versions},
            }
            for figure in bench.figures
        ]
    )
    yield "\n".join(
        f"- {version}: {date}, {machine}."
        for (version, date, machine), _ in groupby(of_bench, lambda row: (row["version"], row["date"], row["machine"]))
    )


def _cell(row: dict[str, str]) -> str:
    time = float(row["time"])
    return f"{digits(time, fine=time < 2)} {row['unit']}; {ratio(float(row['times as long']), 1.0)}"


def _undated(rows: Rows) -> Rows:
    return [{name: value for name, value in row.items() if name not in ("version", "date")} for row in rows]


if __name__ == "__main__":
    main()
