"""Why recipes are behind cross entropy in the rarest classes of Digits-LT: each at two lengths, beside its own `ce`.

::

    python -m benches.experiments.behind     # 72 runs of Digits-LT, minutes; continues where it was stopped

A recipe that holds images out for validation is compared with `ce` on the same images. The difference is taken seed by
seed, so that what the two share, data and first weights, is no part of it. Writes
``benches/results/recipes/behind.csv`` and the table of docs/results.md.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benches.experiments.recipes import KEPT, PAGE
from benches.harness import machine_line, markdown_table, replace_between, write_csv

from lt_fast.experiment import resolve, run_name
from lt_fast.metrics import mean_interval
from lt_fast.report.tables import percent
from lt_fast.scheduling import Job, Machine, carry_out
from lt_fast.training.run_files import read_result

DATA, BASE, METRIC = "digits-lt", "ce", "few_recall"
SEEDS = range(200, 203)
EPOCHS = (60, 240)
HELD_OUT = 0.1
RECIPES = {
    "mixup": 0.0,
    "mam": 0.0,
    "mixup_drw": 0.0,
    "cutmix": 0.0,
    "regmixup": 0.0,
    "balanced_softmax_autoaugment": 0.0,
    "lt_fast": 0.0,
    "equalization": 0.0,
    "otmix": HELD_OUT,
    "fasa": HELD_OUT,
}
"""Recipe to the fraction of each class that it holds out for validation."""


class Run(NamedTuple):
    """What is trained: a recipe, its length, what it holds out, its seed."""

    recipe: str
    epochs: int
    held_out: float
    seed: int


def runs() -> list[Run]:
    """Return every run, those of `ce` that the others are compared with first."""
    fractions = sorted(set(RECIPES.values()))
    systems = [(BASE, fraction) for fraction in fractions] + list(RECIPES.items())
    return [Run(recipe, epochs, fraction, seed) for recipe, fraction in systems for epochs in EPOCHS for seed in SEEDS]


def job_of(run: Run, folder: Path) -> Job:
    """Return the job of a run."""
    settings = {"epochs": run.epochs, "validation": run.held_out}
    config = resolve(run.recipe, DATA, settings, seed=run.seed)
    name = f"{run.recipe}, {run.epochs} epochs, {run.held_out:g} held out, seed {run.seed}"
    return Job(name, config, folder / run_name(config))


def rows(found: Mapping[Run, float]) -> list[dict[str, Any]]:
    """Return one line per recipe and length: recall of the rarest classes and the paired difference from `ce`."""
    systems = dict.fromkeys((run.recipe, run.epochs, run.held_out) for run in found)
    return [_row(*system, found) for system in systems]


def _row(recipe: str, epochs: int, held_out: float, found: Mapping[Run, float]) -> dict[str, Any]:
    own = [found[Run(recipe, epochs, held_out, seed)] for seed in SEEDS]
    base = [found[Run(BASE, epochs, held_out, seed)] for seed in SEEDS]
    row: dict[str, Any] = {"recipe": recipe, "epochs": epochs, "held out": held_out, "seeds": len(own)}
    row["few"], row["few +-"] = mean_interval(own)
    if recipe != BASE:
        row["minus ce"], row["minus ce +-"] = mean_interval([a - b for a, b in zip(own, base, strict=True)])
    return row


def write(found: Sequence[Mapping[str, Any]], machine: str) -> None:
    """Write the CSV file and the table on the page."""
    names = ("few", "few +-", "minus ce", "minus ce +-")
    shown = [{**row, **{name: _hundredths(row.get(name)) for name in names}} for row in found]
    write_csv(KEPT / "behind.csv", shown, about=machine)
    replace_between(PAGE, "behind", markdown_table([_cells(row) for row in found]))


def _hundredths(fraction: float | None) -> float | None:
    return None if fraction is None else round(100 * fraction, 2)


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    held_out = f", {row['held out']:.0%} held out" if row["held out"] else ""
    cells = {"recipe": f"`{row['recipe']}`{held_out}", "epochs": str(row["epochs"])}
    cells["few"] = percent(row["few"], row["few +-"])
    return cells | {"minus `ce`": percent(row.get("minus ce"), row.get("minus ce +-"))}


def main(words: Sequence[str] | None = None) -> None:
    """Train what has not finished and write the table; a run that fails ends it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/behind"))
    parser.add_argument("--workers", type=int, help="runs side by side (default: one per processor)")
    given = parser.parse_args(words)
    jobs = {run: job_of(run, given.runs) for run in runs()}
    outcomes = carry_out(list(jobs.values()), Machine(workers=given.workers, threads=1))
    failed = [f"{each.job.name}: {each.reason}" for each in outcomes if each.status != "finished"]
    if failed:
        raise SystemExit("\n".join(failed))
    write(rows({run: read_result(job.folder)["metrics"][METRIC] for run, job in jobs.items()}), machine_line())


if __name__ == "__main__":
    main()
