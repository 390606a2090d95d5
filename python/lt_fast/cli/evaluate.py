"""``lt-fast eval RUN``: measure a run again from its checkpoint, by group and by class, with intervals."""

import argparse
from typing import Any

from lt_fast.cli.output import Output
from lt_fast.cli.train import add_machine_arguments, add_recipe_argument, folder, recipe_file, set_threads
from lt_fast.errors import UsageError

SUMMARY = "measure a run from its checkpoint: groups, classes, calibration error, with intervals"

_MOST_CLASSES, _MOST_SHOWN = 1000, 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast eval``."""
    parser.add_argument("run", nargs="?", type=folder, help="run directory")
    parser.add_argument("--root", type=folder, help="folder of the data set's files")
    add_logits_argument(parser)
    add_recipe_argument(parser)
    add_machine_arguments(parser)


def add_logits_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--logits``."""
    parser.add_argument(
        "--logits",
        action="store_true",
        help="store the score of every class for each image, however many (default: the five best where all would "
        "take more than 256 MiB)",
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Measure and print."""
    if arguments.run is None:
        raise UsageError("a run directory is needed: lt-fast eval runs/NAME")
    set_threads(arguments.threads)
    from lt_fast import experiment  # noqa: PLC0415

    found = experiment.evaluate_run(
        arguments.run,
        device=arguments.device,
        root=arguments.root,
        recipe_file=recipe_file(arguments),
        logits=arguments.logits,
    )
    _print(found, output)
    output.result({"run": str(arguments.run), **found})
    return 0


def _print(found: dict[str, Any], output: Output) -> None:
    from lt_fast.report.metrics_table import COLUMNS  # noqa: PLC0415
    from lt_fast.report.run_report import run_table, title_of  # noqa: PLC0415
    from lt_fast.report.tables import percent, text_table  # noqa: PLC0415

    output.say(f"{title_of(found['config'])}; checkpoint after epoch {found['epochs_done']}; percent\n")
    if not found["calibrated"]:
        epochs = found["config"]["epochs"]
        output.say(f"not calibrated: that is done after epoch {epochs}; these are the network's own predictions\n")
    output.say(run_table(found))
    measured, intervals = found["metrics"], found["intervals"]
    rows = [[name, percent(measured[key]), _range(intervals.get(key))] for name, key in COLUMNS.items()]
    others = ("balanced_acc", "macro_f1", "worst_class_recall")
    rows += [[key, percent(measured[key]), _range(intervals.get(key))] for key in others]
    output.say("\n" + text_table(["", "value", f"{100 * found['level']:.0f} % interval"], rows))
    output.say(f"negative log-likelihood {measured['nll']:.4f}\n")
    _say_classes(measured["per_class"], intervals["per_class"], output)
    if found["not_written"]:
        output.say(f"\nthe predictions were not written: {found['not_written']}")


def _say_classes(entries: list[dict[str, Any]], intervals: list[Any], output: Output) -> None:
    """Print a row for each class; of many classes, those of the lowest recall."""
    from lt_fast.report.tables import percent, text_table  # noqa: PLC0415

    shown = list(range(len(entries)))
    if len(entries) > _MOST_CLASSES:
        tested = [at for at in shown if entries[at]["recall"] is not None]
        shown = sorted(tested, key=lambda at: entries[at]["recall"])[:_MOST_SHOWN]
    rows = [
        [each["name"], str(each["n_train"]), str(each["n_test"]), percent(each["recall"]), _range(intervals[at]),
         percent(each["precision"])]
        for at, each in ((at, entries[at]) for at in shown)
    ]  # fmt: skip
    output.say(text_table(["class", "train", "test", "recall", "interval", "precision"], rows))
    if len(rows) < len(entries):
        output.say(f"the {len(rows)} classes of the lowest recall, of {len(entries):,}; --json prints all")


def _range(interval: list[float] | None) -> str:
    return "-" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"
