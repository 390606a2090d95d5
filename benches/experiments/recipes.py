"""Every recipe on Digits-LT and CIFAR-10-LT, trained side by side; JSON, CSV, and the tables of docs/results.md.

::

    python -m benches.experiments.recipes digits                    # every recipe, 5 seeds
    python -m benches.experiments.recipes cifar --root DIR          # those of the papers' tables, 30 epochs, one seed
    python -m benches.experiments.recipes take runs/A runs/B ...    # finished runs of `lt-fast train`
    python -m benches.experiments.recipes table runs/reproduce/NAME # what `lt-fast reproduce NAME` wrote
    python -m benches.experiments.recipes page                      # docs/results.md from what is kept

Each continues where it was stopped. ``benches/results/recipes/<data>.json`` has one record per run, in place of earlier
ones of the same recipe and seed; the CSV file next to it and the page follow from it.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benches.harness import DOCS, RESULTS, machine_line, markdown_table, replace_between, write_csv

from lt_fast.experiment import resolve, run_name
from lt_fast.metrics import mean_interval
from lt_fast.recipes import RECIPES
from lt_fast.report.metrics_table import COLUMNS
from lt_fast.report.tables import NOTHING, percent
from lt_fast.reproduction import TARGETS
from lt_fast.reproduction.planning import recipe_hash
from lt_fast.scheduling import Job, Machine, carry_out, check_data
from lt_fast.training.run_files import read_result

PAGE = DOCS / "results.md"
KEPT, REPRODUCED = RESULTS / "recipes", RESULTS / "reproduce"
PAPERS = ("mammc-", "cp-mix-", "mm")
"""The targets whose recipes are trained on CIFAR-10-LT begin so."""

NAMES = {"digits-lt": "digits", "cifar10-lt": "cifar10"}
EPOCHS, RATIO = 30, 100.0
NO_RUN = "No run has been kept yet."
SECOND_STAGE = "before its second stage"


def recipes_of_the_papers() -> list[str]:
    """Return the recipes of the three papers' tables that this version has, in the order of its list."""
    named = {row.recipe for name, target in TARGETS.items() if name.startswith(PAPERS) for row in target.rows}
    return [recipe for recipe in RECIPES if recipe in named]


def train(recipes: Iterable[str], data: str, seeds: int, runs: Path, machine: Machine, **settings: Any) -> list[Path]:
    """Train what has not finished, and return the directories of the finished runs; failing ones are printed."""
    jobs = []
    for recipe in recipes:
        for seed in range(seeds):
            ratio = RATIO if data == "cifar10-lt" else None
            config = resolve(recipe, data, settings, imbalance_ratio=ratio, seed=seed)
            jobs.append(Job(f"{recipe}, seed {seed}", config, runs / run_name(config)))
    check_data(jobs, machine)
    outcomes = carry_out(jobs, machine)
    for outcome in outcomes:
        if outcome.status == "failed":
            print(f"{outcome.job.name} failed: {outcome.reason}; see {outcome.job.log}")
    return [outcome.job.folder for outcome in outcomes if outcome.status == "finished"]


def record(folder: Path) -> dict[str, Any]:
    """Return what is kept of a finished run."""
    result = read_result(folder)
    config, before = result["config"], result["metrics_before_calibration"]
    words = {name: config[name] for name in ("recipe", "data", "imbalance_ratio", "profile", "seed", "epochs", "amp")}
    return words | {
        "batch_size": config["batch_size"],
        "train_images": result["data"]["train_images"],
        "train_fingerprint": result["data"]["train_fingerprint"],
        "recipe_sha256": recipe_hash(config),
        "selection": result["selection"],
        "metrics": _shown_metrics(result["metrics"]),
        "before_second_stage": None if before is None else _shown_metrics(before),
        "seconds": round(result["seconds"]["train"], 1),
        "torch": result["versions"]["torch"],
    }


def keep(folders: Sequence[Path], machine: str) -> None:
    """Add finished runs to the kept ones, in place of those of the same data set, recipe and seed."""
    new = [record(folder) for folder in folders]
    for data in dict.fromkeys(each["data"] for each in new):
        if data not in NAMES:
            raise SystemExit(f"runs must be on {' or '.join(NAMES)}, got {data}")
        of_data = {_key(each): each for each in [*kept(data)["runs"], *(each for each in new if each["data"] == data)]}
        order = {recipe: place for place, recipe in enumerate(RECIPES)}
        runs = sorted(of_data.values(), key=lambda each: (order.get(each["recipe"], len(order)), each["seed"]))
        _refuse_mixture(runs)
        _write(data, {"machine": machine, "runs": runs})


