"""Negative log-likelihood of the true class."""

import numpy as np
from numpy.typing import NDArray

from lt_fast.metrics.inputs import Labels, Scores, checked_scores, refuse_probabilities, row_blocks


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the logarithm of the softmax over the last axis in float64; exact also where a probability is 0.

    A logit of -inf gives -inf. Every row must have a finite one.
    """
    shifted = logits.astype(np.float64)
    with np.errstate(over="ignore"):  # a difference beyond all floats is that of a probability 0
        shifted -= shifted.max(axis=-1, keepdims=True)
    normalized: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalized


def negative_log_likelihood(logits: Scores, labels: Labels) -> float:
    """Mean over the rows of ``-log softmax(logits)[label]``, in nats, computed in float64.

    Equals ``F.cross_entropy(logits.double(), labels)``; infinite where a row's own class has the logit -inf.

    Args:
        logits: ``(N, C)`` float.
        labels: ``(N,)`` integers in [0, C).

    Raises:
        TypeError, ValueError: if shapes, dtypes or labels are wrong, or the logits are probabilities.
        DataError: if a logit is NaN or +inf, or a row is all -inf.

    >>> round(negative_log_likelihood(np.array([[2.0, 0.0], [0.0, 0.0]]), [0, 1]), 4)
    0.41
    """
    scores, target = checked_scores(logits, labels)
    refuse_probabilities(scores)
    blocks = (log_softmax(scores[rows])[np.arange(len(target[rows])), target[rows]] for rows in row_blocks(scores))
    return float(-np.concatenate(list(blocks)).mean())
