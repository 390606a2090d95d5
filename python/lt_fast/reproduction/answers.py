"""Published and measured numbers side by side, with intervals, and how each row was trained."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lt_fast.experiment.calibrating import read_calibration
from lt_fast.experiment.protocol import PROTOCOL
from lt_fast.metrics import mean_interval
from lt_fast.records import OBJECT, TEXT, read_json
from lt_fast.reproduction.numbers import METRICS, Published
from lt_fast.reproduction.planning import Plan, PlannedRow, recipe_hash
from lt_fast.reproduction.target import OWN, Tail
from lt_fast.scheduling import Job, finished_result
from lt_fast.training import History
from lt_fast.training.run_files import METRICS as CURVES

LOST = "lost"
_HUNDRED = 100.0
_SHOWN_OF_HASHES = 12


class Entry(NamedTuple):
    """One number of the table. Accuracies are percent; None is a number that there is not.

    Attributes:
        row: label.
        tail: the data set.
        metric: of ``METRICS``.
        published: accuracy.
        printed: the published number as its source prints it, or ``"lost"``, or "".
        verified: whether the published number was read in its source.
        source: of the published number.
        runs: number of finished runs.
        measured: mean accuracy after the last epoch and the second stage, over the seeds.
        half_width: half the width of its 95 % interval; None for one seed.
        difference: measured less published.
        verdict: where the published number is, in words.
        chosen_epoch: mean of the epochs that are best on the validation images, where the runs have such images.
        chosen: mean accuracy on the test images after that epoch.
        reason: why there is no measured number, or "".

    >>> from lt_fast.reproduction import plan, target_of
    >>> rows = plan(target_of("mammc-table-1"), Path("runs"), rows=["MAMMC"], data="cifar10-lt")
    >>> entry = answer(rows).entries[0]
    >>> isinstance(entry, Entry), entry.row, entry.published, entry.runs, entry.measured
    (True, 'MAMMC', 83.3, 0, None)
    """

    row: str
    tail: Tail
    metric: str
    published: float | None
    printed: str
    verified: bool
    source: str
    runs: int
    measured: float | None
    half_width: float | None
    difference: float | None
    verdict: str
    chosen_epoch: float | None
    chosen: float | None
    reason: str


class Training(NamedTuple):
    """How a row was trained on one data set.

    Attributes:
        row: label.
        tail: the data set.
        recipe: its name.
        protocol: name of the training protocol, or ``"own"``.
        epochs, steps, batch_size: of stage 1.
        augmentation: transform, and mixer if there is one.
        second_stage: name of the calibrator, or "".
        selection: which weights are measured.
        recipe_sha256: of the configuration without seeds.
        seconds: mean wall time of a training.
        note: what differs from the published row, or "".
    """

    row: str
    tail: Tail
    recipe: str
    protocol: str
    epochs: int
    steps: int
    batch_size: int
    augmentation: str
    second_stage: str
    selection: str
    recipe_sha256: str
    seconds: float
    note: str


class Answer(NamedTuple):
    """What ``lt-fast reproduce`` answers.

    Attributes:
        plan: what was to be run.
        entries: one per row, data set and metric.
        trainings: one per row and data set that has finished runs.
        protocols: data set to what all of its runs share, in words.

    >>> from lt_fast.reproduction import plan, target_of
    >>> found = answer(plan(target_of("mammc-table-1"), Path("runs"), rows=["MAMMC"]))
    >>> isinstance(found, Answer), [entry.tail.data for entry in found.entries], found.trainings  # none has been run
    (True, ['cifar10-lt', 'cifar100-lt', 'soil'], ())
    """

    plan: Plan
    entries: tuple[Entry, ...]
    trainings: tuple[Training, ...]
    protocols: Mapping[Tail, str]

    def reasons(self) -> dict[str, list[str]]:
        """Return every reason why a row has no measured number, with the rows that it holds for."""
        found: dict[str, list[str]] = {}
        for entry in self.entries:
            where = f"{entry.row} on {entry.tail.in_words()}"
            if entry.reason and where not in found.setdefault(entry.reason, []):
                found[entry.reason].append(where)
        return found


def answer(plan: Plan, failed: Mapping[Path, str] | None = None) -> Answer:
    """Return the table of a plan from the runs that have finished.

    Args:
        plan: from ``planning.plan``.
        failed: run directory to the reason, of the runs that failed.

    Raises:
        DataError: if a file of a finished run is missing or damaged.

    >>> from lt_fast.reproduction import plan, target_of
    >>> found = answer(plan(target_of("mammc-table-1"), Path("runs"), rows=["MAM", "MAMMC"], data="cifar10-lt"))
    >>> [(entry.row, entry.published, entry.verdict) for entry in found.entries]
    [('MAM', 76.6, ''), ('MAMMC', 83.3, '')]
    """
    measured = [(planned, _finished(planned)) for planned in plan.rows]
    entries = [entry for planned, runs in measured for entry in _entries(plan, planned, runs, failed or {})]
    trainings = [_training(planned, runs) for planned, runs in measured if runs]
    shared: dict[Tail, str] = {}
    for planned, runs in measured:
        if runs and planned.row.tail not in shared:
            shared[planned.row.tail] = _shared(runs[0][0])
    return Answer(plan, tuple(entries), tuple(trainings), shared)


def finished_folders(planned: PlannedRow) -> list[Path]:
    """Return the directories of the runs of a row that have finished."""
    return [folder for folder, _ in _finished(planned)]


def _finished(planned: PlannedRow) -> list[tuple[Path, dict[str, Any]]]:
    found = [(job, finished_result(job)) for job in planned.jobs]
    return [(job.folder, _of_stage(planned, job, result)) for job, result in found if result is not None]


def _of_stage(planned: PlannedRow, job: Job, result: dict[str, Any]) -> dict[str, Any]:
    """Return the result with the metrics of the row's own second stage, where it shares the training."""
    if not planned.stage:
        return result
    stage = read_calibration(job.stage_folder(planned.stage))
    config = {**result["config"], "calibrator": dict(job.second_stages[planned.stage])}
    return {**result, "config": config, "metrics": stage["metrics"]}


