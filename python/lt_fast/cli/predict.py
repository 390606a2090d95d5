"""``lt-fast predict RUN IMAGES...``: classify images with a trained run."""

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lt_fast._text import counted
from lt_fast.cli.output import Output
from lt_fast.cli.train import add_machine_arguments, add_recipe_argument, folder, integer, recipe_file, set_threads
from lt_fast.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from lt_fast.inference.classifier import Question, TrainedClassifier
    from lt_fast.inference.unfinished import UnfinishedCsv

SUMMARY = "classify images with a trained run: a folder, a list or files, to a table, CSV or JSON"

_MOST_SHOWN = 40
_MOST = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast predict``."""
    parser.add_argument("run", nargs="?", type=folder, help="run directory")
    parser.add_argument("images", nargs="*", help="a folder (searched at any depth), a .txt list of paths, or files")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one row per image; complete or not there")
    parser.add_argument("--resume", action="store_true", help="continue a stopped --csv")
    parser.add_argument(
        "--target-prior",
        metavar="PRIOR",
        help="class frequencies where the classifier is used: train, uniform, or a JSON or CSV file of class weights "
        "(default: the probabilities as trained)",
    )
    parser.add_argument("--trained-prior", metavar="PRIOR", help="what the probabilities stand for, where unknown")
    parser.add_argument("--threshold", metavar="T", help='answers below this probability are "not sure"')
    parser.add_argument(
        "--max-error", metavar="E", help="choose the threshold: at most this share of errors on the validation images"
    )
    parser.add_argument("--top", default="2", metavar="K", help="classes listed per image (default: 2)")
    parser.add_argument("--calibration", type=folder, metavar="DIR", help="a calibrator of `lt-fast calibrate`")
    parser.add_argument("--batch-size", default="32", metavar="N", help="images per forward pass (default: 32)")
    parser.add_argument("--workers", default="0", metavar="N", help="processes that decode (default: 0, this one)")
    add_recipe_argument(parser)
    add_machine_arguments(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Predict and print, or write the CSV file."""
    if arguments.run is None or not arguments.images:
        raise UsageError("a run directory and images are needed: lt-fast predict runs/NAME photos/ --csv out.csv")
    if arguments.resume and arguments.csv is None:
        raise UsageError("--resume continues a --csv FILE; name it, or leave --resume out")
    numbers = {name: _number(arguments, name) for name in ("threshold", "max_error")}
    top = integer("--top", arguments.top, most=_MOST)
    set_threads(arguments.threads)
    from lt_fast.inference import find_images, load  # noqa: PLC0415  (imports torch)

    found = find_images(arguments.images)
    if found.passed_over:
        output.warn(f"files that are no images were left out: {len(found.passed_over)}, first {found.passed_over[0]}")
    classifier = load(
        arguments.run,
        device=arguments.device,
        calibration=arguments.calibration,
        recipe_file=recipe_file(arguments),
    )
    priors = {name: getattr(arguments, name) for name in ("target_prior", "trained_prior")}
    ask = classifier.question(**priors, **numbers)
    _say_threshold(ask, output)
    if arguments.resume and _is_complete(arguments.csv, found.paths):
        output.say(f"{arguments.csv} is complete already: nothing was predicted; remove it to predict again\n")
        rows = _read_rows(arguments.csv)
    else:
        rows = _rows(arguments, classifier, found.paths, ask, top)
    _report(rows, arguments, classifier, ask, output)
    return 0


def _number(arguments: argparse.Namespace, name: str) -> float | None:
    from lt_fast._numbers import fraction_option  # noqa: PLC0415

    text = getattr(arguments, name)
    return None if text is None else fraction_option(f"--{name.replace('_', '-')}", text)


def _rows(
    arguments: argparse.Namespace, classifier: "TrainedClassifier", paths: list[str], ask: "Question", top: int
) -> list[dict[str, Any]]:
    """Predict all images; with ``--csv`` every batch is saved, and those of an earlier attempt are not repeated."""
    from lt_fast.inference.predictions import columns  # noqa: PLC0415
    from lt_fast.inference.unfinished import UnfinishedCsv  # noqa: PLC0415

    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        unfinished = None
        if arguments.csv is not None:
            names = columns(top, len(classifier.classes))
            identity = _identity(arguments, classifier, paths, ask, top)
            unfinished = stack.enter_context(UnfinishedCsv(arguments.csv, identity, names, resume=arguments.resume))
            rows = list(unfinished.rows)
        batches = _predicted(arguments, classifier, paths[len(rows) :], ask)
        try:
            for batch in batches:
                made = batch.rows(top)
                rows += made
                if unfinished is not None:
                    unfinished.add(made)
        except KeyboardInterrupt:
            _stopped(unfinished, len(rows), len(paths))
            raise
        if unfinished is not None:
            unfinished.finish()
    return rows


