"""Class-balanced batches: a class by its probability, then a sample of it."""

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast.counts import ClassCounts, EmptyPolicy
from lt_fast.sampling.labels import labels_of
from lt_fast.sampling.seekable import Output, SeekableBatchSampler, fingerprint

WithinClass: TypeAlias = Literal["cycle", "replace"]

_MOST_CLASSES = 1 << 24  # a table of counts beyond is a mistake, and would fill the memory


class ClassBalancedBatchSampler(SeekableBatchSampler):
    """Batches whose classes come with probability proportional to ``n_c ** q``, whatever the data set holds.

    ``q`` is 1 for instance-balanced, 0.5 for square-root, 0 for class-balanced, -1 for reverse sampling.

    ``within_class`` says how a sample of the class is chosen:

    - ``"cycle"``: every sample of a class before any repeats, in a new order each time round, across epochs. The
      classes come in shuffled rounds of ``1 / min p`` draws that hold each class as often as its probability says (for
      ``q=0``: each class once in C draws); after every round a class is less than one draw away from its share. How
      many draws a class has had follows from the position alone; hence there is nothing else to save, and seeking
      costs O(C + 1 / min p) at any position.
    - ``"replace"``: class and sample independently at every draw, each in O(1) at any position.

    Everything else (epochs, ranks, resume) is said at ``SeekableBatchSampler``. Building is O(N + C): 4 bytes a sample
    for the table, 4 for the labels.

    Args:
        labels: one class a sample (whole numbers from 0, or strings, which are numbered in sorted order), or a data
            set as ``labels_of`` takes.
        batch_size: draws in a batch.
        q: exponent of the class counts.
        class_probs: ``(C,)`` probabilities in place of ``q``, any positive scale; 0 leaves a class out.
        within_class: ``"cycle"`` or ``"replace"``.
        num_batches: batches in an epoch, over all ranks; by default as many as N draws give.
        drop_last: by default the draws that do not fill a batch are left out; ``False`` keeps a shorter one.
        output: ``"list"`` or ``"numpy"``.
        seed: in [0, 2**64).
        empty: ``"error"``, or ``"ignore"`` to give classes without samples the probability 0.

    Attributes:
        class_counts: samples per class.
        class_probs: ``(C,)`` float64, sum 1.

    Shape:
        a batch is a list of ``batch_size`` integers, or an int64 array ``(batch_size,)``.

    Raises:
        TypeError: if labels are neither whole numbers nor strings, or a torch ``Sampler`` is passed.
        ValueError: if a label is negative or has no probability, a class is empty, ``class_probs`` holds NaN, an
            infinity, a negative number or only zeros, ``q`` is given beside it or not finite, or a number is out of
            its range.

    Source: Kang et al. 2020, arXiv:1910.09217, equation (1) and section 3, for ``q``; ClassAwareSampler.py of
        facebookresearch/classifier-balancing for the cycles at ``q=0``. Differs from that code: an epoch is N draws,
        not C times the largest class, and any ``q`` cycles.
    """

    def __init__(
        self,
        labels: Any,
        *,
        batch_size: int,
        q: float = 0.0,
        class_probs: ArrayLike | None = None,
        within_class: WithinClass = "cycle",
        num_batches: int | None = None,
        drop_last: bool = True,
        output: Output = "list",
        seed: int = 0,
        empty: EmptyPolicy = "error",
    ) -> None:
        if within_class not in ("cycle", "replace"):
            raise ValueError(f"within_class must be 'cycle' or 'replace', got {within_class!r}")
        ids, self.class_counts = _numbered(labels, class_probs)
        if class_probs is None:
            self.class_probs = class_probabilities(self.class_counts, q=q, empty=empty)
        else:
            self.class_probs = _explicit(class_probs, q, self.class_counts, empty)
        # By `q` where it is given: its power may differ in the last bit on another machine.
        rule = {"q": float(q)} if class_probs is None else {"class_probs": fingerprint(self.class_probs)}
        super().__init__(
            ("class_balanced", (ids, self.class_probs, within_class == "cycle")),
            {"within_class": within_class, "labels": fingerprint(ids), **rule},
            num_samples=len(ids),
            batch_size=batch_size,
            num_batches=num_batches,
            drop_last=drop_last,
            output=output,
            seed=seed,
        )


def class_probabilities(
    class_counts: ClassCounts | ArrayLike, *, q: float = 0.0, empty: EmptyPolicy = "error"
) -> NDArray[np.float64]:
    """Return ``n_c ** q / sum_k n_k ** q``: the probability of each class in Kang et al.'s family.

    Args:
        class_counts: samples per class.
        q: 1 instance-balanced, 0.5 square-root, 0 class-balanced, -1 reverse.
        empty: ``"error"``, or ``"ignore"`` to give empty classes the probability 0.

    Shape:
        returns (C,) float64 with sum 1.

    Raises:
        ValueError: if a class is empty, unless ``empty="ignore"``; if ``q`` is not finite.

    Source: Kang et al. 2020, arXiv:1910.09217, equation (1).
    """
    counts = ClassCounts(class_counts).require_no_empty(empty).counts
    if not np.isfinite(q):
        raise ValueError(f"q must be finite, got {q}; 0 is class-balanced, 1 instance-balanced")
    shown = counts > 0
    weights = np.zeros(len(counts))
    # Relative to the class with the largest weight: no q overflows.
    weights[shown] = (counts[shown] / counts.max()) ** q if q >= 0 else (counts[shown].min() / counts[shown]) ** -q
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities


def _numbered(labels: Any, class_probs: ArrayLike | None) -> tuple[NDArray[np.uint32], ClassCounts]:
    """Return the class number of every sample and the counts; strings are numbered in sorted order."""
    array = labels_of(labels)
    if array.size == 0:
        raise ValueError("labels must hold at least one sample, got 0")
    names = None
    if array.dtype.kind == "U":
        distinct, array = np.unique(array, return_inverse=True)
        names = [str(name) for name in distinct]
    num_classes = None if class_probs is None else np.size(class_probs)
    if array.max() >= _MOST_CLASSES:
        raise ValueError(f"labels must be < {_MOST_CLASSES}, got {array.max()}; number the classes 0..C-1 first")
    counts = ClassCounts.from_labels(array, num_classes, names=names)
    return array.astype(np.uint32), counts


def _explicit(class_probs: ArrayLike, q: float, counts: ClassCounts, empty: EmptyPolicy) -> NDArray[np.float64]:
    if q != 0:
        raise ValueError(f"q must be left out when class_probs is given, got q={q}; choose one of them")
    probs = np.array(class_probs, dtype=np.float64)
    if probs.shape != (counts.num_classes,):
        raise ValueError(f"class_probs must have one entry a class ({counts.num_classes}), got shape {probs.shape}")
    wrong = np.flatnonzero(~(np.isfinite(probs) & (probs >= 0)))
    if wrong.size:
        raise ValueError(f"class_probs must be finite and >= 0, got {probs[wrong[0]]} for class {wrong[0]}")
    if empty == "ignore":
        probs[counts.empty] = 0
    if not probs.any():
        raise ValueError(f"class_probs must have a positive entry, got {len(probs)} zeros")
    scaled = probs / probs.max()  # the sum of the largest doubles is infinite
    probabilities: NDArray[np.float64] = scaled / scaled.sum()
    return probabilities
