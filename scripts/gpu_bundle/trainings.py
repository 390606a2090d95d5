"""Whole trainings on CIFAR-100-LT, several at a time: ``trainings.py METHOD:EPOCHS:SEED[:name=value,...] ...``.

Each finished one is a line of ``trainings.jsonl``; those that run when the time is up are stopped and named.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
POLL = 0.3  # seconds


def folder_of(words: str, options: argparse.Namespace) -> Path:
    """Return the run directory of a training."""
    return options.out / "runs" / words.replace(":", "-").replace(",", "-")


def command(words: str, options: argparse.Namespace) -> list[str]:
    """Return what trains METHOD:EPOCHS:SEED[:name=value,...], behind the name of Python."""
    method, epochs, seed, *rest = words.split(":", 3)
    found = ["-m", "lt_fast.cli", "train", "--recipe", str(HERE / "packed_cifar.py"), "--method", method]
    found += ["--data", "cifar100-lt", "--root", str(options.data), "--seed", seed, "--device", options.device]
    found += ["--run", str(folder_of(words, options)), "--threads", "1", "--no-plots", "--quiet", "--json", "--amp"]
    found += ["--epochs", epochs] if int(epochs) else []
    found += ["--step", "graph"] if options.device.startswith("cuda") else []
    return found + [word for setting in (rest[0].split(",") if rest else []) for word in ("--set", setting)]


def result(folder: Path) -> dict[str, Any]:
    """Return what a finished training reached."""
    found = json.loads((folder / "result.json").read_text())
    metrics, before = found["metrics"], found.get("metrics_before_calibration") or {}
    return {
        "epochs": found["config"]["epochs"], "spent": found["seconds"], "top1": metrics["top1"],
        "top1 before calibration": before.get("top1"), "ece15": metrics["ece15"],
    }  # fmt: skip


def reason(log: str) -> str:
    """Return the line of a log that says why a training failed."""
    lines = log.strip().splitlines() or ["no words"]
    return next((line for line in reversed(lines) if line.startswith("lt-fast:")), lines[-1])


class Training:
    """One process of ``lt-fast train``."""

    def __init__(self, words: str, options: argparse.Namespace) -> None:
        self.words, self.begin, self.folder = words, time.monotonic(), folder_of(words, options)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.log = self.folder.parent / f"{self.folder.name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command(words, options)], stdout=log, stderr=subprocess.STDOUT
            )

    def line(self) -> dict[str, Any]:
        """Return the line of a training that has ended."""
        about = {"training": self.words, "seconds": round(time.monotonic() - self.begin, 1)}
        if self.process.returncode != 0:
            return about | {"failed": reason(self.log.read_text())}
        return about | result(self.folder)


def run(options: argparse.Namespace) -> int:
    """Start, wait and note; return how many trainings failed or did not finish."""
    end, waiting, running, bad = time.monotonic() + options.seconds, list(options.trainings), [], 0
    with (options.out / "trainings.jsonl").open("w") as results:
        while (waiting or running) and time.monotonic() < end:
            while waiting and len(running) < options.width:
                running.append(Training(waiting.pop(0), options))
            for training in [one for one in running if one.process.poll() is not None]:
                running.remove(training)
                line = training.line()
                bad += "failed" in line
                print(json.dumps(line), file=results, flush=True)
            time.sleep(POLL)
        for training in running:
            training.process.terminate()
            training.process.wait()
            print(json.dumps({"training": training.words, "failed": "stopped: the time is up"}), file=results)
        for words in waiting:
            print(json.dumps({"training": words, "failed": "not begun: the time is up"}), file=results)
    return bad + len(running) + len(waiting)


def main() -> int:
    """Run the trainings; 1 if not all of them finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trainings", nargs="+")
    parser.add_argument("--data", type=Path, required=True, help="folder of cifar100-lt.npz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--width", type=int, default=4, help="trainings at a time")
    return 1 if run(parser.parse_args()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
