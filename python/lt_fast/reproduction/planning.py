"""From a target to the runs that it needs: one job per row and seed, or the reason why a row cannot be run."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lt_fast._text import nearest
from lt_fast.errors import UsageError
from lt_fast.experiment import resolve, run_name
from lt_fast.experiment.config import flattened, given_of
from lt_fast.registry import DATASETS, RECIPES, TRAINING_PROTOCOLS
from lt_fast.reproduction.target import OWN, Row, Tail, Target
from lt_fast.scheduling import Job


class PlannedRow(NamedTuple):
    """A row with its runs.

    Attributes:
        row: of the target.
        jobs: one per seed; none where the row cannot be run.
        reason: why it cannot, or None.
        stage: of the jobs' second stages the one of this row; "" for the run's own.
    """

    row: Row
    jobs: tuple[Job, ...]
    reason: str | None = None
    stage: str = ""


class Plan(NamedTuple):
    """What is to be run.

    Attributes:
        target: the table.
        rows: those that were asked for.
        protocol: name of the training protocol, or ``OWN``.
        seeds: number of seeds.

    >>> from lt_fast.reproduction import target_of
    >>> found = plan(target_of("mammc-table-1"), Path("runs"), seeds=2, rows=["MAMMC"], data="cifar10-lt")
    >>> isinstance(found, Plan), [job.name for job in found.jobs()]
    (True, ['MAMMC, CIFAR-10-LT 100, seed 0', 'MAMMC, CIFAR-10-LT 100, seed 1'])
    """

    target: Target
    rows: tuple[PlannedRow, ...]
    protocol: str
    seeds: int

    def jobs(self) -> list[Job]:
        """Return every run once, also where rows share it, with the second stages of all of them."""
        found: dict[Path, Job] = {}
        for job in (job for planned in self.rows for job in planned.jobs):
            first = found.setdefault(job.folder, job)
            found[job.folder] = first._replace(second_stages={**first.second_stages, **job.second_stages})
        return list(found.values())


def plan(
    target: Target,
    folder: Path,
    *,
    seeds: int = 3,
    rows: Sequence[str] = (),
    data: str | None = None,
    imbalance_ratio: float | None = None,
    protocol: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    roots: Mapping[str, Path] | None = None,
) -> Plan:
    """Return the runs of a target.

    Args:
        target: the table.
        folder: of the run directories, which targets may share.
        seeds: seeds 0 to ``seeds - 1`` of each row.
        rows: labels or names of recipes; all rows when left out.
        data: rows on this data set alone.
        imbalance_ratio: rows of this ratio alone.
        protocol: training protocol in place of the target's; ``"own"`` for the recipes' own settings. The target's
            holds on the data sets that it is stated for; on others the recipes have their own settings.
        overrides: settings over those of every row, such as ``epochs``.
        roots: data set to the folder of its files, where it is not that of all.

    Raises:
        UsageError: if a row or the protocol is unknown, or no row is left; names the nearest. If ``overrides`` leave no
            row that can be run.

    >>> from lt_fast.reproduction import target_of
    >>> found = plan(target_of("mammc-table-1"), Path("runs"), seeds=1, rows=["MAM", "MAMMC"], data="cifar10-lt")
    >>> [(job.name, job.config["epochs"], job.config["batch_size"]) for job in found.jobs()]
    [('MAM, CIFAR-10-LT 100, seed 0', 200, 256), ('MAMMC, CIFAR-10-LT 100, seed 0', 200, 256)]
    """
    chosen = chosen_rows(target, rows, data, imbalance_ratio)
    named = _checked_protocol(target.protocol if protocol is None else protocol)
    usual = [named if protocol is not None else _fitting(named, row.tail.data) for row in chosen]
    planned = [
        _planned(row, folder, seeds, each, overrides or {}, roots or {})
        for row, each in zip(chosen, usual, strict=True)
    ]
    if overrides:
        _refuse_overrides(target, planned)
    return Plan(target, tuple(planned), named, seeds)


def chosen_rows(
    target: Target, names: Sequence[str], data: str | None = None, imbalance_ratio: float | None = None
) -> list[Row]:
    """Return the rows that are named by label or recipe, on the data set and of the ratio.

    Raises:
        UsageError: if a name fits no row, or no row is left.
    """
    labels = list(dict.fromkeys(row.label for row in target.rows))
    recipes = list(dict.fromkeys(row.recipe for row in target.rows if row.recipe))
    found = [row for row in target.rows if not names or any(_names(name, row, labels) for name in names)]
    for name in names:
        if _folded(name) not in map(_folded, [*labels, *recipes]):
            raise UsageError(
                f"rows must be some of {', '.join(labels)}, or recipes of theirs, got {name!r}"
                f"{nearest(name, [*labels, *recipes])}"
            )
    found = [row for row in found if data is None or row.tail.data == data]
    found = [row for row in found if imbalance_ratio is None or row.tail.imbalance_ratio == imbalance_ratio]
    if target.rows and not found:
        asked = [f"data {data!r}"] * (data is not None) + [f"ratio {imbalance_ratio}"] * (imbalance_ratio is not None)
        raise UsageError(
            f"{target.name} must have a row that is asked for, got {' and '.join([*map(repr, names), *asked])}; it has "
            f"{', '.join(map(_as_asked, target.tails()))}"
        )
    return found


def _as_asked(tail: Tail) -> str:
    """Return a data set as ``--data`` and ``--imbalance-ratio`` take it."""
    return tail.data if tail.imbalance_ratio is None else f"{tail.data} with ratio {tail.imbalance_ratio:g}"


def recipe_hash(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration without its seeds: runs of one row share it."""
    seeds = ("seed",) if config.get("subset_seed") != config["seed"] else ("seed", "subset_seed")
    kept = {name: value for name, value in config.items() if name not in seeds}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _planned(
    row: Row, folder: Path, seeds: int, protocol: str, overrides: Mapping[str, Any], roots: Mapping[str, Path]
) -> PlannedRow:
    reason = reason_against(row)
    if reason is not None:
        return PlannedRow(row, (), reason)
    try:
        jobs = [_job(row, folder, seed, protocol, overrides, roots) for seed in range(seeds)]
        _refuse_options_of_another(jobs[0].config)
    except (ValueError, TypeError) as error:  # a setting that this version does not have
        return PlannedRow(row, (), str(error))
    return PlannedRow(row, tuple(jobs), stage=next(iter(jobs[0].second_stages), ""))


