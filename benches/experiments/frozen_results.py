"""Freeze what every recipe computes, so that a change of structure can be held against it, bit for bit.

``python -m benches.experiments.frozen_results --root DIR`` trains every recipe on Digits-LT (8 epochs, seeds 0 and 1)
and three of them for one epoch on CIFAR-10-LT, on the CPU with one thread, and writes the SHA-256 of the final weights
and of the test set's logits to ``benches/results/frozen_results.csv``. ``--compare`` writes nothing: it trains again
and lists every row that differs from the file. Without ``--root`` (the folder of CIFAR's files) the CIFAR rows are left
out.

The digests ignore the names and the order of the tensors, so a renamed layer is no difference. They are those of one
machine: another processor, torch or number of threads rounds differently.
"""

import argparse
import csv
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benches.harness import RESULTS, write_csv
from safetensors.torch import load_file

from lt_fast.cli import main as lt_fast
from lt_fast.recipes import RECIPES

FILE = RESULTS / "frozen_results.csv"
CIFAR_METHODS = ("ce", "mammc", "cp_mix")


class Case(NamedTuple):
    """One short training."""

    data: str
    method: str
    seed: int
    epochs: int


def cases(*, cifar: bool, methods: Sequence[str] = ()) -> Iterator[Case]:
    """Give every training that is frozen, or those of some methods, the quick ones first."""
    for method in methods or RECIPES:
        for seed in (0, 1):
            yield Case("digits-lt", method, seed, 8)
    if cifar:
        for method in [name for name in CIFAR_METHODS if not methods or name in methods]:
            yield Case("cifar10-lt", method, 0, 1)


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return 32 hexadecimal digits of the SHA-256 of all tensors, whatever their names and order."""
    parts = sorted(
        hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes()).hexdigest()
        for tensor in tensors.values()
    )
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:32]


def row_of(case: Case, run: Path, root: Path | None) -> dict[str, Any]:
    """Train ``case`` in the folder ``run`` and return its row.

    Raises:
        SystemExit: with the status of a training that failed.
    """
    command = ["train", "--method", case.method, "--data", case.data, "--seed", str(case.seed)]
    command += ["--epochs", str(case.epochs), "--threads", "1", "--quiet", "--no-plots", "--run", str(run)]
    command += ["--root", str(root)] if case.data != "digits-lt" else []
    if status := lt_fast(command):
        raise SystemExit(status)
    (checkpoint,) = (run / "checkpoints").glob(f"epoch-{case.epochs:04d}*")
    metrics = json.loads((run / "result.json").read_text(encoding="utf-8"))["metrics"]
    return case._asdict() | {
        "weights": digest(load_file(checkpoint / "model.safetensors")),
        "predictions": digest(load_file(run / "predictions.safetensors")),
        "top1": f"{100 * metrics['top1']:.2f}",
    }


def rows(root: Path | None, methods: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Train every case, one after the other, each in a folder that is removed again."""
    found = []
    for case in cases(cifar=root is not None, methods=methods):
        with tempfile.TemporaryDirectory() as folder:
            found.append(_quietly(case, Path(folder) / "run", root))
        print(*found[-1].values(), file=sys.stderr, flush=True)
    return found


def differences(found: list[dict[str, Any]]) -> list[str]:
    """Return one line for every row that is not as the file has it."""
    with FILE.open(newline="", encoding="utf-8") as lines:
        frozen = {tuple(row[name] for name in Case._fields): row for row in csv.DictReader(_without_comments(lines))}
    lines = []
    for row in found:
        key = tuple(str(row[name]) for name in Case._fields)
        before = frozen.get(key)
        changed = [name for name in ("weights", "predictions", "top1") if before is None or before[name] != row[name]]
        if changed:
            lines.append(f"{' '.join(key)}: {'not in the file' if before is None else ', '.join(changed) + ' differ'}")
    return lines


def _without_comments(lines: Any) -> Iterator[str]:
    return (line for line in lines if not line.startswith("#"))


def _quietly(case: Case, run: Path, root: Path | None) -> dict[str, Any]:
    stdout, sys.stdout = sys.stdout, (run.parent / "stdout").open("w", encoding="utf-8")  # the run's table
    try:
        return row_of(case, run, root)
    finally:
        sys.stdout.close()
        sys.stdout = stdout


def main(argv: list[str] | None = None) -> int:
    """Write the file, or compare with it; the status is 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, help="folder of CIFAR's files")
    parser.add_argument("--compare", action="store_true", help="list what differs from the file, write nothing")
    parser.add_argument("--methods", nargs="*", default=[], help="compare only these")
    arguments = parser.parse_args(argv)
    if arguments.methods and not arguments.compare:
        parser.error("--methods must come with --compare: the file has all of them")
    torch.set_num_threads(1)
    found = rows(arguments.root, arguments.methods)
    if not arguments.compare:
        print(write_csv(FILE, found))
        return 0
    lines = differences(found)
    print("\n".join(lines) or f"all {len(found)} rows are those of {FILE.name}")
    return bool(lines)


if __name__ == "__main__":
    raise SystemExit(main())
