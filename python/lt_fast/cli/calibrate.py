"""``lt-fast calibrate RUN --method NAME``: another second stage for a finished run."""

import argparse
from pathlib import Path
from typing import Any

from lt_fast.cli.output import Output
from lt_fast.cli.train import add_machine_arguments, add_recipe_argument, folder, recipe_file, set_threads
from lt_fast.errors import UsageError

SUMMARY = "fit a calibrator to the network of a finished run, measured before and after"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``lt-fast calibrate``."""
    parser.add_argument("run", nargs="?", type=folder, help="run directory")
    parser.add_argument(
        "--method", help="mc (margin), crt (retraining), temperature, tau_norm, logit_adjustment, or a registered one"
    )
    parser.add_argument("--out", type=folder, metavar="DIR", help="a new folder (default: RUN/calibrations/METHOD)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the method, such as tau=0.5"
    )
    parser.add_argument("--root", type=folder, help="folder of the data set's files")
    add_recipe_argument(parser)
    add_machine_arguments(parser)


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Fit, measure and print."""
    if arguments.run is None:
        raise UsageError("a run directory is needed: lt-fast calibrate runs/NAME --method mc")
    set_threads(arguments.threads)
    from lt_fast.calibration import CALIBRATORS  # noqa: PLC0415
    from lt_fast.experiment.calibrating import calibrate_run  # noqa: PLC0415

    if arguments.method is None:
        raise UsageError(f"--method is needed, one of {', '.join(CALIBRATORS)}")
    found = calibrate_run(
        arguments.run,
        arguments.method,
        arguments.out,
        options=_options(arguments.set),
        device=arguments.device,
        root=arguments.root,
        recipe_file=recipe_file(arguments),
    )
    _print(found, arguments.run, output)
    output.result(found)
    return 0


def _options(given: list[str]) -> dict[str, str]:
    from lt_fast.experiment.config import split_assignment  # noqa: PLC0415

    pairs = [(name.removeprefix("calibrator."), text) for name, text in map(split_assignment, given)]
    options = dict(pairs)
    if len(options) < len(pairs):
        name = next(name for name in options if [other for other, _ in pairs].count(name) > 1)
        raise UsageError(f"{name} must be set once, got {' and '.join(text for other, text in pairs if other == name)}")
    return options


def _print(found: dict[str, Any], run_folder: Path, output: Output) -> None:
    from lt_fast.report.metrics_table import header, metrics_row  # noqa: PLC0415
    from lt_fast.report.tables import text_table  # noqa: PLC0415

    settings = dict(found["calibrator"])
    name = settings.pop("name")
    chosen = ", ".join(f"{key}={value}" for key, value in settings.items())
    words = {"nothing": "nothing is fitted"}.get(found["fitted_on"], f"fitted on the {found['fitted_on']} images")
    output.say(f"{name}{f' ({chosen})' if chosen else ''}, {words}; test set, percent\n")
    stages = {"network alone": found["metrics_before_calibration"], name: found["metrics"]}
    output.say(text_table(header(""), [metrics_row(stage, metrics) for stage, metrics in stages.items()]))
    output.say(f"\ncalibrator: {found['folder']}")
    output.say(f"in use: lt-fast predict {run_folder} IMAGES --calibration {found['folder']}")
