"""Digits-LT over seeds: any recipes side by side, one CSV with mean and 95 % interval.

``python -m benches.experiments.digits_lt --name cp_mix --methods ce balanced_softmax mammc cp_mix`` trains each method
on seeds 0, 1, 2 (finished runs are reused) and writes ``benches/results/digits_lt/<name>.csv``.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from benches.harness import print_table, write_csv

from lt_fast import experiment
from lt_fast.metrics import mean_interval
from lt_fast.report.metrics_table import COLUMNS, over_seeds


def result_of(method: str, seed: int, profile: str, runs: Path) -> dict[str, Any]:
    """Train one run, go on with it, or read it."""
    config = experiment.resolve(method, "digits-lt", profile=profile, seed=seed)
    run = runs / f"{method}-{profile}-seed{seed}"
    return experiment.run(config, run, resume=(run / "config.json").exists(), progress=False)


def row(method: str, seeds: int, profile: str, runs: Path) -> dict[str, Any]:
    """Return one line of the table, in percent."""
    found = [result_of(method, seed, profile, runs)["metrics"] for seed in range(seeds)]
    intervals = over_seeds(found, mean_interval)
    line: dict[str, Any] = {"method": method, "profile": profile, "seeds": seeds}
    for column, key in COLUMNS.items():
        line |= {column: _percent(intervals[key].mean), f"{column} +-": _percent(intervals[key].half_width)}
    return line


def _percent(fraction: float | None) -> float | str:
    return "" if fraction is None else round(100 * fraction, 2)


def main() -> None:
    """Train, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--name", required=True, help="of the CSV file")
    parser.add_argument("--methods", nargs="+", required=True)
    parser.add_argument("--profiles", nargs="+", default=["exp"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/digits_lt"))
    given = parser.parse_args()
    torch.set_num_threads(1)  # so small a network gains nothing from more
    rows = [row(method, given.seeds, profile, given.runs) for profile in given.profiles for method in given.methods]
    write_csv(Path("digits_lt") / f"{given.name}.csv", rows)
    print_table(rows)


if __name__ == "__main__":
    main()
