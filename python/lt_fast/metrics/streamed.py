"""``GroupRecalls``: accuracy overall and by group, counted batch by batch; no logits are kept."""

from typing import Self

import numpy as np

from lt_fast.counts import FEW_BELOW, MANY_ABOVE, ClassCounts, CountsLike
from lt_fast.metrics.inputs import Labels, Scores, checked_scores


class GroupRecalls:
    """Count the right answers of every class, batch by batch: O(C) memory for a test set of any size.

    Args:
        train_counts: training samples per class; see ``evaluate``.
        groups: a class is many with more than ``groups[0]`` training samples, few with less than ``groups[1]``.

    Attributes:
        counted: (2, C) int64, right answers and test samples of each class. Counts of several processes add up: assign
            their sum.

    Example::

        recalls = GroupRecalls(train_counts)
        for x, y in loader:
            recalls.add(model(x), y)
        recalls.result()["few_recall"]

    >>> recalls = GroupRecalls([500, 50, 5])
    >>> _ = recalls.add(np.array([[3.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), [0, 1])
    >>> _ = recalls.add(np.array([[1.0, 0.0, 0.5], [0.0, 0.0, 2.0]]), [2, 2])
    >>> recalls.result()
    {'top1': 0.75, 'many_recall': 1.0, 'medium_recall': 1.0, 'few_recall': 0.5}
    """

    def __init__(self, train_counts: CountsLike, *, groups: tuple[int, int] = (MANY_ABOVE, FEW_BELOW)) -> None:
        self._counts = train_counts if isinstance(train_counts, ClassCounts) else ClassCounts(train_counts)
        self._groups = self._counts.groups(many=groups[0], few=groups[1])
        self.counted = np.zeros((2, len(self._counts)), np.int64)

    def add(self, logits: Scores, labels: Labels) -> Self:
        """Count a batch: ``logits`` (N, C) float, ``labels`` (N,) integers in [0, C). O(N C).

        Raises:
            TypeError, ValueError, DataError: as ``evaluate``.
        """
        scores, target = checked_scores(logits, labels)
        num_classes = len(self._counts)
        if scores.shape[1] != num_classes:
            raise ValueError(
                f"train_counts must have one entry a column of logits ({scores.shape[1]}), got {num_classes}"
            )
        right = target[scores.argmax(axis=1) == target]
        self.counted += [np.bincount(which, minlength=num_classes) for which in (right, target)]
        return self

    def result(self) -> dict[str, float | None]:
        """Return ``top1``, ``many_recall``, ``medium_recall`` and ``few_recall`` of ``evaluate``.

        Raises:
            ValueError: if nothing has been counted.
        """
        right, support = self.counted
        if not support.sum():
            raise ValueError("counted must hold a sample, got none; call add first")
        recall = np.divide(right, support, out=np.zeros(len(right)), where=support > 0)
        found: dict[str, float | None] = {"top1": float(right.sum() / support.sum())}
        for group, mask in self._groups.items():
            measured = recall[mask & (support > 0)]
            found[f"{group}_recall"] = float(measured.mean()) if measured.size else None
        return found
