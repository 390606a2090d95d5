"""What the runs of a sweep measured on their validation images, and the setting that is chosen by it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lt_fast import metrics
from lt_fast._extras import require
from lt_fast.counts import ClassCounts
from lt_fast.experiment.config import groups_of
from lt_fast.experiment.for_use import VALIDATION
from lt_fast.experiment.predictions import measured, read_predictions_of
from lt_fast.scheduling import Outcome
from lt_fast.sweeps.grid import as_numbers

METRICS = {
    "balanced_acc": "mean recall over the classes",
    "top1": "share of the images that are right",
    "many_recall": "mean recall of the group many",
    "medium_recall": "mean recall of the group medium",
    "few_recall": "mean recall of the group few",
    "worst_class_recall": "smallest recall of a class",
    "macro_f1": "mean F1 over the classes",
    "nll": "negative log-likelihood; smaller is better",
    "ece15": "expected calibration error over 15 bins; smaller is better",
}
"""What a setting can be chosen by, and what it is."""

LOWER_IS_BETTER = frozenset({"nll", "ece15"})
UNBOUNDED = frozenset({"nll"})
GROUPS = ("many", "medium", "few")


class Trial(NamedTuple):
    """One run.

    Attributes:
        settings: those that the sweep tries.
        seed: of the run.
        folder: run directory.
        validation: ``METRICS`` of its validation images, after calibration where the recipe calibrates; None where the
            run failed.
        test: the same of its test images, by which nothing is chosen.
        reason: why it failed, or None.

    >>> trial = Trial({"omega": 0.25}, 0, "runs/a", validation={"top1": 0.9}, test={"top1": 0.88}, reason=None)
    >>> trial.settings, trial.validation["top1"]
    ({'omega': 0.25}, 0.9)
    """

    settings: Mapping[str, Any]
    seed: int
    folder: str
    validation: Mapping[str, float | None] | None
    test: Mapping[str, float | None] | None
    reason: str | None


class Candidate(NamedTuple):
    """One combination of the settings.

    Attributes:
        settings: those that the sweep tries.
        trials: its runs, by seed.
        value: mean over the runs of the metric; None where a run failed.
        low, high: 95 % interval: Student's t over the runs; of one run, over the choice of the validation images, where
            the metric is an accuracy; else None.

    >>> trials = [Trial({"omega": 0.25}, seed, f"runs/{seed}", {"top1": 0.9}, {"top1": 0.88}, None) for seed in (0, 1)]
    >>> candidate = Candidate({"omega": 0.25}, trials, value=0.9, low=0.87, high=0.93)
    >>> candidate.settings, len(candidate.trials), candidate.value
    ({'omega': 0.25}, 2, 0.9)
    """

    settings: Mapping[str, Any]
    trials: Sequence[Trial]
    value: float | None
    low: float | None
    high: float | None


class Sweep(NamedTuple):
    """A sweep that has been carried out.

    Attributes:
        method, data: of every run.
        settings: name to the values that were tried.
        metric: of ``METRICS``, of the validation images.
        validation_images: their number.
        candidates: in the order of the grid.
        best: the chosen one.
        command: the words of the command that trains it.
        held_out: whether that command holds the validation images out again, because the recipe needs some.
        files: tables and pictures that were written.

    >>> from lt_fast.sweeps import sweep
    >>> shared = {"epochs": 1, "validation": 0.2}
    >>> keywords = {"overrides": shared, "out": "runs/sweep", "progress": False, "plots": False}
    >>> found = sweep("ce", "digits-lt", {"learning_rate": [0.05, 0.1]}, **keywords)
    >>> isinstance(found, Sweep), found.validation_images, [row["learning_rate"] for row in found.rows()]
    (True, 82, [0.05, 0.1])
    """

    method: str
    data: str
    settings: Mapping[str, Sequence[Any]]
    metric: str
    validation_images: int
    candidates: Sequence[Candidate]
    best: Candidate
    command: tuple[str, ...]
    held_out: bool
    files: Sequence[str] = ()

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per run: the settings, ``seed``, every metric of its validation images, ``folder``."""
        numbers = {name: as_numbers(values) is not None for name, values in self.settings.items()}
        found = []
        for trial in (trial for candidate in self.candidates for trial in candidate.trials):
            settings = {name: _number(value) if numbers[name] else value for name, value in trial.settings.items()}
            values = trial.validation or dict.fromkeys(METRICS)
            found.append({**settings, "seed": trial.seed, **values, "folder": trial.folder})
        return found

    def frame(self) -> Any:
        """Return ``rows`` as a ``pandas.DataFrame``.

        Raises:
            MissingExtraError: if pandas is not installed.
        """
        pandas = require("pandas", extra="compare", purpose="a data frame of a sweep")
        return pandas.DataFrame(self.rows())

    def as_good(self) -> list[Candidate]:
        """Return the other candidates that cannot be told from the chosen one.

        Of several runs, those whose differences to it, seed by seed, have a 95 % interval that holds 0; of one run,
        those whose value is in the interval of the chosen one.
        """
        others = [each for each in self.candidates if each is not self.best and each.value is not None]
        return [other for other in others if _alike(self.best, other, self.metric)]


