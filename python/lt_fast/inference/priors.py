"""Class priors: which one the scores of a run stand for, and probabilities re-weighted to another one."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks
from lt_fast._files import read_bytes, read_json
from lt_fast._text import nearest, shown
from lt_fast.calibration import generalized_reweighting
from lt_fast.counts import ClassCounts
from lt_fast.errors import DataError, UsageError
from lt_fast.losses.class_weights import effective_number_weights, inverse_frequency_weights

Vector = NDArray[np.float64]

_MOST_BYTES = 1 << 26
_KEEP_THE_FREQUENCIES = (None, "mixup", "cutmix")
_WEIGHTS = {"effective_number": effective_number_weights, "inverse_frequency": inverse_frequency_weights}


class ScoredPrior(NamedTuple):
    """The class frequencies under which a run's probabilities hold.

    Attributes:
        prior: ``(C,)`` float64 of sum 1, or None where none follows from how the run was trained.
        reason: why, in words.
    """

    prior: Vector | None
    reason: str


def scored_prior(config: Mapping[str, Any], counts: ClassCounts, calibrator: Mapping[str, Any] | None) -> ScoredPrior:
    """Return the class prior that the probabilities of a run stand for.

    The minimiser of a weighted cross entropy on samples of class frequencies ``q`` with class weights ``w`` is the
    posterior under the prior ``q * w``. A loss that adds ``tau * log(prior)`` to the logits leaves ``q * prior**-tau``
    in them. Losses with margins, focusing or suppressed gradients have no such prior, nor have mixers that move label
    weight between classes. A calibrator that learns class offsets decides the prior, whatever came before it.

    Args:
        config: of the run.
        counts: of the training set.
        calibrator: its settings with ``name``; None where the network alone answers.

    Returns:
        The prior and the reason; a recipe's prior is what its loss aims at, which a network reaches approximately.

    Source: Menon et al. 2021, arXiv:2007.07314, Section 3; Ren et al. 2020, arXiv:2007.10740, Theorem 1.
    """
    base = _of_training(config, counts)
    return base if calibrator is None else _after(calibrator, base, counts)


def _after(calibrator: Mapping[str, Any], base: ScoredPrior, counts: ClassCounts) -> ScoredPrior:
    name = calibrator["name"]
    if name == "temperature":
        return base
    if name == "margin":
        gamma = calibrator.get("gamma", 1.2)
        prior = _normalized(counts.prior * generalized_reweighting(counts, gamma))
        return ScoredPrior(
            prior, f"margin calibration weights the classes by n**-{gamma:g}: the prior n**{1 - gamma:g}"
        )
    if name == "retraining":
        return ScoredPrior(_uniform(counts), "the classifier was retrained on class-balanced samples: uniform")
    if name == "logit_adjustment" and base.prior is not None:
        tau = calibrator.get("tau", 1.0)
        return ScoredPrior(
            _power(base.prior, counts, tau), f"logit adjustment by tau={tau:g}, before it: {base.reason}"
        )
    return ScoredPrior(None, f"the calibrator {name} moves the classes by a rule that belongs to no prior")


def _of_training(config: Mapping[str, Any], counts: ClassCounts) -> ScoredPrior:
    names = {slot: (config[slot] or {}).get("name") for slot in ("method", "mixer", "sampler", "loss", "reweight")}
    samplers = {"shuffled": counts.prior, "class_balanced": _uniform(counts), "m_per_class": _uniform(counts)}
    if names["method"] != "classification":
        return ScoredPrior(None, f"the method {names['method']} has a training of its own")
    if names["mixer"] not in _KEEP_THE_FREQUENCIES:
        return ScoredPrior(None, f"the mixer {names['mixer']} moves label weight between the classes")
    if names["sampler"] not in samplers:
        return ScoredPrior(None, f"the sampler {names['sampler']} draws by frequencies that change or are its own")
    drawn, how = samplers[names["sampler"]], f"{names['sampler']} sampling"
    if names["reweight"] is not None:
        return _weighted(config, counts, drawn, how)
    return _of_loss(config["loss"], counts, drawn, how)


def _of_loss(loss: Mapping[str, Any], counts: ClassCounts, drawn: Vector, how: str) -> ScoredPrior:
    name = loss["name"]
    if "weight" in loss:
        return ScoredPrior(None, "the loss has class weights of its own")
    if name == "cross_entropy":
        return ScoredPrior(drawn, f"cross entropy, {how}")
    if name in ("balanced_softmax", "logit_adjusted", "lade"):
        tau = float(loss.get("tau", 1.0)) if name == "logit_adjusted" else 1.0
        prior = _normalized(np.divide(drawn, counts.prior**tau, out=np.zeros(len(counts)), where=drawn > 0))
        return ScoredPrior(prior, f"{name} takes {tau:g} times the log of the training prior out, {how}")
    return ScoredPrior(None, f"the loss {name} does not aim at class probabilities")


def _weighted(config: Mapping[str, Any], counts: ClassCounts, drawn: Vector, how: str) -> ScoredPrior:
    loss, reweight = config["loss"]["name"], dict(config["reweight"])
    name = reweight.pop("name")
    if loss != "cross_entropy" or name not in _WEIGHTS:
        return ScoredPrior(None, f"the loss {loss} with the weights {name} does not aim at class probabilities")
    prior = _normalized(drawn * _WEIGHTS[name](counts, **reweight))
    return ScoredPrior(prior, f"cross entropy with the class weights {name}, {how}")


def _uniform(counts: ClassCounts) -> Vector:
    return _normalized((counts.counts > 0).astype(np.float64))


def _power(prior: Vector, counts: ClassCounts, tau: float) -> Vector:
    return _normalized(np.divide(prior, counts.prior**tau, out=np.zeros(len(prior)), where=prior > 0))


def _normalized(values: ArrayLike) -> Vector:
    array = np.asarray(values, dtype=np.float64)
    return np.asarray(array / array.sum())


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
    scored, target = _normalized(scored), _normalized(target)
    missing = np.flatnonzero((target > 0) & (scored <= 0))
    if missing.size:
        raise ValueError(f"target must be 0 for a class without training images, got {target[missing[0]]:g} for class "
                         f"{int(missing[0])}")  # fmt: skip
    ratio = np.divide(target, scored, out=np.zeros(len(scored)), where=scored > 0)
    raw = np.asarray(probabilities, dtype=np.float64) * ratio
    total = raw.sum(axis=1, keepdims=True)
    found: Vector = np.divide(raw, total, out=np.broadcast_to(target, raw.shape).copy(), where=total > 0)
    return found


def target_prior(given: Any, counts: ClassCounts, *, argument: str = "target_prior") -> Vector:
    """Return a class prior ``(C,)`` of sum 1.

    Args:
        given: ``"train"``, ``"uniform"``, an array of C weights, a mapping from class names to weights, or a file:
            JSON of either, or CSV with the columns ``class`` and ``weight``. A class that a mapping leaves out has 0.
        counts: of the training set, with the names of the classes.
        argument: what messages call it.

    Raises:
        UsageError: if it is none of these, names an unknown class, or a weight is negative or all are 0.
        DataError: if the file is missing or damaged.
    """
    if isinstance(given, str) and given in ("train", "uniform"):
        return counts.prior if given == "train" else _uniform(counts)
    if isinstance(given, str | Path):
        given = _read_prior(Path(given), argument)
    if isinstance(given, Mapping):
        given = _by_name(given, counts, argument)
    try:
        weights = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{argument} must be train, uniform, or one weight a class, got {shown(given)}") from None
    if weights.shape != (len(counts),):
        raise UsageError(f"{argument} must have one weight a class ({len(counts)}), got shape {weights.shape}")
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
    return _normalized(weights)


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
