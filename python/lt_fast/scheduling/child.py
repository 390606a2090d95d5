"""The process of one run: ``python -m lt_fast.scheduling.child``, with the job as JSON on standard input.

It reports to the scheduler through its standard output, a pipe, one JSON value per line. Everything else that it prints
goes to standard error, which the scheduler has opened as the run's log.
"""

import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import torch

from lt_fast._files import erase
from lt_fast.errors import Interrupted
from lt_fast.experiment import run
from lt_fast.experiment.calibrating import CALIBRATION_RECORD, calibrate_run
from lt_fast.experiment.config import RECIPE_FILE, load_recorded
from lt_fast.training import Callback, History
from lt_fast.training.history import Row

DONE, FAILED, STOPPED = 0, 1, 4
EPOCH, ERROR = "epoch", "error"


class _Reporting(Callback):
    """Tells the scheduler how many epochs are done; a scheduler that has gone stops the run, whose state is saved."""

    def __init__(self, report: TextIO) -> None:
        self._report = report

    def on_fit_start(self, epochs: int, history: History) -> None:  # noqa: ARG002
        self._say(len(history))

    def on_epoch_end(self, row: Row) -> None:
        self._say(int(row["epoch"] or 0))

    def _say(self, epochs: int) -> None:
        try:
            _tell(self._report, EPOCH, epochs)
        except OSError:  # BrokenPipeError, but Windows calls it EINVAL
            raise Interrupted("the process that started this run has gone; continue with --resume") from None


def main() -> int:
    """Carry the job out and return the exit status."""
    given = json.load(sys.stdin)
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as report:
        os.dup2(2, 1)  # what libraries print is no report
        try:
            _carry_out(given, report)
        except Interrupted as error:
            sys.stderr.write(f"{error}\n")
            return STOPPED
        except Exception as error:  # noqa: BLE001  (whatever it is: the scheduler names the run, and the others continue)
            traceback.print_exc()
            _tell(report, ERROR, " ".join(str(error).split()) or type(error).__name__)
            return FAILED
    return DONE


def _carry_out(given: Mapping[str, Any], report: TextIO) -> None:
    torch.set_num_threads(given["threads"])
    config, folder = given["config"], Path(given["folder"])
    if RECIPE_FILE in config:
        load_recorded(config[RECIPE_FILE], folder)
    run(
        config,
        folder,
        resume=(folder / "config.json").exists(),
        device=given["device"],
        root=given["root"],
        step=given["step"],
        compiler=given["compiler"],
        workers=given["threads"],  # of images that are decoded; the other processors are for the runs next to this one
        callbacks=[_Reporting(report)],
        test_curves=given["test_curves"],
    )
    for place, calibrator in given["second_stages"].items():
        _second_stage(folder, Path(place), dict(calibrator), given)


def _second_stage(folder: Path, place: Path, calibrator: dict[str, Any], given: Mapping[str, Any]) -> None:
    if (place / CALIBRATION_RECORD).exists():
        return
    erase(place)  # what a process that was killed has left half-written
    calibrate_run(folder, calibrator.pop("name"), place, options=calibrator, device=given["device"], root=given["root"])


def _tell(report: TextIO, name: str, value: Any) -> None:
    report.write(f"{json.dumps({name: value})}\n")
    report.flush()


if __name__ == "__main__":
    sys.exit(main())