def trial_of(settings: Mapping[str, Any], outcome: Outcome) -> tuple[Trial, list[dict[str, Any]]]:
    """Return what a run measured, and the recall of each class on its validation images."""
    job, seed = outcome.job, int(outcome.job.config["seed"])
    if outcome.status != "finished":
        return Trial(settings, seed, str(job.folder), None, None, outcome.reason), []
    result = outcome.result()
    counts = ClassCounts(result["data"]["class_counts"], names=result["data"]["class_names"])
    saved = read_predictions_of(job.folder, num_classes=len(counts), name=VALIDATION)
    validation = measured(saved, counts, groups_of(result["config"]))["metrics"]
    values, test = ({name: found[name] for name in METRICS} for found in (validation, result["metrics"]))
    return Trial(settings, seed, str(job.folder), values, test, None), validation["per_class"]


def candidate_of(settings: Mapping[str, Any], outcomes: Sequence[Outcome], metric: str) -> Candidate:
    """Return a combination of settings with its runs, its mean and its interval."""
    found = [trial_of(settings, outcome) for outcome in outcomes]
    trials = [trial for trial, _ in found]
    values = [None if trial.validation is None else trial.validation[metric] for trial in trials]
    there = [value for value in values if value is not None]
    if len(there) < len(values):
        return Candidate(settings, trials, None, None, None)
    if len(there) == 1:
        low, high = _over_images(metric, found[0][1], groups_of(outcomes[0].job.config)) or (None, None)
        return Candidate(settings, trials, there[0], low, high)
    mean, half = metrics.mean_interval(there)
    assert half is not None
    least, most = (-np.inf, np.inf) if metric in UNBOUNDED else (0.0, 1.0)
    return Candidate(settings, trials, mean, max(mean - half, least), min(mean + half, most))


def best_of(found: Sequence[Candidate], metric: str) -> Candidate | None:
    """Return the candidate of the best mean, of equal ones the first; None where every candidate has a failed run."""
    there = [candidate for candidate in found if candidate.value is not None]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return max(there, key=lambda candidate: sign * (candidate.value or 0.0), default=None)


def _alike(best: Candidate, other: Candidate, metric: str) -> bool:
    if len(best.trials) == 1:
        return best.low is not None and best.high is not None and best.low <= (other.value or 0.0) <= best.high
    pairs = zip(best.trials, other.trials, strict=True)
    differences = [(one.validation or {})[metric] - (two.validation or {})[metric] for one, two in pairs]  # type: ignore[operator]
    mean, half = metrics.mean_interval(differences)
    return abs(mean) <= (half or 0.0)


def _over_images(
    metric: str, per_class: Sequence[Mapping[str, Any]], groups: tuple[int, int]
) -> tuple[float, float] | None:
    """Return the interval of an accuracy of one run over the choice of its images; None for other metrics."""
    total = np.array([entry["n_test"] for entry in per_class])
    right = np.rint([(entry["recall"] or 0.0) * entry["n_test"] for entry in per_class]).astype(np.int64)
    if metric == "top1":
        low, high = metrics.wilson_interval(int(right.sum()), int(total.sum())).tolist()
        return low, high
    if metric == "balanced_acc":
        return metrics.mean_recall_interval(right, total)
    group = metric.partition("_")[0]
    if group not in GROUPS:
        return None
    member = ClassCounts([entry["n_train"] for entry in per_class]).groups(many=groups[0], few=groups[1])[group]
    return metrics.mean_recall_interval(right[member], total[member])


def _number(value: Any) -> float:
    (found,) = as_numbers([value]) or [float("nan")]
    return int(found) if found.is_integer() and "." not in str(value) else found
