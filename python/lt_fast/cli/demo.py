"""``lt-fast demo``: the main job on real handwritten digits, in about a minute: CE, LDAM-DRW and MAMMC over seeds."""

import argparse
import re
from pathlib import Path
from typing import Any

from lt_fast.cli.output import Output
from lt_fast.cli.train import add_machine_arguments, folder, integer, require_extras, set_threads
from lt_fast.errors import DataError, Interrupted, UsageError

SUMMARY = "train CE, LDAM-DRW and MAMMC on long-tailed digits over three seeds and print one table"

TITLES = {"ce": "CE", "ldam_drw": "LDAM-DRW", "mammc": "MAMMC"}
METHODS = tuple(TITLES)
_MOST_SEEDS = 1000  # hours

_ADVICE = {
    r"; to train on from its weights[^;]*, add --start-from .* there$": "",
    r"name another (run )?directory with --run": "give the demo another folder with --out",
    r"^--resume needs": "the demo needs",
    r"(then )?continue with --resume|continue it with --resume": "the same `lt-fast demo` continues from there",
    r"`lt-fast train --resume[^`]*`": "`lt-fast demo`",
    r"correct --run": "correct --out",
    r"leave --resume out": "remove it",
    r"--run\b": "--out",
    r"--resume\b": "`lt-fast demo`",
}
"""What ``lt-fast train`` advises, as a pattern, and how it is done here; the more exact ones first."""

DATA, IMBALANCE_RATIO = "digits-lt", 50.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast demo``."""
    parser.add_argument("--out", type=folder, default=Path("runs/demo"), help="folder of the runs (default: runs/demo)")
    parser.add_argument("--seeds", default="3", metavar="N", help="seeds 0 .. N-1 (default: 3)")
    parser.add_argument("--epochs", help="length of stage 1 (default: the recipes')")
    parser.add_argument("--no-plots", action="store_true", help="draw no pictures")
    # One thread: so small a network gains nothing from more, and loses much where other work holds the cores.
    add_machine_arguments(parser, threads="1")


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Run what is not finished yet, then print the table; a second call reuses every finished run."""
    seeds = integer("--seeds", arguments.seeds, most=_MOST_SEEDS)
    require_extras(plots=not arguments.no_plots)
    set_threads(arguments.threads)
    results: dict[str, list[dict[str, Any]]] = {method: [] for method in METHODS}
    total = len(METHODS) * seeds
    for number, (method, seed) in enumerate(((m, s) for m in METHODS for s in range(seeds)), start=1):
        results[method].append(_one(arguments, method, seed, f"run {number} of {total}", output))
    pictures = [] if arguments.no_plots else [*_compare(results, arguments.out), *_draw(arguments.out, output)]
    _summarise(results, arguments.out, pictures, output)
    return 0


def _one(arguments: argparse.Namespace, method: str, seed: int, which: str, output: Output) -> dict[str, Any]:
    from lt_fast import experiment  # noqa: PLC0415

    overrides = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    config = experiment.resolve(method, DATA, overrides, imbalance_ratio=IMBALANCE_RATIO, seed=seed)
    place = _folder(arguments.out, method, seed)
    begun = (place / "config.json").exists()
    finished = (place / "result.json").exists()
    try:
        result = experiment.run(config, place, resume=begun, device=arguments.device, progress=not arguments.quiet)
    except (Interrupted, UsageError, DataError) as error:
        raise type(error)(_in_words_of_the_demo(str(error))) from error
    _refuse_gaps(result, place / "result.json")
    how = "finished earlier" if finished else f"{result['seconds']['train']:.1f} s"
    output.say(f"{which}: {method}, seed {seed}: top-1 {100 * result['metrics']['top1']:.1f} % ({how})")
    return result


def _refuse_gaps(result: dict[str, Any], file: Path) -> None:
    """Refuse a file in which a class was not measured: the demo's test set has images of every class."""
    for stage in ("metrics", "metrics_before_calibration"):
        for entry in (result[stage] or {}).get("per_class", ()):
            if entry["recall"] is None:
                raise DataError(
                    f"{file} is damaged: {stage}.per_class must have a recall for class {entry['name']}, got null; "
                    "remove it, and the same `lt-fast demo` writes it again"
                )


