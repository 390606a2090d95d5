"""CIFAR-10-LT on a CPU, 20 + 5 epochs: a check of the whole way on real photographs, far from the published 200 epochs.

``python -m benches.experiments.cifar10_lt --root DIR`` trains the methods one after the other (each resumes where it
was stopped), copies what is worth keeping into ``benches/results/cifar10_lt/<method>/`` and prints the table.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from benches.harness import RESULTS, machine_line, print_table

from lt_fast.cli import main as lt_fast

KEPT = ("config.json", "metrics.csv", "result.json", "plots/curves.png", "plots/reliability.png", "plots/recall.png")


def train(method: str, root: Path, runs: Path, *, profile: str, epochs: int, threads: int) -> Path:
    """Train ``method``, or go on with what is there; return the run directory."""
    run = runs / f"{method}-cifar10-lt-{profile}"
    command = ["train", "--method", method, "--data", "cifar10-lt", "--profile", profile, "--root", str(root)]
    command += ["--run", str(run), "--epochs", str(epochs), "--threads", str(threads), "--amp", "--seed", "0"]
    if method in ("mc", "mammc"):
        command += ["--set", "calibration_epochs=5"]
    status = lt_fast([*command, "--resume"] if run.exists() else command)
    if status != 0:
        raise SystemExit(status)
    return run


def keep(run: Path, name: str) -> None:
    """Copy the small files of a run to the results, with the line of this machine."""
    folder = RESULTS / "cifar10_lt" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in KEPT:
        shutil.copyfile(run / file, folder / Path(file).name)
    (folder / "machine.txt").write_text(machine_line() + "\n", encoding="utf-8")


def row(name: str) -> dict[str, Any]:
    """Return one line of the table, in percent."""
    metrics = json.loads((RESULTS / "cifar10_lt" / name / "result.json").read_text(encoding="utf-8"))["metrics"]
    shown = {"overall": "top1", "many": "many_recall", "medium": "medium_recall", "ECE": "ece15"}
    return {"method": name} | {column: 100 * metrics[key] for column, key in shown.items()}


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
    print_table([row(name) for name in names])


if __name__ == "__main__":
    main()
