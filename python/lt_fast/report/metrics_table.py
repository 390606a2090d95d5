"""Rows of metrics in the usual order: overall, many, medium, few, calibration error."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from lt_fast.report.tables import percent

COLUMNS: Mapping[str, str] = {
    "overall": "top1",
    "many": "many_recall",
    "medium": "medium_recall",
    "few": "few_recall",
    "ECE": "ece15",
}
"""Heading to the key in the metrics; every value is a fraction there and percent in a table."""


class Interval(NamedTuple):
    """A mean over runs and the half width of its confidence interval; None where runs are too few, or had no value."""

    mean: float | None
    half_width: float | None

    def __str__(self) -> str:
        return percent(self.mean, self.half_width)


def header(first: str = "method") -> list[str]:
    """Return the headings, ``first`` over the rows' names."""
    return [first, *COLUMNS]


def metrics_row(name: str, metrics: Mapping[str, Any]) -> list[str]:
    """Return the cells of one run's metrics."""
    return [name, *(percent(metrics[key]) for key in COLUMNS.values())]


def groups_line(groups: tuple[int, int], metrics: Mapping[str, Any] | None = None) -> str:
    """Return the thresholds of the groups of classes in words, and how many classes each has where ``metrics`` tell.

    >>> groups_line((100, 20))
    'groups by training images per class: many > 100, medium 20 to 100, few < 20'
    """
    many, few = groups
    words = {"many": f"> {many}", "medium": f"{few} to {many}", "few": f"< {few}"}
    sizes = {name: (metrics or {}).get(f"{name}_classes") for name in words}
    shown = [
        f"{name} {limit}" + ("" if sizes[name] is None else f" ({sizes[name]} class{'es' * (sizes[name] != 1)})")
        for name, limit in words.items()
    ]
    return f"groups by training images per class: {', '.join(shown)}"


def over_seeds(
    runs: Sequence[Mapping[str, Any]],
    mean_interval: Callable[[Sequence[float]], tuple[float, float | None]],
) -> dict[str, Interval]:
    """Return each column's mean and interval over ``runs``; both None for a group that some run has no class in."""
    return {key: _interval([run[key] for run in runs], mean_interval) for key in COLUMNS.values()}


def interval_row(name: str, intervals: Mapping[str, Interval]) -> list[str]:
    """Return the cells of one method's means and intervals."""
    return [name, *(str(intervals[key]) for key in COLUMNS.values())]


def _interval(
    values: list[float | None], mean_interval: Callable[[Sequence[float]], tuple[float, float | None]]
) -> Interval:
    present = [value for value in values if value is not None]
    if len(present) < max(len(values), 1):
        return Interval(None, None)
    if len(present) == 1:
        return Interval(present[0], None)
    return Interval(*mean_interval(present))
