"""Finished runs read for a comparison: answers, class counts, and which images they were tested on."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lt_fast.comparison.measuring import Measured
from lt_fast.counts import ClassCounts
from lt_fast.datasets.splits import read_images
from lt_fast.errors import DataError, UsageError
from lt_fast.experiment.calibrating import CALIBRATION_RECORD, read_calibration
from lt_fast.experiment.config import method_name
from lt_fast.experiment.predictions import read_answers
from lt_fast.experiment.protocol import PROTOCOL
from lt_fast.records import OBJECT, TEXT, read_json
from lt_fast.training.run_files import read_result

_SEEDS = ("seed", "subset_seed", "start_from", "recipe_file")


class ReadRun(NamedTuple):
    """One finished run.

    Attributes:
        folder: as given.
        recipe: what tables call its method, with the calibrator of ``lt-fast calibrate`` where it is one's folder.
        kind: what the runs of one method share: the configuration without seeds.
        seed: of the run.
        test: fingerprint of its test images.
        names: of the classes.
        measured: its answers.
    """

    folder: str
    recipe: str
    kind: str
    seed: int
    test: str
    names: tuple[str, ...]
    measured: Measured


class MethodRuns(NamedTuple):
    """The runs of one method, by test images and seed."""

    name: str
    runs: list[ReadRun]


def read_run(folder: str | Path) -> ReadRun:
    """Read a finished run, or a folder that ``lt-fast calibrate`` wrote.

    Raises:
        DataError: if the run has not finished, or a file is missing or damaged.
    """
    place = Path(folder)
    base, added = place, None
    if (place / CALIBRATION_RECORD).exists():
        record = read_calibration(place)
        base, added = Path(record["run"]), record["calibrator"]
    if not (base / "config.json").exists():
        raise DataError(f"{base} holds no run: {base / 'config.json'} is missing")
    result = read_result(base)
    counts = ClassCounts(result["data"]["class_counts"], names=result["data"]["class_names"])
    saved = read_answers(place, num_classes=len(counts))
    protocol = read_json(base / PROTOCOL, {"data": OBJECT, "data.test_fingerprint?": TEXT})["data"]
    test = protocol.get("test_fingerprint") or _of_rows(base)
    config = {name: value for name, value in result["config"].items() if name not in _SEEDS}
    recipe = method_name(config, added)
    kind = json.dumps([config, added], sort_keys=True)
    measured = Measured(saved.final.predicted, saved.final.confidence, saved.labels, counts)
    return ReadRun(str(folder), recipe, kind, result["config"]["seed"], test, counts.names, measured)


def grouped(folders: Sequence[str | Path]) -> list[MethodRuns]:
    """Read runs and group them by method, in the order of the first run of each.

    Raises:
        UsageError: if there are none, one comes twice, or the methods were tested on different images.
        DataError: if a run has not finished, or a file is missing or damaged.
    """
    if not folders:
        raise UsageError("run directories are needed: lt-fast compare runs/A runs/B")
    paths = [Path(folder).resolve() for folder in folders]
    twice = next((folder for at, folder in enumerate(folders) if paths[at] in paths[:at]), None)
    if twice is not None:
        raise UsageError(f"{twice} must be given once; leave one out")
    by_kind: dict[str, list[ReadRun]] = {}
    for run in map(read_run, folders):
        by_kind.setdefault(run.kind, []).append(run)
    methods = [sorted(runs, key=lambda run: (run.test, run.seed)) for runs in by_kind.values()]
    _refuse_other_images(methods)
    return [MethodRuns(_name(runs, methods), runs) for runs in methods]


def _refuse_other_images(methods: list[list[ReadRun]]) -> None:
    first = methods[0]
    for runs in methods:
        for own, other in ((runs, first), (first, runs)):
            known = {run.test for run in other}
            stranger = next((run for run in own if run.test not in known), None)
            if stranger is not None:
                raise UsageError(
                    f"the methods must be tested on the same images, and those of {stranger.folder} (fingerprint "
                    f"{stranger.test[:12]}) are of no run of {other[0].recipe} ({other[0].folder}); compare runs of "
                    "the same data, and of the same seeds where the seed chooses the test images"
                )
        if runs[0].names != first[0].names:
            raise UsageError(f"the methods must have the same classes, and {runs[0].folder} has others")


def _name(runs: list[ReadRun], methods: list[list[ReadRun]]) -> str:
    """Return the recipe, with the folder where several settings of it are compared."""
    alike = sum(other[0].recipe == runs[0].recipe for other in methods)
    return runs[0].recipe if alike == 1 else f"{runs[0].recipe} ({Path(runs[0].folder).name})"


def _of_rows(folder: Path) -> str:
    """Return a fingerprint of the test images of a cross-validation: their paths and classes, in order."""
    rows = [[row.path, row.class_name] for row in read_images(folder) if row.split == "test"]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