def _refuse_overrides(target: Target, rows: Sequence[PlannedRow]) -> None:
    """Raise where settings over those of the rows leave none that can be run: one of them is wrong."""
    tried = [row for row in rows if reason_against(row.row) is None]
    if tried and not any(row.jobs for row in tried):
        raise UsageError(f"{target.name} must have a row that can be run, but {tried[0].reason}")


def reason_against(row: Row) -> str | None:
    """Return why a row cannot be run, or None."""
    if row.reason is not None:
        return row.reason
    if row.recipe not in RECIPES:
        return f"this version has no recipe {row.recipe}"
    if row.tail.data not in DATASETS:
        return f"this version has no data set {row.tail.data}"
    return None


def _job(
    row: Row, folder: Path, seed: int, protocol: str, overrides: Mapping[str, Any], roots: Mapping[str, Path]
) -> Job:
    config = _config(row, {**row.settings, **overrides}, seed, protocol)
    stages: dict[str, Any] = {}
    if row.refit:
        stages = {_stage_of(row): config["calibrator"]}
        config = _config(row, {**_of_training(row.settings), **overrides}, seed, protocol)
    name = f"{row.label}, {row.tail.in_words()}, seed {seed}"
    return Job(name, config, folder / run_name(config), roots.get(row.tail.data), stages)


def _refuse_options_of_another(config: Mapping[str, Any]) -> None:
    """Raise where a recipe sets options that the data set's network lacks, such as the number of its experts.

    Raises:
        UsageError: naming the option.
    """
    resolve(config["recipe"], config["data"], flattened(config), **given_of(config))


def _config(row: Row, settings: Mapping[str, Any], seed: int, protocol: str) -> dict[str, Any]:
    assert row.recipe is not None
    tail = {"imbalance_ratio": row.tail.imbalance_ratio, "profile": row.tail.profile, "seed": seed}
    named = {"model": settings["model"]} if "model" in settings else {}
    named |= {} if protocol == OWN else {"protocol": protocol}
    changes = {name: value for name, value in settings.items() if name != "model"}
    return resolve(row.recipe, row.tail.data, changes, **tail, **named)  # type: ignore[arg-type]


def _stage_of(row: Row) -> str:
    """Return the name of the second stage of a row that shares its training: what it sets."""
    own = {name.partition(".")[2]: value for name, value in row.settings.items() if name.startswith("calibrator.")}
    return ",".join(f"{name}={value}" for name, value in own.items())


def _of_training(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if not name.startswith("calibrator.")}


def _checked_protocol(name: str) -> str:
    known: Iterable[str] = [OWN, *TRAINING_PROTOCOLS]
    if name not in known:
        raise UsageError(f"protocol must be one of {', '.join(known)}, got {name!r}{nearest(name, known)}")
    return name


def _fitting(protocol: str, data: str) -> str:
    return protocol if protocol != OWN and data in TRAINING_PROTOCOLS[protocol].on else OWN


def _names(name: str, row: Row, labels: Sequence[str]) -> bool:
    """Whether ``name`` means the row: its label, or its recipe where no row has that label."""
    if _folded(name) in map(_folded, labels):
        return _folded(name) == _folded(row.label)
    return _folded(name) == _folded(row.recipe or "")


def _folded(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")
