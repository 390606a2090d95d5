"""Evaluate a classifier on a test set: all metrics in one dictionary of JSON values."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lt_fast import _checks
from lt_fast.counts import FEW_BELOW, MANY_ABOVE, ClassCounts, CountsLike
from lt_fast.metrics.accuracy import PerClassScores, scores_by_class
from lt_fast.metrics.answers import Answers
from lt_fast.metrics.calibration_error import checked_bins, error_of_answers
from lt_fast.metrics.inputs import Labels, Scores, checked_scores
from lt_fast.metrics.streamed import GroupRecalls
from lt_fast.registry import Registry

METRICS = Registry(
    "metric",
    {
        "balanced_acc": "lt_fast.metrics.accuracy:balanced_accuracy",
        "ece15": "lt_fast.metrics.calibration_error:ece15",
        "macro_f1": "lt_fast.metrics.accuracy:macro_f1",
        "nll": "lt_fast.metrics.likelihood:negative_log_likelihood",
        "top1": "lt_fast.metrics.accuracy:top1_accuracy",
        "worst_class_recall": "lt_fast.metrics.accuracy:worst_class_recall",
    },
)


def evaluate(
    logits: Scores,
    labels: Labels,
    train_counts: CountsLike,
    *,
    bins: int = 15,
    groups: tuple[int, int] = (MANY_ABOVE, FEW_BELOW),
) -> dict[str, Any]:
    """Compute accuracy overall, by group and by class, likelihood and calibration error of a test set.

    Args:
        logits: ``(N, C)`` float tensor or array, as the softmax takes them; -inf for a class that is left out.
        labels: ``(N,)`` integers in [0, C).
        train_counts: training samples per class, before any resampling; may contain zeros. Its names name the classes.
        bins: bins of an additional calibration error; ``ece15`` is always there.
        groups: a class is many with more than ``groups[0]`` training samples, few with less than ``groups[1]``.

    Returns:
        A dictionary of fractions in [0, 1] (``nll`` in nats, infinite where a row's own class is left out), counts and
        lists, without NaN:

        - every name of ``METRICS``, and ``ece<bins>``;
        - ``many_recall``, ``medium_recall``, ``few_recall``: mean recall over the group's classes that have test
          samples, None when it has none; ``many_classes`` and ``many_images`` (test images), and so on;
        - ``classes``, ``images``: C and N;
        - ``per_class``: for every class ``name``, ``recall``, ``precision``, ``f1`` (None without a denominator),
          ``n_train``, ``n_test``.

    Complexity: O(N C).

    Raises:
        TypeError, ValueError: if shapes, dtypes, labels, counts or settings are wrong, or the logits are probabilities.
        DataError: if a logit is NaN or +inf, or a row is all -inf; names row and class.
        MissingExtraError: if scikit-learn is not installed.

    Source: groups by Liu et al. 2019 (OLTR), arXiv:1904.05160, with the thresholds of
    facebookresearch/classifier-balancing. Peers print 0 or NaN for a group without classes; here it is None.

    >>> logits = np.array([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 0.0, 0.5], [0.0, 0.0, 2.0]])
    >>> found = evaluate(logits, [0, 1, 2, 2], train_counts=[500, 50, 5])
    >>> {name: round(found[name], 3) for name in ("top1", "balanced_acc", "many_recall", "medium_recall", "few_recall")}
    {'top1': 0.75, 'balanced_acc': 0.833, 'many_recall': 1.0, 'medium_recall': 1.0, 'few_recall': 0.5}
    """
    found = Evaluation(train_counts, bins=bins, groups=groups).update(logits, labels).compute()
    others = {name: metric(logits, labels) for name, metric in METRICS.items() if name not in found}
    return {**others, **found}


class Evaluation:
    """``evaluate``, batch by batch: O(N + C) memory, 41 bytes per row, where the logits would take 4 C bytes.

    ``compute`` returns what ``evaluate`` returns for all rows at once, bit for bit: what is kept of a row is computed
    from that row alone. Metrics that were added to ``METRICS`` need all logits: ``evaluate`` has them, this has not.

    Args:
        train_counts, bins, groups: as of ``evaluate``.

    Raises:
        TypeError, ValueError: if counts or a setting is wrong.

    Example::

        evaluation = metrics.Evaluation(train_counts)
        for x, y in loader:
            evaluation.update(model(x), y)
        evaluation.compute()["few_recall"]

    >>> measured = Evaluation([500, 50, 5])
    >>> _ = measured.update(np.array([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), [0, 1])
    >>> _ = measured.update(np.array([[1.0, 0.0, 0.5], [0.0, 0.0, 2.0]]), [2, 2])
    >>> len(measured), measured.compute()["top1"], measured.compute()["few_recall"]
    (4, 0.75, 0.5)
    """

    def __init__(
        self, train_counts: CountsLike, *, bins: int = 15, groups: tuple[int, int] = (MANY_ABOVE, FEW_BELOW)
    ) -> None:
        self._counts = train_counts if isinstance(train_counts, ClassCounts) else ClassCounts(train_counts)
        self._groups = self._counts.groups(many=groups[0], few=groups[1])
        self._bins = checked_bins(bins)
        self._parts: list[Answers] = []

    def __len__(self) -> int:
        """Return the number of rows so far."""
        return sum(len(part.label) for part in self._parts)

    def update(self, logits: Scores, labels: Labels) -> Self:
        """Add a batch: ``logits`` (N, C) float, ``labels`` (N,) integers in [0, C). O(N C).

        Raises:
            TypeError, ValueError, DataError: as ``evaluate``; nothing is added then.
        """
        scores, target = checked_scores(logits, labels)
        if scores.shape[1] != len(self._counts):
            raise ValueError(
                f"train_counts must have one entry a column of logits ({scores.shape[1]}), got {len(self._counts)}"
            )
        self._parts.append(Answers.of(scores, target))
        return self

    def merge(self, answers: Answers) -> Self:
        """Add rows that were evaluated elsewhere, such as ``other.answers`` of another process, behind those here.

        The order of rows changes no count, and the means ``nll`` and ``ece15`` in their last bits alone.

        Raises:
            ValueError: if a label or a prediction is outside [0, C).
        """
        for name in ("label", "prediction", "likeliest"):
            _checks.labels_in_range(name, getattr(answers, name), len(self._counts))
        self._parts.append(answers)
        return self

    @property
    def answers(self) -> Answers:
        """All rows so far.

        Raises:
            ValueError: if there is none.
        """
        if not self._parts:
            raise ValueError("the evaluation must hold a row, got none; call update first")
        self._parts = [Answers.joined(self._parts)]
        return self._parts[0]

    def compute(self) -> dict[str, Any]:
        """Return the metrics of all rows so far, as ``evaluate``; more rows may follow.

        Complexity: O(N + C).

        Raises:
            ValueError: if there is no row, or the logits are probabilities.
            MissingExtraError: if scikit-learn is not installed.
        """
        answers = self.answers
        answers.refuse_probabilities()
        by_class = scores_by_class(answers.label, answers.prediction, len(self._counts))
        result = _numbers(answers, by_class)
        result[f"ece{self._bins}"] = error_of_answers(answers, self._bins)
        for group, mask in self._groups.items():
            result |= _group(group, mask, by_class)
        sizes = {"classes": len(self._counts), "images": len(answers.label)}
        return result | sizes | {"per_class": _per_class(self._counts, by_class)}


def _numbers(answers: Answers, by_class: PerClassScores) -> dict[str, Any]:
    """Return what ``METRICS`` names: each equals the function of that name."""
    return {
        "balanced_acc": float(np.nanmean(by_class.recall)),
        "ece15": error_of_answers(answers, 15),
        "macro_f1": float(np.nanmean(by_class.f1)),
        "nll": float(-answers.log_likelihood.mean()),
        "top1": float((answers.prediction == answers.label).mean()),
        "worst_class_recall": float(np.nanmin(by_class.recall)),
    }


def group_recalls(
    logits: Scores, labels: Labels, train_counts: CountsLike, *, groups: tuple[int, int] = (MANY_ABOVE, FEW_BELOW)
) -> dict[str, float | None]:
    """``top1``, ``many_recall``, ``medium_recall`` and ``few_recall`` of ``evaluate``, for curves over epochs.

    Args, Raises: as ``evaluate``, at a quarter of its cost. ``GroupRecalls`` counts batch by batch.

    >>> group_recalls(np.array([[3.0, 0.0], [0.0, 2.0], [1.0, 0.5], [3.0, 1.0]]), [0, 1, 1, 0], train_counts=[500, 5])
    {'top1': 0.75, 'many_recall': 1.0, 'medium_recall': None, 'few_recall': 0.5}
    """
    return GroupRecalls(train_counts, groups=groups).add(logits, labels).result()


def _group(name: str, mask: NDArray[np.bool_], by_class: PerClassScores) -> dict[str, float | int | None]:
    recalls = by_class.recall[mask & (by_class.support > 0)]
    return {
        f"{name}_recall": float(recalls.mean()) if recalls.size else None,
        f"{name}_classes": int(mask.sum()),
        f"{name}_images": int(by_class.support[mask].sum()),
    }


def _per_class(counts: ClassCounts, by_class: PerClassScores) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "recall": _number(recall),
            "precision": _number(precision),
            "f1": _number(f1),
            "n_train": int(n_train),
            "n_test": int(n_test),
        }
        for name, n_train, recall, precision, f1, n_test in zip(counts.names, counts.counts, *by_class, strict=True)
    ]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
