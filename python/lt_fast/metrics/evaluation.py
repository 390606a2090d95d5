"""Evaluate a classifier on a test set: all metrics in one dictionary of JSON values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast.counts import FEW_BELOW, MANY_ABOVE, ClassCounts, CountsLike
from lt_fast.metrics.accuracy import PerClassScores, per_class_scores
from lt_fast.metrics.calibration_error import error_of_logits
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
    """
    scores, target = checked_scores(logits, labels)
    counts = _matching_counts(train_counts, scores.shape[1])
    by_class = per_class_scores(scores, target)
    result: dict[str, Any] = {name: metric(scores, target) for name, metric in METRICS.items()}
    result[f"ece{bins}"] = error_of_logits(scores, target, bins=bins)
    for group, mask in counts.groups(many=groups[0], few=groups[1]).items():
        result |= _group(group, mask, by_class)
    result |= {"classes": len(counts), "images": len(target), "per_class": _per_class(counts, by_class)}
    return result


def group_recalls(
    logits: Scores, labels: Labels, train_counts: CountsLike, *, groups: tuple[int, int] = (MANY_ABOVE, FEW_BELOW)
) -> dict[str, float | None]:
    """``top1``, ``many_recall``, ``medium_recall`` and ``few_recall`` of ``evaluate``, for curves over epochs.

    Args, Raises: as ``evaluate``, at a quarter of its cost. ``GroupRecalls`` counts batch by batch.
    """
    return GroupRecalls(train_counts, groups=groups).add(logits, labels).result()


def _matching_counts(train_counts: CountsLike, num_classes: int) -> ClassCounts:
    counts = train_counts if isinstance(train_counts, ClassCounts) else ClassCounts(train_counts)
    if len(counts) != num_classes:
        raise ValueError(f"train_counts must have one entry a column of logits ({num_classes}), got {len(counts)}")
    return counts


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
