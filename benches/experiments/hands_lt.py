"""Hands-LT: a folder of photographs made long-tailed, recipes side by side over seeds, one CSV.

``python -m benches.experiments.hands_lt PATH/hands`` trains each method on seeds 0, 1, 2 on the features of a frozen
EfficientNet-Lite0 (finished runs are reused) and writes ``benches/results/hands_lt/freeze.csv``;
``--mode finetune`` and ``--mode scratch`` train whole networks. The photographs are those of Mavi 2020
(arXiv:2011.08927; ardamavi/Sign-Language-Digits-Dataset), Apache-2.0, one folder per digit.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from benches.harness import print_table, write_csv

from lt_fast import experiment
from lt_fast.cli.memory import keep_freed_memory
from lt_fast.metrics import mean_interval
from lt_fast.report.metrics_table import COLUMNS, over_seeds

RATIO = 20
METHODS = ("ce", "balanced_softmax", "ldam_drw", "mammc", "cp_mix")
LITE0 = "benches.experiments.efficientnet_lite:efficientnet_lite0"
NETWORKS = {"freeze": LITE0, "finetune": LITE0, "scratch": "torchvision:resnet18"}
# The photographs are 100 x 100: 224 would cost three times the time and show nothing more. Epochs for two cores.
SETTINGS: dict[str, dict[str, Any]] = {
    "freeze": {},
    "finetune": {"transform.size": 128, "epochs": 10},
    "scratch": {"transform.size": 96, "epochs": 40},
}


def result_of(method: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """Train one run, go on with it, or read it."""
    settings = dict(SETTINGS[given.mode]) | ({} if given.epochs is None else {"epochs": given.epochs})
    config = experiment.resolve(
        method,
        "photographs",
        settings,
        imbalance_ratio=RATIO,
        seed=seed,
        mode=given.mode,
        model=NETWORKS[given.mode],
        data_options={"path": str(given.photographs.resolve())},
    )
    run = given.runs / f"{method}-{given.mode}-seed{seed}"
    started = time.perf_counter()
    result = experiment.run(config, run, resume=(run / "config.json").exists(), progress=False)
    print(f"{method} seed {seed}: {time.perf_counter() - started:.1f} s", flush=True)
    return result


def row(method: str, given: argparse.Namespace) -> dict[str, Any]:
    """Return one line of the table, in percent, with the mean seconds of a run's training and of what follows it."""
    results = [result_of(method, seed, given) for seed in range(given.seeds)]
    found = [result["metrics"] for result in results]
    intervals = over_seeds(found, mean_interval)
    line: dict[str, Any] = {"method": method, "mode": given.mode, "seeds": given.seeds}
    for column, key in COLUMNS.items():
        line |= {column: _percent(intervals[key].mean), f"{column} +-": _percent(intervals[key].half_width)}
    line["balanced"] = _percent(sum(each["balanced_acc"] for each in found) / len(found))
    for name in results[0]["seconds"]:
        line[f"{name} s"] = round(sum(each["seconds"][name] for each in results) / len(results), 1)
    return line


def _percent(fraction: float | None) -> float | str:
    return "" if fraction is None else round(100 * fraction, 2)


def main() -> None:
    """Train, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photographs", type=Path, help="folder with one folder per class")
    parser.add_argument("--mode", choices=list(NETWORKS), default="freeze")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="default: SETTINGS, else the protocol's")
    parser.add_argument("--runs", type=Path, default=Path("runs/hands_lt"))
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    rows = [row(method, given) for method in given.methods]
    write_csv(Path("hands_lt") / f"{given.mode}.csv", rows)
    print_table(rows)


if __name__ == "__main__":
    main()