def _stopped(unfinished: "UnfinishedCsv | None", done: int, images: int) -> None:
    if unfinished is None:
        return
    unfinished.discard_if_empty()
    if done:
        raise Interrupted(
            f"interrupted after {done} of {images} images, which are in {unfinished.part}; the same command with "
            "--resume continues"
        ) from None


def _predicted(
    arguments: argparse.Namespace, classifier: "TrainedClassifier", paths: Sequence[str], ask: "Question"
) -> "Any":
    return classifier.batches(
        list(paths),
        ask,
        batch_size=integer("--batch-size", arguments.batch_size, most=_MOST),
        workers=int(arguments.workers) if arguments.workers.strip() == "0" else _workers(arguments.workers),
        progress=not arguments.quiet and sys.stderr is not None and sys.stderr.isatty(),
    )


def _workers(text: str) -> int:
    return integer("--workers", text, most=256)


def _identity(
    arguments: argparse.Namespace, classifier: "TrainedClassifier", paths: list[str], ask: "Question", top: int
) -> dict[str, Any]:
    calibrator = "" if arguments.calibration is None else str(arguments.calibration.resolve())
    return {
        "run": str(arguments.run.resolve()),
        "weights": classifier.checkpoint,
        "calibration": calibrator,
        "target_prior": ask.priors_sha256,
        "threshold": ask.threshold,
        "top": top,
        "number of images": len(paths),
        "images": hashlib.sha256("\0".join(paths).encode("utf-8", "surrogateescape")).hexdigest(),
    }


def _is_complete(file: Path, paths: list[str]) -> bool:
    """Whether ``file`` is a finished prediction of these images."""
    if file.with_name(f"{file.name}.part").exists() or not file.is_file():
        return False
    return [row.get("path") for row in _read_rows(file)] == paths


def _read_rows(file: Path) -> list[dict[str, Any]]:
    import csv  # noqa: PLC0415

    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as opened:
        rows: list[dict[str, Any]] = list(csv.DictReader(opened))
    for row in rows:
        row["error"] = row.get("error") or None
        row["unsure"] = row.get("unsure") == "yes"
    return rows


def _say_threshold(ask: "Question", output: Output) -> None:
    if ask.chosen is not None:
        chosen = ask.chosen
        output.say(
            f"threshold {chosen.value:.4f}: on the {chosen.images} {chosen.measured_on} images it answers "
            f"{100 * chosen.coverage:.1f} % and errs in {100 * chosen.error:.1f} % of these answers\n"
        )


def _report(
    rows: list[dict[str, Any]],
    arguments: argparse.Namespace,
    classifier: "TrainedClassifier",
    ask: "Question",
    output: Output,
) -> None:
    from lt_fast.report.tables import text_table  # noqa: PLC0415

    if arguments.csv is None and not output.as_json:
        output.say(_table(rows[:_MOST_SHOWN]))
        if len(rows) > _MOST_SHOWN:
            output.say(f"... and {len(rows) - _MOST_SHOWN} more images; --csv FILE writes all of them")
        output.say()
    damaged = [row for row in rows if row["error"] is not None]
    unsure = sum(bool(row["unsure"]) for row in rows)
    found = Counter(row["class"] for row in rows if row["error"] is None)
    output.say(text_table(["class", "images"], [[name, str(number)] for name, number in found.most_common()]))
    words = f"\n{counted(len(rows), 'image')}, {len(damaged)} damaged"
    output.say(words + (f', {unsure} "not sure"' if ask.threshold is not None else ""))
    if damaged:
        output.say(f"the first damaged: {damaged[0]['error']}")
    if arguments.csv is not None:
        output.say(f"predictions: {arguments.csv}")
    threshold = None if ask.chosen is None else ask.chosen._asdict()
    output.result({
        "run": str(arguments.run), "classes": list(classifier.classes), "threshold": ask.threshold,
        "chosen_on_validation": threshold, "prior": classifier.scored_prior.reason,
        "csv": None if arguments.csv is None else str(arguments.csv), "images": rows,
    })  # fmt: skip


def _table(rows: Sequence[dict[str, Any]]) -> str:
    from lt_fast.report.tables import text_table  # noqa: PLC0415

    cells = [
        [row["path"], "damaged", "-", "-", "-", ""]
        if row["error"] is not None
        else [
            row["path"],
            row["class"],
            f"{row['probability']:.3f}",
            row["second_class"],
            f"{row['margin']:.3f}",
            "not sure" if row["unsure"] else "",
        ]
        for row in rows
    ]
    return text_table(["image", "class", "probability", "second", "margin", ""], cells, left=2)