def kept(data: str) -> dict[str, Any]:
    """Return the kept runs on a data set, and the line of their machine."""
    file = KEPT / f"{NAMES[data]}.json"
    if not file.exists():
        return {"machine": "", "runs": []}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def rows(data: str) -> list[dict[str, Any]]:
    """Return one line per recipe and stage: means in percent, and half their 95 % intervals."""
    by_recipe: dict[str, list[dict[str, Any]]] = {}
    for run in kept(data)["runs"]:
        by_recipe.setdefault(run["recipe"], []).append(run)
    return [row for recipe, runs in by_recipe.items() for row in _rows_of(recipe, runs)]


def table(data: str) -> str:
    """Return the table of a data set in Markdown."""
    found = rows(data)
    if not found:
        return NO_RUN
    several = max(row["seeds"] for row in found) > 1
    shown = [_cells(row, several=several) for row in found]
    return "\n\n".join([_caption(data), markdown_table(shown), *_behind(found)])


def reproduced() -> str:
    """Return the kept answers of ``lt-fast reproduce`` in Markdown: published next to measured."""
    files = sorted(REPRODUCED.glob("*.json"))
    return "\n\n".join(map(_reproduced, files)) if files else NO_RUN


BLOCKS = {
    "digits": lambda: table("digits-lt"),
    "cifar10": lambda: table("cifar10-lt"),
    "reproduced": reproduced,
}
"""Block of docs/results.md to what it shows."""


def write_page() -> None:
    """Write every table into docs/results.md."""
    for block, content in BLOCKS.items():
        replace_between(PAGE, block, content())


def _shown_metrics(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    return {key: None if metrics[key] is None else round(metrics[key], 6) for key in COLUMNS.values()}


def _key(run: Mapping[str, Any]) -> tuple[str, int]:
    return run["recipe"], run["seed"]


def _refuse_mixture(runs: Sequence[Mapping[str, Any]]) -> None:
    """Runs of different lengths or tails are no table."""
    for name in ("imbalance_ratio", "profile"):
        found = sorted({str(run[name]) for run in runs})
        if len(found) > 1:
            raise SystemExit(f"the runs of a table must share {name}, got {' and '.join(found)}; take others")
    for recipe in {run["recipe"] for run in runs}:
        if len({run["recipe_sha256"] for run in runs if run["recipe"] == recipe}) > 1:
            raise SystemExit(f"the runs of {recipe} must differ in the seed alone; take others")


def _write(data: str, found: Mapping[str, Any]) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f"  {json.dumps(run)}" for run in found["runs"])
    text = f'{{\n "machine": {json.dumps(found["machine"])},\n "runs": [\n{lines}\n ]\n}}\n'
    (KEPT / f"{NAMES[data]}.json").write_text(text, encoding="utf-8")
    write_csv(KEPT / f"{NAMES[data]}.csv", rows(data), about=found["machine"])


