"""The settings of a sweep: values in text, their grid, and the runs that it makes."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lt_fast._numbers import read_number
from lt_fast._text import shown
from lt_fast.errors import UsageError
from lt_fast.experiment.config import resolve, run_name
from lt_fast.scheduling import Job

MOST_RUNS = 10_000
_OF_THE_IMAGES = ("validation", "subset_seed")


class Plan(NamedTuple):
    """What a sweep carries out.

    Attributes:
        method, data: of every run.
        settings: name to the values that are tried.
        overrides: settings that all runs share, those of the recipe aside.
        given: further arguments of ``resolve`` that all runs share.
        jobs: candidate by candidate, then seed by seed.
        candidates: the settings of each.
        seeds: runs per candidate.
    """

    method: str
    data: str
    settings: Mapping[str, Sequence[Any]]
    overrides: Mapping[str, Any]
    given: Mapping[str, Any]
    jobs: Sequence[Job]
    candidates: Sequence[Mapping[str, Any]]
    seeds: int

    def of(self, candidate: int) -> Sequence[Job]:
        """Return the jobs of one candidate, by seed."""
        return self.jobs[candidate * self.seeds : (candidate + 1) * self.seeds]


def split_values(text: str) -> list[str]:
    """Return the values in ``a,b,c``; a comma between brackets separates none.

    Raises:
        UsageError: if a bracket is not closed, or was not opened.

    >>> split_values("0.05,0.1"), split_values("[0.8,0.9],[0.6,0.8]")
    (['0.05', '0.1'], ['[0.8,0.9]', '[0.6,0.8]'])
    """
    parts, depth = [""], 0
    for sign in text:
        depth += (sign == "[") - (sign == "]")
        if depth < 0:
            break
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    if depth:
        raise UsageError(f"values must have a ] for each [, got {shown(text)}; for example [0.8,0.9],[0.6,0.8]")
    return [part.strip() for part in parts]


def candidates(settings: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of the values, the last setting changing fastest.

    Raises:
        UsageError: if there is no setting, or one has no value, one value alone, or a value twice.

    >>> for settings in candidates({"omega": [0.1, 0.25], "learning_rate": [0.05, 0.1]}):
    ...     print(settings)
    {'omega': 0.1, 'learning_rate': 0.05}
    {'omega': 0.1, 'learning_rate': 0.1}
    {'omega': 0.25, 'learning_rate': 0.05}
    {'omega': 0.25, 'learning_rate': 0.1}
    """
    if not settings:
        raise UsageError("a sweep needs a setting with several values: --set learning_rate=0.05,0.1,0.2")
    for name, values in settings.items():
        _check_values(name, values)
    return [dict(zip(settings, values, strict=True)) for values in itertools.product(*settings.values())]


def _check_values(name: str, values: Sequence[Any]) -> None:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise UsageError(f"{name} must be a list of values, got {shown(values)}; for example [0.05, 0.1]")
    if name in _OF_THE_IMAGES:
        raise UsageError(f"{name} must be the same in all runs, or they are measured on other images; give one value")
    empty = [value for value in values if isinstance(value, str) and not value]
    if empty:
        given = ",".join(map(str, values))
        raise UsageError(f"{name} must have no empty value, got {shown(given)}; leave out a comma")
    if len(values) < 2:  # noqa: PLR2004
        raise UsageError(f"{name} must have two values at least, got {', '.join(map(str, values)) or 'none'!r}")
    twice = next((value for at, value in enumerate(values) if value in values[:at]), None)
    if twice is not None:
        raise UsageError(f"{name} must have each value once, got {shown(twice)} twice; leave one out")


def planned(
    method: str,
    data: str,
    settings: Mapping[str, Sequence[Any]],
    *,
    seeds: int,
    out: Path,
    overrides: Mapping[str, Any],
    given: Mapping[str, Any],
) -> Plan:
    """Return the runs of a sweep, each with its configuration.

    Raises:
        UsageError: if a setting or a value is wrong, or there are more than 10,000 runs.
    """
    found = candidates(settings)
    twice = next((name for name in settings if name in overrides), None)
    if twice is not None:
        raise UsageError(f"{twice} must be set once; leave one out")
    if len(found) * seeds > MOST_RUNS:
        raise UsageError(f"a sweep must have at most {MOST_RUNS:,} runs, got {len(found) * seeds:,}; leave values out")
    jobs = []
    for candidate in found:
        for seed in range(seeds):
            config = resolve(method, data, {**overrides, **candidate}, seed=seed, **given)
            jobs.append(Job(f"{in_words(candidate)}, seed {seed}", config, out / run_name(config)))
    return Plan(method, data, settings, overrides, given, jobs, found, seeds)


def in_words(settings: Mapping[str, Any]) -> str:
    """Return settings as ``name=value, name=value``, values as ``--set`` takes them."""
    return ", ".join(f"{name}={as_text(value)}" for name, value in settings.items())


def as_text(value: Any) -> str:
    """Return a value as ``--set`` takes it.

    >>> as_text(0.1), as_text(True), as_text(None), as_text((0.8, 0.9))
    ('0.1', 'true', 'none', '[0.8,0.9]')
    """
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_text, value))}]"
    return str(value)


def as_numbers(values: Sequence[Any]) -> list[float] | None:
    """Return the values as numbers, or None where one is none."""
    try:
        found = [read_number(value) for value in values if not isinstance(value, bool)]
    except (TypeError, ValueError, OverflowError):
        return None
    return found if len(found) == len(values) and all(map(math.isfinite, found)) else None
