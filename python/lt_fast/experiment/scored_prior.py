"""Which class prior the scores of a run stand for: what its loss, its samples and its calibrator aim at."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast.calibration import generalized_reweighting
from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.losses.class_weights import effective_number_weights, inverse_frequency_weights
from lt_fast.sampling.class_probabilities import class_probabilities, explicit_probabilities

Vector = NDArray[np.float64]

_KEEP_THE_FREQUENCIES = (None, "mixup", "cutmix")
_REWEIGHTED = {"margin": "margin calibration", "disalign": "DisAlign"}
_WEIGHTS = {"effective_number": effective_number_weights, "inverse_frequency": inverse_frequency_weights}


class ScoredPrior(NamedTuple):
    """The class frequencies under which a run's probabilities hold.

    Attributes:
        prior: ``(C,)`` float64 of sum 1, or None where none follows from how the run was trained.
        reason: why, in words.

    >>> ScoredPrior(np.array([0.9, 0.1]), "cross entropy keeps the class frequencies of training").prior
    array([0.9, 0.1])
    """

    prior: Vector | None
    reason: str


def scored_prior(config: Mapping[str, Any], counts: CountsLike, calibrator: Mapping[str, Any] | None) -> ScoredPrior:
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

    >>> from lt_fast.experiment import resolve
    >>> counts = ClassCounts([90, 10])
    >>> scored_prior(resolve("ce", "digits-lt"), counts, None).prior
    array([0.9, 0.1])
    >>> scored_prior(resolve("balanced_softmax", "digits-lt"), counts, None).prior
    array([0.5, 0.5])
    >>> scored_prior(resolve("ldam", "digits-lt"), counts, None)
    ScoredPrior(prior=None, reason='the loss ldam does not aim at class probabilities')
    """
    counts = ClassCounts(counts)
    base = _of_training(config, counts)
    return base if calibrator is None else _after(calibrator, base, counts)


def _after(calibrator: Mapping[str, Any], base: ScoredPrior, counts: ClassCounts) -> ScoredPrior:
    name = calibrator["name"]
    if name == "temperature":
        return base
    if name in _REWEIGHTED:
        gamma = calibrator.get("gamma", 1.2)
        prior = normalized(counts.prior * generalized_reweighting(counts, gamma))
        return ScoredPrior(
            prior, f"{_REWEIGHTED[name]} weights the classes by n**-{gamma:g}: the prior n**{1 - gamma:g}"
        )
    if name == "retraining":
        return ScoredPrior(uniform(counts), "the classifier was retrained on class-balanced samples: uniform")
    if name == "logit_adjustment" and base.prior is not None:
        tau = calibrator.get("tau", 1.0)
        return ScoredPrior(
            _power(base.prior, counts, tau), f"logit adjustment by tau={tau:g}, before it: {base.reason}"
        )
    return ScoredPrior(None, f"the calibrator {name} moves the classes by a rule that belongs to no prior")


def _of_training(config: Mapping[str, Any], counts: ClassCounts) -> ScoredPrior:
    if not config["epochs"]:
        return ScoredPrior(None, "the network was trained elsewhere, and nothing says how")
    names = {slot: (config[slot] or {}).get("name") for slot in ("method", "mixer", "sampler", "loss", "reweight")}
    if names["method"] not in ("classification", "regmixup"):
        return ScoredPrior(None, f"the method {names['method']} has a training of its own")
    if names["mixer"] not in _KEEP_THE_FREQUENCIES:
        return ScoredPrior(None, f"the mixer {names['mixer']} moves label weight between the classes")
    drawn, how = _drawn(config["sampler"], counts)
    if drawn is None:
        return ScoredPrior(None, how)
    if names["reweight"] is not None:
        return _weighted(config, counts, drawn, how)
    return _of_loss(config["loss"], counts, drawn, how)


def _drawn(sampler: Mapping[str, Any], counts: ClassCounts) -> ScoredPrior:
    """Return the class frequencies that a sampler draws by, and their description, or why there are none."""
    name = sampler["name"]
    if name == "shuffled":
        return ScoredPrior(counts.prior, "shuffled sampling")
    if name == "m_per_class":
        return ScoredPrior(uniform(counts), "m_per_class sampling")
    if name != "class_balanced" or sampler.get("schedule") is not None:
        return ScoredPrior(None, f"the sampler {name} draws by frequencies that change or are its own")
    if sampler.get("class_probs") is not None:
        given = explicit_probabilities(sampler["class_probs"], counts, "ignore")
        return ScoredPrior(given, "class_balanced sampling by class_probs")
    q = float(sampler.get("q", 0.0))
    return ScoredPrior(class_probabilities(counts, q=q, empty="ignore"), f"class_balanced sampling by n**{q:g}")


def _of_loss(loss: Mapping[str, Any], counts: ClassCounts, drawn: Vector, how: str) -> ScoredPrior:
    name = loss["name"]
    if "weight" in loss:
        return ScoredPrior(None, "the loss has class weights of its own")
    if name == "cross_entropy":
        return ScoredPrior(drawn, f"cross entropy, {how}")
    if name in ("balanced_softmax", "logit_adjusted", "lade", "bayias"):
        tau = float(loss.get("tau", 1.0)) if name == "logit_adjusted" else 1.0
        prior = normalized(np.divide(drawn, counts.prior**tau, out=np.zeros(len(counts)), where=drawn > 0))
        if loss.get("test_prior") is not None:
            stated = normalized(prior * np.asarray(loss["test_prior"], dtype=np.float64))
            return ScoredPrior(stated, f"{name} puts test_prior in the place of the training prior, {how}")
        return ScoredPrior(prior, f"{name} takes {tau:g} times the log of the training prior out, {how}")
    return ScoredPrior(None, f"the loss {name} does not aim at class probabilities")


def _weighted(config: Mapping[str, Any], counts: ClassCounts, drawn: Vector, how: str) -> ScoredPrior:
    loss, reweight = config["loss"]["name"], dict(config["reweight"])
    name = reweight.pop("name")
    if loss != "cross_entropy" or name not in _WEIGHTS:
        return ScoredPrior(None, f"the loss {loss} with the weights {name} does not aim at class probabilities")
    prior = normalized(drawn * _WEIGHTS[name](counts, **reweight))
    return ScoredPrior(prior, f"cross entropy with the class weights {name}, {how}")


def uniform(counts: ClassCounts) -> Vector:
    """Return equal frequencies of the classes that have training images, ``(C,)``; 0 for the others."""
    return normalized((counts.counts > 0).astype(np.float64))


def _power(prior: Vector, counts: ClassCounts, tau: float) -> Vector:
    return normalized(np.divide(prior, counts.prior**tau, out=np.zeros(len(prior)), where=prior > 0))


def normalized(values: ArrayLike) -> Vector:
    """Return the values divided by their sum, float64."""
    array = np.asarray(values, dtype=np.float64)
    return np.asarray(array / array.sum())