def _rows_of(recipe: str, runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    stages = {SECOND_STAGE: [run["before_second_stage"] for run in runs]} if runs[0]["before_second_stage"] else {}
    return [_row(recipe, stage, runs, metrics) for stage, metrics in (stages | {"": _metrics(runs)}).items()]


def _metrics(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [run["metrics"] for run in runs]


def _row(recipe: str, stage: str, runs: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]) -> Any:
    row: dict[str, Any] = {"recipe": recipe, "stage": stage, "seeds": len(runs)}
    for column, key in COLUMNS.items():
        values = [each[key] for each in metrics if each[key] is not None]
        mean, half = mean_interval(values) if len(values) == len(metrics) else (None, None)
        row |= {column: _percent(mean), f"{column} +-": _percent(half)}
    steps = runs[0]["epochs"] * -(-runs[0]["train_images"] // runs[0]["batch_size"])
    seconds = round(sum(run["seconds"] for run in runs) / len(runs), 1)
    return row | {"epochs": runs[0]["epochs"], "steps": steps, "seconds": seconds}


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else round(100 * fraction, 2)


def _cells(row: Mapping[str, Any], *, several: bool) -> dict[str, str]:
    name = f"`{row['recipe']}`" + (f", {row['stage']}" if row["stage"] else "")
    cells = {"recipe": name}
    for column in COLUMNS:
        mean, half = (None if row[key] is None else row[key] / 100 for key in (column, f"{column} +-"))
        cells[column] = percent(mean, half if several else None)
    return cells | {"steps": f"{row['steps']:,}"}


def _caption(data: str) -> str:
    runs = kept(data)["runs"]
    seeds = len({run["seed"] for run in runs})
    first = runs[0]
    lengths = sorted({run["epochs"] for run in runs})
    epochs = f"{lengths[0]}" if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}"
    over = f"mean ± half the 95 % interval over {seeds} seeds" if seeds > 1 else "one seed"
    amp = ", bfloat16" if first["amp"] else ""
    return (
        f"Imbalance ratio {first['imbalance_ratio']:g}, {epochs} epochs{amp}, {over}, percent, {first['selection']}. "
        f"{kept(data)['machine']}."
    )


def _behind(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say which recipes are worse than cross entropy in the rarest group of classes that there is."""
    group = "few" if found[0]["few"] is not None else "medium"
    usual = next((row[group] for row in found if row["recipe"] == "ce"), None)
    worse = [f"`{row['recipe']}`" for row in found if not row["stage"] and usual is not None and row[group] < usual]
    return [f"Worse than `ce` in the group {group}: {', '.join(worse) or 'none'}."] if usual is not None else []


def _reproduced(file: Path) -> str:
    found = json.loads(file.read_text(encoding="utf-8"))
    shown = []
    for entry in found["entries"]:
        if entry["measured"] is None:
            continue
        ratio = "" if entry["imbalance_ratio"] is None else f" {entry['imbalance_ratio']:g}"
        unverified = "" if entry["verified"] or entry["published"] is None else " (unverified)"
        published = entry["printed"] or NOTHING
        if entry["published"] is not None:
            published = f"{entry['published']:g}{unverified}"
        measured = percent(entry["measured"] / 100, None if entry["half_width"] is None else entry["half_width"] / 100)
        difference = NOTHING if entry["difference"] is None else f"{entry['difference']:+.1f}"
        cells = {"row": entry["row"], "data": f"{entry['data']}{ratio}", "metric": entry["metric"]}
        cells |= {"published": published, "measured": measured, "difference": difference}
        shown.append(cells | {"published is": entry["verdict"] or NOTHING})
    notes = "".join(f"\n{data}: {line}.\n" for data, line in found["protocols"].items())
    heading = f"### {found['title']}\n\n{found['paper']}; training protocol: {found['protocol']}."
    return f"{heading}\n\n{markdown_table(shown)}\n{notes}".rstrip()


def keep_table(folder: Path) -> None:
    """Keep what ``lt-fast reproduce`` wrote into ``folder``; paths of run directories are left out."""
    found = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    found.pop("runs")
    REPRODUCED.mkdir(parents=True, exist_ok=True)
    name = found["target"]
    text = json.dumps({"machine": machine_line(), **found}, indent=1)
    (REPRODUCED / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
    (REPRODUCED / f"{name}.csv").write_text((folder / "table.csv").read_text(encoding="utf-8"), encoding="utf-8")


def main(words: Sequence[str] | None = None) -> None:
    """Train or take runs, keep them, and write the page."""
    given = _parser().parse_args(words)
    compiler = "inductor" if given.compile else None
    machine = Machine(workers=given.workers, threads=given.threads, root=given.root, compiler=compiler)
    if given.what == "digits":
        recipes = given.recipes or list(RECIPES)
        keep(train(recipes, "digits-lt", given.seeds or 5, given.runs, machine), machine_line())
    elif given.what == "cifar":
        settings = {"epochs": given.epochs, "amp": True}
        recipes = given.recipes or recipes_of_the_papers()
        keep(train(recipes, "cifar10-lt", given.seeds or 1, given.runs, machine, **settings), machine_line())
    elif given.what == "take":
        keep(given.folders, machine_line())
    elif given.what == "table":
        for folder in given.folders:
            keep_table(folder)
    write_page()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["digits", "cifar", "take", "table", "page"])
    parser.add_argument("folders", nargs="*", type=Path, help="of `take` and `table`")
    parser.add_argument("--recipes", nargs="+", help="these alone")
    parser.add_argument("--seeds", type=int, help="default: 5 on Digits-LT, 1 on CIFAR-10-LT")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="on CIFAR-10-LT")
    parser.add_argument("--root", type=Path, help="folder of CIFAR-10's files, in torchvision's layout")
    parser.add_argument("--runs", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--workers", type=int, help="runs side by side (default: one per processor)")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--compile", action="store_true", help="compile the networks, see docs/speed.md")
    return parser


if __name__ == "__main__":
    main()
