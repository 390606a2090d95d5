"""``Job``: one run to be carried out, and ``Outcome``: what became of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from lt_fast.experiment.calibrating import CALIBRATION_RECORD
from lt_fast.training.run_directory import differences
from lt_fast.training.run_files import RESULT, read_result

Status: TypeAlias = Literal["finished", "failed", "stopped"]


class Job(NamedTuple):
    """One run.

    Attributes:
        name: what messages call it.
        config: from ``experiment.resolve``. Its recipe is one of the package, of an installed package, or of the recipe
            file that the configuration records: the run is carried out in a process of its own.
        folder: the run directory; new, or that of an earlier attempt.
        root: folder of the data set's files, where it is not that of the machine.
        second_stages: name to the settings of a calibrator, ``name`` and options: each is fitted to the network of the
            finished run as well, so that runs that differ in their second stage alone train stage 1 once.

    >>> from lt_fast.experiment import resolve
    >>> job = Job("seed 1", resolve("ce", "digits-lt", seed=1), Path("runs/ce-digits-lt-1"))
    >>> job.log.as_posix(), job.config["seed"]
    ('runs/ce-digits-lt-1.log', 1)
    """

    name: str
    config: Mapping[str, Any]
    folder: Path
    root: Path | None = None
    second_stages: Mapping[str, Mapping[str, Any]] = {}

    @property
    def log(self) -> Path:
        """File next to the run directory that has the messages of the run, of all attempts."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def stage_folder(self, name: str) -> Path:
        """Return the folder of a second stage, one of ``lt-fast calibrate``."""
        return self.folder / "calibrations" / name


class Outcome(NamedTuple):
    """What became of a job.

    Attributes:
        job: the job.
        status: ``"finished"``, ``"failed"``, or ``"stopped"`` by a signal, to be resumed.
        reason: why it failed, on one line; None for the others.

    >>> from lt_fast.experiment import resolve
    >>> outcome = Outcome(Job("seed 0", resolve("ce", "digits-lt"), Path("runs/ce-0")), "finished")
    >>> outcome.status, outcome.result()["metrics"]["images"]  # of result.json
    ('finished', 240)
    """

    job: Job
    status: Status
    reason: str | None = None

    def result(self) -> dict[str, Any]:
        """Return the ``result.json`` of a finished run.

        Raises:
            DataError: if it is missing or damaged.
        """
        return read_result(self.job.folder)


def finished_result(job: Job) -> dict[str, Any] | None:
    """Return the result of ``job`` if it has been carried out under the same configuration, else None.

    Its second stages must be there, too; ``read_calibration(job.stage_folder(name))`` reads one.

    Raises:
        DataError: if ``result.json`` is damaged.

    >>> from lt_fast.experiment import resolve
    >>> config = resolve("ce", "digits-lt", {"epochs": 1, "validation": 0.2})
    >>> finished_result(Job("seed 0", config, Path("runs/ce-0")))["metrics"]["images"]
    240
    >>> finished_result(Job("seed 5", config | {"seed": 5}, Path("runs/ce-5"))) is None
    True
    """
    lacking = [name for name in job.second_stages if not (job.stage_folder(name) / CALIBRATION_RECORD).exists()]
    if lacking or not (job.folder / RESULT).exists():
        return None
    result = read_result(job.folder)
    config = json.loads(json.dumps(job.config))  # tuples become lists, as in the file
    return None if differences(result["config"], config) else result
