"""Metrics for long-tailed test sets: accuracy by class and by group, likelihood, and calibration error.

Values are fractions in [0, 1], not percent. A group, class or ratio without samples is ``None``, never 0.
``METRICS`` names the single numbers, each a function ``(logits, labels) -> float``.
"""

from lt_fast.metrics.accuracy import (
    balanced_accuracy,
    confusion_matrix,
    macro_f1,
    per_class_scores,
    top1_accuracy,
    worst_class_recall,
)
from lt_fast.metrics.answers import Answers
from lt_fast.metrics.before_after import BeforeAfter, before_and_after
from lt_fast.metrics.calibration_error import (
    Reliability,
    expected_calibration_error,
    reliability,
    reliability_by_confidence,
)
from lt_fast.metrics.confusion_groups import (
    ConfusionSpread,
    confusion_spread,
    grouped_confusion,
    grouped_recall,
    size_groups,
)
from lt_fast.metrics.evaluation import METRICS, Evaluation, evaluate, group_recalls
from lt_fast.metrics.intervals import bootstrap_interval, mean_interval, mean_recall_interval, wilson_interval
from lt_fast.metrics.label_errors import LabelErrors, likely_label_errors
from lt_fast.metrics.likelihood import negative_log_likelihood
from lt_fast.metrics.margins import ClassMargins, margins_by_class, slope_by_count
from lt_fast.metrics.multi_label import average_precision, mean_average_precision
from lt_fast.metrics.risk_coverage import RiskCoverage, risk_by_confidence, risk_coverage
from lt_fast.metrics.streamed import GroupRecalls

__all__ = [
    "METRICS",
    "Answers",
    "BeforeAfter",
    "ClassMargins",
    "ConfusionSpread",
    "Evaluation",
    "GroupRecalls",
    "LabelErrors",
    "Reliability",
    "RiskCoverage",
    "average_precision",
    "balanced_accuracy",
    "before_and_after",
    "bootstrap_interval",
    "confusion_matrix",
    "confusion_spread",
    "evaluate",
    "expected_calibration_error",
    "group_recalls",
    "grouped_confusion",
    "grouped_recall",
    "likely_label_errors",
    "macro_f1",
    "margins_by_class",
    "mean_average_precision",
    "mean_interval",
    "mean_recall_interval",
    "negative_log_likelihood",
    "per_class_scores",
    "reliability",
    "reliability_by_confidence",
    "risk_by_confidence",
    "risk_coverage",
    "size_groups",
    "slope_by_count",
    "top1_accuracy",
    "wilson_interval",
    "worst_class_recall",
]