def _in_words_of_the_demo(message: str) -> str:
    """Return what a run says, which names options of ``lt-fast train``, with the demo's own."""
    for theirs, ours in _ADVICE.items():
        message = re.sub(theirs, ours, message)
    return message


def _folder(out: Path, method: str, seed: int) -> Path:
    return out / f"{method}-seed{seed}"


def _draw(out: Path, output: Output) -> list[Path]:
    from lt_fast.report.run_report import draw_run  # noqa: PLC0415

    output.say("drawing pictures of seed 0")
    return [path for method in METHODS for path in draw_run(_folder(out, method, 0))]


def _compare(results: dict[str, list[dict[str, Any]]], out: Path) -> list[Path]:
    """Draw every method's recall of each class, mean over the seeds."""
    from lt_fast.report.pictures import recall_by_method  # noqa: PLC0415

    recalls = {}
    for method, over_seeds in results.items():
        classes = zip(*(result["metrics"]["per_class"] for result in over_seeds), strict=True)
        recalls[TITLES[method]] = [sum(entry["recall"] for entry in seeds) / len(seeds) for seeds in classes]
    counts = results[METHODS[0]][0]["data"]["class_counts"]
    seeds = len(results[METHODS[0]])
    title = f"Digits-LT, imbalance ratio {IMBALANCE_RATIO:g}: mean over {seeds} seed{'s' * (seeds > 1)}"
    recall_by_method(out / "recall", counts, recalls, title=title)
    return [out / "recall.png"]


def _summarise(results: dict[str, list[dict[str, Any]]], out: Path, pictures: list[Path], output: Output) -> None:
    from lt_fast.counts import FEW_BELOW, MANY_ABOVE  # noqa: PLC0415
    from lt_fast.report.metrics_table import groups_line, header, interval_row  # noqa: PLC0415
    from lt_fast.report.tables import markdown_table, text_table  # noqa: PLC0415

    rows = _rows(results)
    cells = [interval_row(name, intervals) for name, intervals in rows.items()]
    seeds = len(results[METHODS[0]])
    data = results[METHODS[0]][0]["data"]
    title = (
        f"Digits-LT, imbalance ratio {IMBALANCE_RATIO:g}: {data['train_images']} training images, "
        f"{data['test_images']} balanced test images; percent, "
        f"mean{' ± 95 % interval' if seeds > 1 else ''} over {seeds} seed{'s' * (seeds > 1)}"
    )
    output.say(f"\n{title}\n\n{text_table(header(), cells)}\n")
    output.say(groups_line((MANY_ABOVE, FEW_BELOW), results[METHODS[0]][0]["metrics"]))
    output.say(f"run directories: {out}/<method>-seed<n>")
    if pictures:
        output.say(f"pictures: {out}/recall.png, {out}/<method>-seed0/plots")
    table = {name: {key: interval._asdict() for key, interval in over.items()} for name, over in rows.items()}
    markdown = f"{title}\n\n{markdown_table(header(), cells)}\n"
    runs = {method: [str(_folder(out, method, seed)) for seed in range(seeds)] for method in METHODS}
    output.result({"table": table, "markdown": markdown, "runs": runs, "pictures": [str(path) for path in pictures]})


def _rows(results: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    from lt_fast.metrics import mean_interval  # noqa: PLC0415
    from lt_fast.report.metrics_table import over_seeds  # noqa: PLC0415

    rows = {}
    for method in ("ce", "ldam_drw"):
        rows[TITLES[method]] = over_seeds([result["metrics"] for result in results[method]], mean_interval)
    mammc = results["mammc"]
    before = [result["metrics_before_calibration"] for result in mammc]
    rows["MAMMC, before calibration"] = over_seeds(before, mean_interval)
    rows["MAMMC"] = over_seeds([result["metrics"] for result in mammc], mean_interval)
    return rows
