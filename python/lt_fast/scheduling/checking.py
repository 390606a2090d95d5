"""Reading the data of all jobs before the first one starts."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lt_fast.experiment.build import load_data
from lt_fast.experiment.config import DATA_OPTIONS
from lt_fast.scheduling.jobs import Job, finished_result
from lt_fast.scheduling.machine import Machine

_OF_THE_DATA = ("data", "imbalance_ratio", "profile", "subset_seed", "validation", DATA_OPTIONS)


def check_data(jobs: Sequence[Job], machine: Machine, *, download: bool = False) -> None:
    """Read the images of every job that has not finished, each data set once.

    Args:
        jobs: as for ``carry_out``.
        machine: has the folder of the files.
        download: fetch missing files into that folder, here and once, rather than in every run.

    Raises:
        UsageError: if a data set needs ``root``, or an imbalance ratio leaves a class without images.
        DataError: if a file is missing or damaged; names it.

    >>> from pathlib import Path
    >>> from lt_fast.experiment import resolve
    >>> check_data([Job("seed 0", resolve("ce", "digits-lt"), Path("runs/a"))], Machine())  # everything is there
    >>> check_data([Job("seed 0", resolve("ce", "cifar100-lt"), Path("runs/b"))], Machine())
    Traceback (most recent call last):
        ...
    lt_fast.errors.UsageError: --root is needed for cifar100-lt: the folder of its files; --download fetches them there
    """
    unfinished = [job for job in jobs if finished_result(job) is None]
    for job in {_data_of(job.config): job for job in unfinished}.values():
        load_data(job.config, root=job.root or machine.root, download=download)


def _data_of(config: Mapping[str, Any]) -> str:
    return json.dumps({name: config.get(name) for name in _OF_THE_DATA}, sort_keys=True)
