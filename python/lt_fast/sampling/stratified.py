"""Stratified batches: each has its quota of every class."""

from typing import Any

from numpy.typing import ArrayLike

from lt_fast import _checks
from lt_fast.counts import EmptyPolicy
from lt_fast.registry import register
from lt_fast.sampling.class_balanced import numbered_with_probs
from lt_fast.sampling.class_probabilities import class_probabilities, explicit_probabilities
from lt_fast.sampling.seekable import Output, SeekableBatchSampler, fingerprint

_LARGEST_BATCH = 1 << 32  # quotas are counted in 32 bits


@register("sampler", "stratified")
class StratifiedBatchSampler(SeekableBatchSampler):
    """Batches with ``batch_size * p_c`` samples of class c, rounded down or up: less noise than a shuffle.

    ``p_c`` is proportional to ``n_c ** q``, with ``q=1`` the proportions of the data set. Over a block of M batches (a
    power of two, large enough for 16 draws of the rarest class) the total of each class is the nearest integer to its
    expectation. Every sample of a class comes before any repeats, across batches and epochs; within a batch a sample
    repeats only where its class starts over. Seeking costs O(C log M + batch) at any position, and continuing from the
    last batch is cheaper. The state contains the position alone.

    Args:
        labels: one class per sample, or a data set as ``labels_of`` takes.
        batch_size: draws in a batch.
        q: exponent of the class counts: 1 as in the data, 0 equal parts.
        class_probs: ``(C,)`` probabilities instead of ``q``, any positive scale; 0 excludes a class.
        num_batches: batches in an epoch, over all ranks; by default as many as N draws give.
        drop_last: drop batches that do not fill a round of the ranks; batches are always full.
        output: ``"list"`` or ``"numpy"``.
        seed: in [0, 2**64).
        empty: ``"error"``, or ``"ignore"`` to give classes without samples the probability 0.

    Attributes:
        class_counts: samples per class.
        class_probs: ``(C,)`` float64, sum 1.

    Raises:
        TypeError: if labels are neither integers nor strings, or a torch ``Sampler`` is passed.
        ValueError: as ``ClassBalancedBatchSampler``; a probability must be at least 4e-9.

    Source: ours. Requested without an implementation so far: pytorch/ignite#3653, pytorch/pytorch#48180.

    >>> import numpy as np
    >>> labels = np.repeat([0, 1, 2], [80, 15, 5])
    >>> sampler = StratifiedBatchSampler(labels, batch_size=20, seed=0)
    >>> [np.bincount(labels[batch]).tolist() for batch in sampler]
    [[16, 3, 1], [16, 3, 1], [16, 3, 1], [16, 3, 1], [16, 3, 1]]
    """

    def __init__(
        self,
        labels: Any,
        *,
        batch_size: int,
        q: float = 1.0,
        class_probs: ArrayLike | None = None,
        num_batches: int | None = None,
        drop_last: bool = True,
        output: Output = "list",
        seed: int = 0,
        empty: EmptyPolicy = "error",
    ) -> None:
        size = _checks.integer("batch_size", batch_size, least=1, most=_LARGEST_BATCH)
        ids, self.class_counts, class_probs = numbered_with_probs(labels, class_probs)
        if class_probs is None:
            self.class_probs = class_probabilities(self.class_counts, q=q, empty=empty)
        elif q != 1:
            raise ValueError(f"q must be left out when class_probs is given, got q={q}; choose one of them")
        else:
            self.class_probs = explicit_probabilities(class_probs, self.class_counts, empty)
        self.class_probs.setflags(write=False)  # a copy is built from it: it must stay what it was
        if num_batches is None and size > len(ids):
            raise ValueError(
                f"batch_size must be <= the number of samples ({len(ids)}) with drop_last=True, got {size}; use "
                "smaller batches, or num_batches"
            )
        rule = {"q": float(q)} if class_probs is None else {"class_probs": fingerprint(self.class_probs)}
        super().__init__(
            ("stratified", (ids, self.class_probs, size)),
            {"labels": fingerprint(ids), **rule},
            num_samples=len(ids),
            batch_size=size,
            num_batches=len(ids) // size if num_batches is None else num_batches,
            drop_last=drop_last,
            output=output,
            seed=seed,
        )
