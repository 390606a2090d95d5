"""CIFAR-10-LT on a CPU, 20 + 5 epochs: a check of the whole way on real photographs, far from the published 200 epochs.

``python -m benches.experiments.cifar10_lt --root DIR`` trains the methods one after the other (each resumes where it
was stopped) and copies what is worth keeping into ``benches/results/cifar10_lt/<method>/``; ``--profile step`` does so
for the step profile, under ``<method>-step``. All results there make ``benches/results/cifar10_lt.csv`` and the
table of docs/benchmarks.md. The results in the repository are of ``--methods ce mammc cp_mix`` and of
``--profile step --methods ldam_drw mm_ldam_drw``, each with ``--threads 1``.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from benches.harness import DOCS, RESULTS, machine_line, markdown_table, print_table, replace_between, write_csv

from lt_fast.cli import main as lt_fast

KEPT = ("config.json", "metrics.csv", "result.json", "plots/curves.png", "plots/reliability.png", "plots/recall.png")
SHOWN = {"overall": "top1", "many": "many_recall", "medium": "medium_recall", "few": "few_recall", "ECE": "ece15"}
KEPT_WHERE_DRAWN = ("plots/confusion_pairs.png",)  # by the methods that learn pairs


def train(method: str, root: Path, runs: Path, *, profile: str, epochs: int, threads: int) -> Path:
    """Train ``method``, or go on with what is there; return the run directory."""
    run = runs / f"{method}-cifar10-lt-{profile}"
    command = ["train", "--method", method, "--data", "cifar10-lt", "--profile", profile, "--root", str(root)]
    command += ["--run", str(run), "--epochs", str(epochs), "--threads", str(threads), "--amp", "--seed", "0"]
    if method in ("mc", "mammc"):
        command += ["--set", "calibrator.epochs=5"]
    status = lt_fast([*command, "--resume"] if run.exists() else command)
    if status != 0:
        raise SystemExit(status)
    return run


def keep(run: Path, name: str) -> None:
    """Copy the small files of a run to the results, with the line of this machine."""
    folder = RESULTS / "cifar10_lt" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*KEPT, *KEPT_WHERE_DRAWN):
        if file in KEPT or (run / file).exists():
            shutil.copyfile(run / file, folder / Path(file).name)
    (folder / "machine.txt").write_text(machine_line() + "\n", encoding="utf-8")


def rows() -> list[dict[str, Any]]:
    """Return the table over all that is kept, in percent: the exp profile first, each as trained and in stages."""
    folders = sorted((RESULTS / "cifar10_lt").glob("*/result.json"), key=lambda file: _place(file.parent.name))
    return [row for file in folders for row in _rows_of(file)]


def write_page() -> None:
    """Write the table into docs/benchmarks.md."""
    shown = [
        {name: f"{value:.1f}" if isinstance(value, float) else value for name, value in row.items() if name != "seed"}
        for row in rows()
    ]
    replace_between(DOCS / "benchmarks.md", "cifar10_lt", markdown_table(shown))


def _place(name: str) -> tuple[bool, str]:
    return name.endswith("-step"), name


def _rows_of(file: Path) -> list[dict[str, Any]]:
    result = json.loads(file.read_text(encoding="utf-8"))
    method, profile = file.parent.name.removesuffix("-step"), result["config"]["profile"]
    before = result.get("metrics_before_calibration")
    stages = ({", before calibration": before} if before else {}) | {"": result["metrics"]}
    return [
        {"method": method + stage, "profile": profile, "seed": result["config"]["seed"]}
        | {column: _percent(metrics.get(key)) for column, key in SHOWN.items()}
        for stage, metrics in stages.items()
    ]


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 1)


def main() -> None:
    """Train, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of CIFAR-10's files, in torchvision's layout")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--methods", nargs="+", default=["ce", "mammc"])
    parser.add_argument("--profile", default="exp")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    names = [method if given.profile == "exp" else f"{method}-{given.profile}" for method in given.methods]
    for method, name in zip(given.methods, names, strict=True):
        keep(
            train(method, given.root, given.runs, profile=given.profile, epochs=given.epochs, threads=given.threads),
            name,
        )
    write_csv("cifar10_lt.csv", rows())
    write_page()
    print_table(rows())


if __name__ == "__main__":
    main()
