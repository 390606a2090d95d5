"""The metrics of a comparison, of all test images and of bootstrap resamples of them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lt_fast.counts import FEW_BELOW, MANY_ABOVE, ClassCounts

METRICS = {
    "top1": "share of the test images that are right",
    "balanced_acc": "mean recall over the classes",
    "many_recall": "mean recall over the classes with more training images than ``many_above``, 100 by default",
    "medium_recall": "mean recall over the classes between the two thresholds",
    "few_recall": "mean recall over the classes with less training images than ``few_below``, 20 by default",
    "worst_class_recall": "smallest recall of a class",
    "macro_f1": "mean F1 over the classes",
    "ece15": "expected calibration error over 15 bins; smaller is better",
}
"""Metric, as ``result.json`` names it, to what it is; fractions in [0, 1]."""

LOWER_IS_BETTER = frozenset({"ece15"})
_BINS = 15


class Measured:
    """The answers of one run on its test images, ready to be measured under any weights of the images.

    Args:
        answers: ``(N,)``, the predicted classes.
        confidence: ``(N,)``, their probabilities.
        labels: ``(N,)``.
        counts: training images per class.
        groups: ``(many_above, few_below)``.
    """

    def __init__(
        self,
        answers: NDArray[np.int64],
        confidence: NDArray[np.float64],
        labels: NDArray[np.int64],
        counts: ClassCounts,
        groups: tuple[int, int] = (MANY_ABOVE, FEW_BELOW),
    ) -> None:
        self._classes, self._groups = len(counts), counts.groups(many=groups[0], few=groups[1])
        self._labels, self._answers = labels, answers
        self._right, self._confidence = (answers == labels).astype(np.float64), confidence
        edges = (np.arange(1, _BINS) / _BINS).astype(confidence.dtype)
        self._bin = np.searchsorted(edges, confidence, side="left")

    def __len__(self) -> int:
        return len(self._labels)

    def of(self, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return the metrics, ``(M,)`` in the order of ``METRICS``; NaN for a group without test images.

        Args:
            weights: ``(N,)`` how often each image counts; once when left out.
        """
        w = np.ones(len(self)) if weights is None else weights
        per_class = np.bincount(self._labels, w, self._classes)
        right = np.bincount(self._labels, w * self._right, self._classes)
        answered = np.bincount(self._answers, w, self._classes)
        with np.errstate(invalid="ignore"):  # 0 / 0: a class that is not there
            recall, f1 = right / per_class, 2 * right / (per_class + answered)
        groups = [_mean(recall[member]) for member in self._groups.values()]
        there = recall[per_class > 0]
        gap = np.abs(
            np.bincount(self._bin, w * self._right, _BINS) - np.bincount(self._bin, w * self._confidence, _BINS)
        )
        total = w.sum()
        return np.array([right.sum() / total, _mean(recall), *groups, there.min(), _mean(f1), gap.sum() / total])


def resampled(runs: list[Measured], *, seed: int, resamples: int) -> NDArray[np.float64]:
    """Return the metrics of bootstrap resamples, ``(runs, resamples, M)``; all runs get the same images.

    Source: Efron 1979, The Annals of Statistics 7(1).
    """
    found = np.empty((len(runs), resamples, len(METRICS)))
    for at, weights in enumerate(_weights(len(runs[0]), seed=seed, resamples=resamples)):
        for place, run in enumerate(runs):
            found[place, at] = run.of(weights)
    return found


def _weights(images: int, *, seed: int, resamples: int) -> Iterator[NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(generator.integers(0, images, images), minlength=images).astype(np.float64)


def _mean(values: NDArray[np.float64]) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float("nan")