def _entries(
    plan: Plan, planned: PlannedRow, runs: Sequence[tuple[Path, dict[str, Any]]], failed: Mapping[Path, str]
) -> Iterable[Entry]:
    numbers = plan.target.published(planned.row)
    reason = planned.reason or ("" if runs else _why_not(planned, failed))
    chosen = [_chosen(folder, result) for folder, result in runs]
    for metric in plan.target.metrics:
        values = [result["metrics"][METRICS[metric]] for _, result in runs]
        yield _entry(plan, planned, metric, numbers.get(metric), values, chosen, reason)


def _entry(
    plan: Plan,
    planned: PlannedRow,
    metric: str,
    number: Published | None,
    values: Sequence[float | None],
    chosen: Sequence[Mapping[str, float] | None],
    reason: str,
) -> Entry:
    mean, half = _over_seeds(values)
    accuracy = None if number is None else number.accuracy
    lost = LOST if plan.target.lost else ""
    there = [each for each in chosen if each is not None and METRICS[metric] in each]
    complete = bool(there) and len(there) == len(values)
    return Entry(
        row=planned.row.label,
        tail=planned.row.tail,
        metric=metric,
        published=accuracy,
        printed=lost if number is None else number.printed,
        verified=number is not None and number.verified,
        source="" if number is None else number.source,
        runs=len(values),
        measured=mean,
        half_width=half,
        difference=None if mean is None or accuracy is None else mean - accuracy,
        verdict=verdict(accuracy, mean, half),
        chosen_epoch=_mean([each["epoch"] for each in there]) if complete else None,
        chosen=_HUNDRED * _mean([each[METRICS[metric]] for each in there]) if complete else None,
        reason=reason,
    )


def verdict(published: float | None, mean: float | None, half: float | None) -> str:
    """Return in words where the published accuracy is.

    >>> verdict(83.3, 82.0, 1.5), verdict(83.3, 80.0, 1.5), verdict(83.3, 80.0, None)
    ('inside the interval', 'above the interval', 'one seed, no interval')
    """
    if published is None or mean is None:
        return ""
    if half is None:
        return "one seed, no interval"
    if abs(published - mean) <= half:
        return "inside the interval"
    return "above the interval" if published > mean else "below the interval"


def _over_seeds(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    there = [value for value in values if value is not None]
    if not there or len(there) < len(values):
        return None, None
    mean, half = mean_interval(there)
    return _HUNDRED * mean, None if half is None else _HUNDRED * half


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _why_not(planned: PlannedRow, failed: Mapping[Path, str]) -> str:
    reasons = [failed[job.folder] for job in planned.jobs if job.folder in failed]
    return reasons[0] if reasons else "not run"


def _chosen(folder: Path, result: Mapping[str, Any]) -> dict[str, float] | None:
    """Return the test metrics of the epoch that is best on the validation images, or None.

    A second stage is fitted to the last epoch alone, so that its runs have no such number.
    """
    if result["config"]["calibrator"] is not None:
        return None
    rows = [row for row in History.from_csv(folder / CURVES) if row.get("validation_top1") is not None]
    if not rows or rows[0].get("test_top1") is None:
        return None
    best = max(rows, key=lambda row: row["validation_top1"] or 0.0)  # the first of equals
    found = {key: best.get(f"test_{key}") for key in METRICS.values()}
    return {"epoch": best["epoch"] or 0, **{key: value for key, value in found.items() if value is not None}}


def _training(planned: PlannedRow, runs: Sequence[tuple[Path, dict[str, Any]]]) -> Training:
    config, data = runs[0][1]["config"], runs[0][1]["data"]
    steps = config["epochs"] * -(-data["train_images"] // config["batch_size"])
    mixer = [] if config["mixer"] is None else [config["mixer"]["name"]]
    return Training(
        row=planned.row.label,
        tail=planned.row.tail,
        recipe=config["recipe"],
        protocol=config.get("protocol", OWN),
        epochs=config["epochs"],
        steps=steps,
        batch_size=config["batch_size"],
        augmentation=" + ".join([config["transform"]["name"], *mixer]),
        second_stage="" if config["calibrator"] is None else config["calibrator"]["name"],
        selection=runs[0][1]["selection"],
        recipe_sha256=recipe_hash(config),
        seconds=_mean([result["seconds"]["train"] for _, result in runs]),
        note=planned.row.note,
    )


def _shared(folder: Path) -> str:
    """Return what the runs on one data set share, on one line."""
    rules = {"data": OBJECT, "data.train_fingerprint": TEXT, "data.test_fingerprint": TEXT, "groups": OBJECT}
    rules |= {"selection": TEXT, "versions": OBJECT}
    found = read_json(folder / PROTOCOL, rules)
    data, groups, versions = found["data"], found["groups"], found["versions"]
    limits = ", ".join(f"{name} {words}" for name, words in groups.items())
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("lt-fast", "torch") if name in versions)
    return (
        f"{data['train_images']} training images (subset {data['train_fingerprint'][:_SHOWN_OF_HASHES]}), "
        f"{data['test_images']} test images ({data['test_fingerprint'][:_SHOWN_OF_HASHES]}); groups: {limits}; "
        f"measured: {found['selection']}; {libraries}"
    )
