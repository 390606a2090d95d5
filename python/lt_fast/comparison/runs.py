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
from lt_fast.experiment.config import groups_of, method_name
from lt_fast.experiment.predictions import read_answers
from lt_fast.experiment.protocol import PROTOCOL
from lt_fast.records import OBJECT, TEXT, read_json
from lt_fast.training.run_files import read_result

# What runs of one method may differ in: seeds, and what changes no training.
_SEEDS = ("seed", "subset_seed", "start_from", "recipe_file", "many_above", "few_below")


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
        groups: ``(many_above, few_below)``.
    """

    folder: str
    recipe: str
    kind: str
    seed: int
    test: str
    names: tuple[str, ...]
    measured: Measured
    groups: tuple[int, int]


class MethodRuns(NamedTuple):
    """The runs of one method, by test images and seed."""

    name: str
    runs: list[ReadRun]


def read_run(folder: str | Path, groups: tuple[int, int] | None = None) -> ReadRun:
    """Read a finished run, or a folder that ``lt-fast calibrate`` wrote; ``groups`` in place of its own thresholds.

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
    groups = groups_of(result["config"]) if groups is None else groups
    measured = Measured(saved.final.predicted, saved.final.confidence, saved.labels, counts, groups)
    return ReadRun(str(folder), recipe, kind, result["config"]["seed"], test, counts.names, measured, groups)


def grouped(folders: Sequence[str | Path], groups: tuple[int, int] | None = None) -> list[MethodRuns]:
    """Read runs and group them by method, in the order of the first run of each.

    Raises:
        UsageError: if there are none, one comes twice, the methods were tested on different images, or the runs have
            other thresholds of the groups and ``groups`` names none for all.
        DataError: if a run has not finished, or a file is missing or damaged.
    """
    if not folders:
        raise UsageError("run directories are needed: lt-fast compare runs/A runs/B")
    paths = [Path(folder).resolve() for folder in folders]
    twice = next((folder for at, folder in enumerate(folders) if paths[at] in paths[:at]), None)
    if twice is not None:
        raise UsageError(f"{twice} must be given once; leave one out")
    by_kind: dict[str, list[ReadRun]] = {}
    for run in (read_run(folder, groups) for folder in folders):
        by_kind.setdefault(run.kind, []).append(run)
    methods = [sorted(runs, key=lambda run: (run.test, run.seed)) for runs in by_kind.values()]
    _refuse_other_images(methods)
    _refuse_other_groups([run for runs in methods for run in runs])
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


def _refuse_other_groups(runs: list[ReadRun]) -> None:
    first = runs[0]
    other = next((run for run in runs if run.groups != first.groups), None)
    if other is not None:
        words = [f"many_above={run.groups[0]} and few_below={run.groups[1]} ({run.folder})" for run in (first, other)]
        raise UsageError(
            f"the runs must have the same groups of classes, got {' but '.join(words)}; name them for all with "
            "--many-above and --few-below, groups= in Python"
        )


def _name(runs: list[ReadRun], methods: list[list[ReadRun]]) -> str:
    """Return the recipe, with the folder where several settings of it are compared."""
    alike = sum(other[0].recipe == runs[0].recipe for other in methods)
    return runs[0].recipe if alike == 1 else f"{runs[0].recipe} ({Path(runs[0].folder).name})"


def _of_rows(folder: Path) -> str:
    """Return a fingerprint of the test images of a cross-validation: their paths and classes, in order."""
    rows = [[row.path, row.class_name] for row in read_images(folder) if row.split == "test"]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
