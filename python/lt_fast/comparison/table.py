"""``compare`` and ``results``: one table over methods and seeds, with intervals and words."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lt_fast import _checks
from lt_fast._extras import require
from lt_fast._text import nearest
from lt_fast.comparison.measuring import LOWER_IS_BETTER, METRICS, resampled
from lt_fast.comparison.runs import MethodRuns, grouped
from lt_fast.errors import UsageError
from lt_fast.metrics import mean_interval

Verdict: TypeAlias = Literal["better", "worse", "not distinguishable"]
_MOST_RESAMPLES = 1_000_000


class Entry(NamedTuple):
    """One metric of one method.

    Attributes:
        method: its name.
        runs: number of its runs.
        metric: of ``METRICS``, as ``result.json`` names it.
        value: mean over the runs; None for a group without classes.
        low, high: the interval, cut to [0, 1], or None. That of ``ece15`` over test images is a little high, because
            resampling adds to it.
        interval: what it is over: ``"seeds"``, or ``"test images"`` for one run.
        difference, difference_low, difference_high: to the first method, or None for that one.
        verdict: against the first method, or None.

    >>> entry = Entry("MAMMC", 3, "top1", 0.93, 0.91, 0.95, "seeds", 0.05, 0.02, 0.08, "better")
    >>> entry.verdict, entry.difference
    ('better', 0.05)
    """

    method: str
    runs: int
    metric: str
    value: float | None
    low: float | None
    high: float | None
    interval: str | None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    verdict: Verdict | None = None


class Comparison(NamedTuple):
    """A comparison of methods.

    Attributes:
        methods: names, the first being what the others are compared with.
        entries: one per method and metric, by metric.
        level: of the intervals.
        groups: ``(many_above, few_below)``: the thresholds of many, medium and few.

    >>> found = compare(["runs/ce-0", "runs/mammc-0"])
    >>> isinstance(found, Comparison), found.methods, found.level
    (True, ('ce', 'mammc'), 0.95)
    >>> found.of("mammc", "balanced_acc").verdict in ("better", "worse", "not distinguishable")
    True
    """

    methods: tuple[str, ...]
    entries: tuple[Entry, ...]
    level: float
    groups: tuple[int, int]

    def of(self, method: str, metric: str) -> Entry:
        """Return one entry.

        Raises:
            UsageError: if there is no such method or metric; names the nearest.
        """
        for name, given, known in (("method", method, self.methods), ("metric", metric, tuple(METRICS))):
            if given not in known:
                raise UsageError(f"{name} must be one of {', '.join(known)}, got {given!r}{nearest(given, known)}")
        return next(entry for entry in self.entries if (entry.method, entry.metric) == (method, metric))


def results(
    runs: Sequence[str | Path],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    groups: tuple[int, int] | None = None,
) -> Any:
    """Return the comparison of finished runs as a ``pandas.DataFrame``, one row per metric and method.

    Columns: the attributes of ``Entry``. Arguments and errors as ``compare``.

    Raises:
        MissingExtraError: if pandas is not installed.

    Example::

        lt_fast.results(["runs/ce-...-0", "runs/ce-...-1", "runs/mammc-...-0", "runs/mammc-...-1"])

    >>> table = results(["runs/ce-0", "runs/mammc-0"])
    >>> table[table.metric == "balanced_acc"][["method", "runs", "interval"]].values.tolist()
    [['ce', 1, 'test images'], ['mammc', 1, 'test images']]
    """
    pandas = require("pandas", extra="compare", purpose="a data frame of results")
    entries = compare(runs, level=level, resamples=resamples, groups=groups).entries
    return pandas.DataFrame([entry._asdict() for entry in entries], columns=list(Entry._fields))


def compare(
    runs: Sequence[str | Path],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    groups: tuple[int, int] | None = None,
) -> Comparison:
    """Compare finished runs: runs whose configurations differ in seeds alone are one method.

    The interval of a method with two or more runs is Student's t over the runs; with one run, the percentile bootstrap
    of its test images. A difference to the first method is judged by the t interval of the differences of runs with the
    same seed and test images where both have the same ones, by Welch's where they do not, and by the paired bootstrap
    of the same test images where one of them has a single run. The interval excludes 0, or the two are "not
    distinguishable" at this level; each pair is judged for itself, without a correction for their number.

    Args:
        runs: directories of finished runs, or folders of ``lt-fast calibrate``; the first run's method is the one that
            the others are compared with.
        level: of the intervals, in (0, 1).
        resamples: of the bootstrap, from 1 to 1,000,000.
        groups: thresholds of the groups of classes, ``(many_above, few_below)``; those of the runs when left out.

    Complexity: O(resamples * N) per run with N test images.

    Raises:
        UsageError: if there is no run, one comes twice, the methods were tested on different images, or the runs have
            other thresholds and ``groups`` is left out.
        ValueError: if a class would be in two groups.
        DataError: if a run has not finished, or a file is missing or damaged.

    Source: Efron 1979, The Annals of Statistics 7(1) (bootstrap); Welch 1947, Biometrika 34.

    >>> found = compare(["runs/ce-0", "runs/mammc-0"])  # two runs of lt-fast train --data digits-lt
    >>> [(entry.method, entry.runs, entry.interval) for entry in found.entries if entry.metric == "balanced_acc"]
    [('ce', 1, 'test images'), ('mammc', 1, 'test images')]
    >>> entry = found.of("mammc", "balanced_acc")
    >>> base = found.of("ce", "balanced_acc").value
    >>> entry.low <= entry.value <= entry.high, abs(entry.value - entry.difference - base) < 1e-9
    (True, True)
    """
    level = _checks.number("level", level, above=0, below=1)
    resamples = _checks.integer("resamples", resamples, least=1, most=_MOST_RESAMPLES)
    methods = grouped(runs, groups)
    one_run = any(len(method.runs) == 1 for method in methods)
    samples = _samples(methods, resamples) if one_run else None
    values = [np.stack([run.measured.of() for run in method.runs]) for method in methods]
    entries = [
        _entry(methods, place, metric, column, values, samples, level)
        for column, metric in enumerate(METRICS)
        for place in range(len(methods))
    ]
    return Comparison(tuple(method.name for method in methods), tuple(entries), level, methods[0].runs[0].groups)


def _samples(methods: list[MethodRuns], resamples: int) -> list[NDArray[np.float64]]:
    """Return the resampled metrics of each method ``(resamples, M)``, a mean over its runs; same images, same draws."""
    found: list[list[NDArray[np.float64]]] = [[] for _ in methods]
    for test in sorted({run.test for method in methods for run in method.runs}):
        seed = int(hashlib.sha256(test.encode()).hexdigest()[:16], 16)
        there = [(place, run.measured) for place, method in enumerate(methods) for run in method.runs
                 if run.test == test]  # fmt: skip
        drawn = resampled([measured for _, measured in there], seed=seed, resamples=resamples)
        for (place, _), sample in zip(there, drawn, strict=True):
            found[place].append(sample)
    return [np.mean(samples, axis=0) for samples in found]


def _entry(
    methods: list[MethodRuns],
    place: int,
    metric: str,
    column: int,
    values: list[NDArray[np.float64]],
    samples: list[NDArray[np.float64]] | None,
    level: float,
) -> Entry:
    method, own, first = methods[place], values[place][:, column], values[0][:, column]
    if np.isnan(own).any():
        return Entry(method.name, len(own), metric, None, None, None, None)
    sampled = None if samples is None else samples[place][:, column]
    low, high = _interval(own, sampled, level)
    kind = "seeds" if len(own) > 1 else "test images"
    entry = Entry(method.name, len(own), metric, float(own.mean()), low, high, kind)
    if place == 0:
        return entry
    if len(own) > 1 and len(first) > 1:
        low, high = _difference_over_seeds(own, first, _paired(methods[0], method), level)
    else:
        assert samples is not None
        low, high = _quantiles(samples[place][:, column] - samples[0][:, column], level)
    return entry._replace(
        difference=float(own.mean() - first.mean()),
        difference_low=low,
        difference_high=high,
        verdict=_verdict(low, high, metric),
    )


def _interval(own: NDArray[np.float64], sampled: NDArray[np.float64] | None, level: float) -> tuple[float, float]:
    if len(own) == 1:
        assert sampled is not None
        return _quantiles(sampled, level)
    mean, half = mean_interval(own, level)
    assert half is not None
    return max(mean - half, 0.0), min(mean + half, 1.0)


def _paired(first: MethodRuns, other: MethodRuns) -> bool:
    return [(run.test, run.seed) for run in first.runs] == [(run.test, run.seed) for run in other.runs]


def _difference_over_seeds(
    own: NDArray[np.float64], first: NDArray[np.float64], paired: bool, level: float
) -> tuple[float, float]:
    if paired:
        mean, half = mean_interval(own - first, level)
        assert half is not None
        return mean - half, mean + half
    stats = require("scipy.stats", extra="train", purpose="an interval over seeds")
    spread = [float(np.var(each, ddof=1)) / len(each) for each in (own, first)]
    difference, error = float(own.mean() - first.mean()), sum(spread) ** 0.5
    if error == 0:
        return difference, difference
    freedom = sum(spread) ** 2 / sum(part**2 / (len(each) - 1) for part, each in zip(spread, (own, first), strict=True))
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    return difference - half, difference + half


def _quantiles(sampled: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.nanquantile(sampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _verdict(low: float, high: float, metric: str) -> Verdict:
    if low <= 0 <= high:
        return "not distinguishable"
    return "better" if (low > 0) != (metric in LOWER_IS_BETTER) else "worse"
