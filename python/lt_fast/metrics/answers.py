"""``Answers``: what the metrics need of each row of scores, a few numbers in place of one per class."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lt_fast.metrics.inputs import Labels, Scores, are_distributions, checked_scores, refuse_probabilities, row_blocks
from lt_fast.metrics.likelihood import log_softmax

_LOGITS, _PROBABILITIES, _HARD = range(3)


class Answers(NamedTuple):
    """What a classifier answered to each row: ``(N,)`` arrays, 41 bytes per row for any number of classes.

    Attributes:
        label: the true class, int64.
        prediction: the class of the largest score, int64; of equal scores the lowest.
        likeliest: the class of the largest probability, int64: another one where rounding makes two of them equal.
        confidence: the largest probability of ``softmax(logits)``, float64.
        log_likelihood: ``log softmax(logits)[label]``, float64.
        kind: int8; 1 for a row that is a distribution, 2 for one of a 1 and zeros, 0 for any other. Logits that are all
            distributions are a mistake, and only the whole set tells.

    >>> answers = Answers.of(np.array([[2.0, 0.0], [0.0, 1.0]]), [0, 0])
    >>> answers.prediction, answers.confidence.round(3), answers.log_likelihood.round(3)
    (array([0, 1]), array([0.881, 0.731]), array([-0.127, -1.313]))
    """

    label: NDArray[np.int64]
    prediction: NDArray[np.int64]
    likeliest: NDArray[np.int64]
    confidence: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    kind: NDArray[np.int8]

    @classmethod
    def of(cls, logits: Scores, labels: Labels) -> Self:
        """Return the answers of rows of logits, computed in blocks: no second matrix of (N, C) is made.

        Args:
            logits: ``(N, C)`` float, as of ``evaluate``.
            labels: ``(N,)`` integers in [0, C).

        Raises:
            TypeError, ValueError: if shapes, dtypes or labels are wrong.
            DataError: if a logit is NaN or +inf, or a row is all -inf.
        """
        scores, target = checked_scores(logits, labels)
        return cls.joined([cls._of_block(scores[rows], target[rows]) for rows in row_blocks(scores)])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of ``parts``, one part after the other."""
        return parts[0] if len(parts) == 1 else cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    @classmethod
    def _of_block(cls, scores: NDArray[Any], target: NDArray[np.int64]) -> Self:
        values = log_softmax(scores)
        likelihood = values[np.arange(len(target)), target]
        np.exp(values, out=values)
        return cls(target, scores.argmax(axis=1), values.argmax(axis=1), values.max(axis=1), likelihood, _kinds(scores))

    def refuse_probabilities(self) -> None:
        """Raise if every row of the scores was a distribution, unless all are of one 1 and zeros: see ``evaluate``.

        Raises:
            ValueError: naming what to pass instead.
        """
        if (self.kind != _LOGITS).all() and (self.kind == _PROBABILITIES).any():
            refuse_probabilities(np.full((1, 2), 0.5))  # its message, which names the next step


def _kinds(scores: NDArray[Any]) -> NDArray[np.int8]:
    """Return which rows are distributions; of one class, none: 1 is an ordinary logit."""
    kinds = np.zeros(len(scores), np.int8)
    if scores.shape[1] < 2:  # noqa: PLR2004
        return kinds
    rows = np.flatnonzero(scores.min(axis=1) >= 0)
    rows = rows[are_distributions(scores[rows])]
    kinds[rows] = np.where(((scores[rows] == 0) | (scores[rows] == 1)).all(axis=1), _HARD, _PROBABILITIES)
    return kinds
