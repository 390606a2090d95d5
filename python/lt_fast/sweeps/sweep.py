"""``sweep``: settings tried out side by side, the best chosen on validation images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lt_fast import _checks
from lt_fast._text import nearest
from lt_fast.errors import UsageError
from lt_fast.experiment.build import Data, build, images_to_fit, load_data, make_calibrator
from lt_fast.experiment.config import groups_of, recipe_of, resolve
from lt_fast.scheduling import Machine, Outcome, carry_out
from lt_fast.sweeps.choosing import GROUPS, METRICS, Candidate, Sweep, best_of, candidate_of
from lt_fast.sweeps.command import command_of
from lt_fast.sweeps.grid import Plan, planned
from lt_fast.sweeps.writing import write

_MOST_SEEDS = 1000


def sweep(
    method: str,
    data: str,
    settings: Mapping[str, Sequence[Any]],
    *,
    overrides: Mapping[str, Any] | None = None,
    seeds: int = 1,
    metric: str = "balanced_acc",
    out: str | Path | None = None,
    machine: Machine = Machine(),  # noqa: B008
    download: bool = False,
    plots: bool = True,
    progress: bool = True,
    **given: Any,
) -> Sweep:
    """Train every combination of ``settings`` and choose the best one on validation images, never on the test images.

    Runs are carried out side by side, each in a process of its own, in folders of ``out``. Finished runs are not
    repeated and stopped ones resumed, so the same call continues a sweep that was interrupted. A combination of which a
    run fails is not chosen. ``out`` then has ``sweep.csv`` with a row per run, ``sweep.json`` with everything, and with
    one or two settings a picture: curve or heat map.

    Args:
        method: name of a recipe.
        data: name of a data set.
        settings: setting to the values that are tried, as of ``lt_fast.experiment.resolve``.
        overrides: settings that all runs share, such as ``{"validation": 0.2}``.
        seeds: runs of each combination, with the seeds 0, 1, ...
        metric: of ``METRICS``; the mean over the seeds decides, of equal ones the first.
        out: folder; ``runs/sweep-<method>-<data>-<settings>`` when left out.
        machine: how many runs at a time, and where; see ``lt_fast.scheduling.Machine``.
        download: fetch missing files of the data set into ``machine.root``.
        plots: draw the picture.
        progress: show one bar over all runs on standard error.
        given: further arguments of ``resolve``, such as ``imbalance_ratio``.

    Returns:
        The ``Sweep``: candidates with their runs, the chosen one, ``frame()``, and the command that trains it.

    Raises:
        UsageError: if a name, a setting or a value is wrong, the runs have no validation images, or every combination
            has a run that failed.
        DataError: if a file is missing or damaged, or ``out`` cannot be written.
        Interrupted: after a signal, with the states saved.

    Example::

        found = lt_fast.sweep("mammc", "digits-lt", {"omega": [0.1, 0.25, 0.5]}, overrides={"validation": 0.2}, seeds=3)
        found.best.settings, found.frame(), " ".join(found.command)

    >>> shared = {"epochs": 1, "validation": 0.2}
    >>> keywords = {"overrides": shared, "out": "runs/sweep", "progress": False, "plots": False}
    >>> found = sweep("ce", "digits-lt", {"learning_rate": [0.05, 0.1]}, **keywords)
    >>> [candidate.settings for candidate in found.candidates], found.best in found.candidates
    ([{'learning_rate': 0.05}, {'learning_rate': 0.1}], True)
    >>> " ".join(found.command[:6]), [Path(file).name for file in found.files]
    ('lt-fast train --data digits-lt --method ce', ['sweep.csv', 'sweep.json'])
    """
    seeds = _checks.integer("seeds", seeds, least=1, most=_MOST_SEEDS)
    if metric not in METRICS:
        raise UsageError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}{nearest(metric, METRICS)}")
    given, overrides = dict(given), dict(overrides or {})
    folder = default_folder(method, data, settings, given) if out is None else Path(out)
    plan = planned(method, data, settings, seeds=seeds, out=folder, overrides=overrides, given=given)
    machine.slots()  # what it refuses is told before data are read
    images = _checked_data(plan, machine, metric, download=download)
    outcomes = carry_out(plan.jobs, machine, progress=progress)
    found = _candidates(plan, outcomes, metric)
    best = best_of(found, metric)
    if best is None:
        raise UsageError(f"a setting must be left to choose, but every one has a run that failed: {_why(outcomes)}")
    held_out = needs_validation(plan, best, machine)
    sweep = Sweep(
        recipe_of(method).name, data, settings, metric, len(images.validation), found, best,
        command_of(plan, best.settings, held_out=held_out, root=machine.root), held_out,
    )  # fmt: skip
    return sweep._replace(files=write(sweep, folder, plots=plots))


def default_folder(method: str, data: str, settings: Mapping[str, Any], given: Mapping[str, Any]) -> Path:
    """Return where the runs of a sweep are when no folder is named."""
    path = given.get("data_options", {}).get("path")
    place = data if path is None else Path(str(path)).stem
    by = f"-{given['protocol']}" if given.get("protocol") is not None else ""
    return Path("runs") / f"sweep-{recipe_of(method).name}{by}-{place}-{'+'.join(settings)}"


def _checked_data(plan: Plan, machine: Machine, metric: str, *, download: bool) -> Data:
    """Return the images of the first run, after everything that could be refused has been tried."""
    first = plan.jobs[0].config
    images = load_data(first, root=machine.root, download=download)
    if images.validation is None:
        raise UsageError(
            "a sweep chooses on validation images, and these runs have none; hold some out with --set validation=0.2"
        )
    for at in range(len(plan.candidates)):
        build(plan.of(at)[0].config, images, first_weights=False)
    group, many, few = metric.partition("_")[0], *groups_of(first)
    if group in GROUPS:
        member = images.train.class_counts.groups(many=many, few=few)[group]
        if not images.validation.class_counts.counts[member].any():
            raise UsageError(
                f"metric must be measured, but no class of the group {group!r} has validation images; choose by "
                "another one, or set many_above and few_below"
            )
    return images


def _candidates(plan: Plan, outcomes: Sequence[Outcome], metric: str) -> list[Candidate]:
    return [
        candidate_of(settings, outcomes[at * plan.seeds : (at + 1) * plan.seeds], metric)
        for at, settings in enumerate(plan.candidates)
    ]


def _why(outcomes: Sequence[Outcome]) -> str:
    failed = next(outcome for outcome in outcomes if outcome.status != "finished")
    return f"{failed.job.name}: {failed.reason}; its messages are in {failed.job.log}"


def needs_validation(plan: Plan, best: Candidate, machine: Machine) -> bool:
    """Return whether a training without the images that this sweep held out lacks what the recipe is fitted on."""
    if "validation" not in plan.overrides:
        return False
    overrides = {name: value for name, value in plan.overrides.items() if name != "validation"}
    config = resolve(plan.method, plan.data, {**overrides, **best.settings}, **plan.given)
    images = load_data(config, root=machine.root)
    try:
        build(config, images, first_weights=False)
        calibrator = make_calibrator(config, images.train.class_counts)
        if calibrator is not None:
            images_to_fit(calibrator, images)
    except UsageError:
        return True
    return False
