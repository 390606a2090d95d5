"""Metrics of the same samples before and after their logits were changed."""

from collections.abc import Iterable
from typing import NamedTuple

from lt_fast._text import shown
from lt_fast.metrics.evaluation import METRICS
from lt_fast.metrics.inputs import Labels, Scores, as_array, checked_scores, refuse_probabilities


class BeforeAfter(NamedTuple):
    """One metric of the same samples twice.

    >>> BeforeAfter(before=0.25, after=0.125).after
    0.125
    """

    before: float
    after: float


def before_and_after(
    logits: Scores,
    calibrated: Scores,
    labels: Labels,
    *,
    metrics: Iterable[str] = ("top1", "nll", "ece15"),
) -> dict[str, BeforeAfter]:
    """Compute metrics of logits and of the calibrated logits of the same samples.

    Use samples that the calibrator was not fitted on: on its own samples the second number is too good.

    Args:
        logits: ``(N, C)`` float tensor or array.
        calibrated: of the same shape.
        labels: ``(N,)`` integers in [0, C).
        metrics: names of ``METRICS``, such as ``"balanced_acc"``.

    Raises:
        TypeError, ValueError: if shapes, dtypes or labels are wrong, or scores are probabilities.
        DataError: if a score is NaN or +inf, or a row is all -inf.
        UsageError: if a metric is unknown.
        MissingExtraError: if scikit-learn is not installed, for metrics by class.

    >>> logits = [[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]]
    >>> halved = [[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]
    >>> found = before_and_after(logits, halved, [0, 0, 1, 1], metrics=["top1", "ece15"])
    >>> found["top1"], [round(value, 3) for value in found["ece15"]]
    (BeforeAfter(before=0.75, after=0.75), [0.232, 0.131])
    """
    first, second = as_array(logits, "logits"), as_array(calibrated, "calibrated")
    if first.shape != second.shape:
        raise ValueError(f"calibrated must have the shape of logits, {first.shape}, got {second.shape}")
    for name, scores in (("logits", first), ("calibrated", second)):
        checked_scores(scores, labels, name=name)
        refuse_probabilities(scores, name=name)
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise TypeError(f"metrics must be a list of names, got {shown(metrics)}; pass [{shown(metrics)}]")
    chosen = {name: METRICS[name] for name in metrics}
    return {name: BeforeAfter(metric(first, labels), metric(second, labels)) for name, metric in chosen.items()}
