"""One page of what the steps found: ``summary.py RESULTS``, Markdown on stdout."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

RIVALS = ("cross_entropy", "gather", "gather compiled", "eager")


def doctor(folder: Path) -> Iterator[str]:
    """Yield the last line of the checks, and the GPU."""
    text = read(folder / "doctor.txt").strip().splitlines()
    yield from text[:1] if text[:1] and text[0].startswith("GPU") else []
    yield from text[-1:] or ["not run"]


def tests(folder: Path) -> Iterator[str]:
    """Yield pytest's last line and the names of what failed."""
    lines = read(folder / "tests.txt").strip().splitlines()
    yield from [line for line in lines if line.startswith(("FAILED", "ERROR", "SKIPPED"))][:20]
    yield lines[-1] if lines else "not run"


def bench(folder: Path) -> Iterator[str]:
    """Yield a row per shape and type: our time, its share of the speed of copying, and multiples of it for rivals."""
    if not (folder / "cuda.csv").exists():
        yield read(folder / "bench.txt").strip()[-300:] or "not run"
        return
    with (folder / "cuda.csv").open(newline="") as file:
        yield file.readline().removeprefix("# ").strip() + "\n"
        rows = list(csv.DictReader(file))
    yield (
        "| type | shape | fused, us | of copy | returned, us | " + " | ".join(RIVALS) + " | call, us | plain call, us |"
    )
    yield "| " + " | ".join(["---"] * (7 + len(RIVALS))) + " |"
    for key in dict.fromkeys((row["dtype"], row["shape"]) for row in rows):
        of = {row["code"]: row for row in rows if (row["dtype"], row["shape"]) == key}
        yield "| " + " | ".join([*key, *cells(of)]) + " |"
    of_memory = [" ".join(line.split()) for line in read(folder / "ncu.txt").splitlines() if "dram__" in line]
    yield from ["", "16384x8142, float32, under ncu:", "", *(f"- {line}" for line in of_memory)] if of_memory else []


def cells(of: dict[str, dict[str, str]]) -> Iterator[str]:
    """Yield the cells of a row; what was not measured is a dash."""
    fused = float(of["fused"]["us"]) if "fused" in of else None
    yield of["fused"]["us"] if "fused" in of else "-"
    yield of["fused"]["of copy"] if "fused" in of else "-"
    yield of["returned"]["us"] if "returned" in of else "-"
    for name in RIVALS:
        yield f"{float(of[name]['us']) / fused:.2f} x" if fused and name in of else "-"
    for name in ("call fused", "call cross_entropy"):
        yield of[name]["us"] if name in of else "-"


def loops(folder: Path) -> Iterator[str]:
    """Yield a row per loop of training steps, in float32 and under bfloat16 autocast."""
    for name, kind in (("training.csv", "float32"), ("training--amp.csv", "bfloat16")):
        if not (folder / name).exists():
            yield f"{kind}: " + (read(folder / "loops.txt").strip()[-300:] or "not run")
            continue
        with (folder / name).open(newline="") as file:
            yield f"{kind}: " + file.readline().removeprefix("# ").strip() + "\n"
            rows = list(csv.DictReader(file))
        yield "| " + " | ".join(rows[0]) + " |"
        yield "| " + " | ".join(["---"] * len(rows[0])) + " |"
        yield from ("| " + " | ".join(value or "-" for value in row.values()) + " |" for row in rows)
        yield ""


def train(folder: Path) -> Iterator[str]:
    """Yield a row per training."""
    lines = [json.loads(line) for line in read(folder / "trainings.jsonl").splitlines()]
    if not lines:
        yield read(folder / "train.txt").strip()[-300:] or "not run"
        return
    yield "| training | epochs | seconds | top-1, % | before calibration, % | ECE, % |"
    yield "| " + " | ".join(["---"] * 6) + " |"
    for line in lines:
        if "failed" in line:
            yield f"| {line['training']} | - | {line.get('seconds', '-')} | {line['failed'][:100]} | - | - |"
            continue
        shares = (percent(line[name]) for name in ("top1", "top1 before calibration", "ece15"))
        yield f"| {line['training']} | {line['epochs']} | {line['seconds']} | " + " | ".join(shares) + " |"


def percent(share: float | None) -> str:
    """Return a share in percent."""
    return "-" if share is None else f"{100 * share:.1f}"


def read(file: Path) -> str:
    """Return a file's text, or none where the step did not run."""
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""


def main(folder: Path) -> None:
    """Print the page."""
    print("# lt-fast on this GPU")
    parts = {"Checks": doctor, "CUDA tests": tests, "Loss and gradient": bench, "Steps": loops, "Trainings": train}
    for title, part in parts.items():
        print(f"\n## {title}\n")
        print("\n".join(part(folder)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
