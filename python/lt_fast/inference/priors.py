"""Class priors that are wanted: read from words, weights and files; probabilities re-weighted to them."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lt_fast import _checks
from lt_fast._files import read_bytes, read_json
from lt_fast._text import nearest, shown
from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.errors import DataError, UsageError
from lt_fast.experiment.scored_prior import Vector, normalized, uniform

_MOST_BYTES = 1 << 26


def reweighted(probabilities: ArrayLike, *, scored: ArrayLike, target: ArrayLike) -> Vector:
    """Return the probabilities under another class prior.

    By Bayes' rule, ``p'(y|x)`` is proportional to ``p(y|x) * target[y] / scored[y]``, if the images of each class look
    as they did in training.

    Args:
        probabilities: ``(N, C)``, rows of sum 1, under the prior ``scored``.
        scored: ``(C,)`` > 0 where ``target`` is.
        target: ``(C,)`` >= 0; a class with 0 cannot occur.

    Raises:
        ValueError: if ``target`` has a class that ``scored`` has not.

    Source: Saerens, Latinne and Decaestecker 2002, Neural Computation 14(1), equation 2.4.

    >>> reweighted([[0.5, 0.5]], scored=[0.5, 0.5], target=[0.9, 0.1]).tolist()
    [[0.9, 0.1]]
    """
    scored, target = normalized(scored), normalized(target)
    missing = np.flatnonzero((target > 0) & (scored <= 0))
    if missing.size:
        raise ValueError(f"target must be 0 for a class without training images, got {target[missing[0]]:g} for class "
                         f"{int(missing[0])}")  # fmt: skip
    ratio = np.divide(target, scored, out=np.zeros(len(scored)), where=scored > 0)
    raw = np.asarray(probabilities, dtype=np.float64) * ratio
    total = raw.sum(axis=1, keepdims=True)
    found: Vector = np.divide(raw, total, out=np.broadcast_to(target, raw.shape).copy(), where=total > 0)
    return found


def target_prior(given: Any, counts: CountsLike, *, argument: str = "target_prior") -> Vector:
    """Return a class prior ``(C,)`` of sum 1.

    Args:
        given: ``"train"``, ``"uniform"``, an array of C weights, a mapping from class names to weights, or a file:
            JSON of either, or CSV with the columns ``class`` and ``weight``. A class that a mapping leaves out has 0.
        counts: of the training set, with the names of the classes.
        argument: what messages call it.

    Raises:
        UsageError: if it is none of these, names an unknown class, or a weight is negative or all are 0.
        DataError: if the file is missing or damaged.

    >>> counts = ClassCounts([90, 10], names=["oak", "beech"])
    >>> target_prior("train", counts), target_prior({"beech": 3, "oak": 1}, counts)
    (array([0.9, 0.1]), array([0.25, 0.75]))
    """
    counts = ClassCounts(counts)
    if isinstance(given, str) and given in ("train", "uniform"):
        return counts.prior if given == "train" else uniform(counts)
    if isinstance(given, str | Path):
        given = _read_prior(Path(given), argument)
    if isinstance(given, Mapping):
        given = _by_name(given, counts, argument)
    try:
        weights = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{argument} must be train, uniform, or one weight per class, got {shown(given)}") from None
    if weights.shape != (len(counts),):
        raise UsageError(f"{argument} must have one weight per class ({len(counts)}), got shape {weights.shape}")
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if wrong.size:
        name = counts.names[wrong[0]]
        raise UsageError(f"{argument} must have finite weights >= 0, got {weights[wrong[0]]:g} for class {name!r}")
    if not weights.sum() > 0:
        raise UsageError(f"{argument} must have a weight above 0, got 0 for every class")
    absent = np.flatnonzero((weights > 0) & (counts.counts == 0))
    if absent.size:
        name = counts.names[absent[0]]
        raise UsageError(f"{argument} must be 0 for class {name!r}, which had no training image; leave it out")
    return normalized(weights)


def _by_name(given: Mapping[Any, Any], counts: ClassCounts, argument: str) -> Vector:
    places = {name: place for place, name in enumerate(counts.names)}
    weights = np.zeros(len(counts))
    for name, weight in given.items():
        if name not in places:
            raise UsageError(f"{argument} must name classes of the run, got {name!r}{nearest(name, counts.names)}")
        try:
            weights[places[name]] = _checks.number(argument, weight, least=0)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{error}, for class {name!r}") from None
    return weights


def _read_prior(file: Path, argument: str) -> Any:
    if not file.exists():
        raise UsageError(f"{argument} must be train, uniform or a file, got {str(file)!r}{_near(file)}")
    if file.suffix.lower() == ".json":
        found = read_json(file, most=_MOST_BYTES)
        if not isinstance(found, dict | list):
            raise DataError(
                f"{file} must hold an object of classes and weights, or a list of weights, got {shown(found)}"
            )
        return found
    try:
        rows = list(csv.DictReader(io.StringIO(read_bytes(file, most=_MOST_BYTES).decode("utf-8-sig"))))
        return {row["class"]: float(row["weight"]) for row in rows}
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{file} must be JSON, or CSV with the columns class and weight, got {error!r}") from None


def _near(file: Path) -> str:
    return nearest(file, ("train", "uniform")) or ", which is not there"
