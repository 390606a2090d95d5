"""How long a frozen network takes from photographs to a calibrated classifier, in its parts; one line of CSV.

``python -m benches.experiments.frozen_speed PATH/hands`` takes 1,000 of the photographs, 100 of each class, and runs
MAMMC on the features of EfficientNet-Lite0 three times, each in a process of its own: with empty caches, with the
checks of the photographs cached, and with the features cached as well. The differences are the seconds of each part.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benches.harness import print_table, write_csv

from lt_fast.datasets.photographs import read_photographs

OF_EACH_CLASS = 100
LITE0 = "benches.experiments.efficientnet_lite:efficientnet_lite0"


def write_list(photographs: Path, path: Path) -> int:
    """Write the list of the first photographs of each class; return their number."""
    found = read_photographs(str(photographs))
    lines, seen = [], dict.fromkeys(range(len(found.classes)), 0)
    for image, label in zip(found.paths, found.labels.tolist(), strict=True):
        if seen[label] < OF_EACH_CLASS:
            seen[label] += 1
            lines.append(f"{photographs.resolve() / image} {label}\n")
    path.write_text("".join(lines))
    return len(lines)


def run(listed: Path, folder: Path, caches: Path, threads: int) -> tuple[float, dict[str, Any]]:
    """Train in a process of its own; return its seconds and what the run says of its head."""
    words = ["train", str(listed), "--model", LITE0, "--freeze", "--run", str(folder), "--no-plots", "--quiet"]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "lt_fast.cli", *words, "--threads", str(threads)],
        env={**os.environ, "XDG_CACHE_HOME": str(caches), "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    seconds = time.perf_counter() - started
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())["seconds"]
    return seconds, found


def main() -> None:
    """Time, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photographs", type=Path, help="folder with one folder per class")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        number = write_list(given.photographs, folder / "list.txt")
        cold, _ = run(folder / "list.txt", folder / "first", folder / "caches", given.threads)
        for features in (folder / "caches/lt-fast/features").iterdir():
            features.unlink()
        checked, _ = run(folder / "list.txt", folder / "second", folder / "caches", given.threads)
        warm, head = run(folder / "list.txt", folder / "third", folder / "caches", given.threads)
    row = {
        "photographs": number,
        "threads": given.threads,
        "all s": round(cold, 1),
        "checks s": round(cold - checked, 1),
        "features with decoding s": round(checked - warm, 1),
        "head s": round(head["train"], 2),
        "calibrate and measure s": round(head["calibrate_and_measure"], 2),
        "start and end s": round(warm - sum(head.values()), 1),
    }
    write_csv(Path("hands_lt") / "frozen_speed.csv", [row])
    print_table([row])


if __name__ == "__main__":
    main()
