"""Class-balanced draws from samples with any number of labels."""

from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from lt_fast import _checks
from lt_fast.counts import ClassCounts, EmptyPolicy
from lt_fast.labels import integers, refuse_sampler
from lt_fast.registry import register
from lt_fast.sampling.class_probabilities import class_probabilities
from lt_fast.sampling.seekable import Source, fingerprint
from lt_fast.sampling.seekable_index import SeekableSampler

Strategy: TypeAlias = Literal["random", "cycle", "least_sampled"]


@register("sampler", "multilabel")
class MultilabelBalancedSampler(SeekableSampler):
    """Draw a class, then a sample that has it among its labels.

    - ``"random"``: class and sample independently at every draw; O(1) at any position.
    - ``"cycle"``: classes in shuffled rounds, each once; every sample of a class before any repeats as that class's
      draw. O(C) at any position.
    - ``"least_sampled"``: the class shown least so far in the epoch, counting all labels of its samples, and a random
      sample of it. That depends on all earlier draws, so draw ``d`` has no formula: a seek repeats the draws of the
      epoch, about 50 ns each, while continuing is free. The state contains the position, not the counts, which start at
      0 in every epoch.

    Args:
        indptr: ``(N + 1,)``; sample ``i`` has the labels ``indices[indptr[i]:indptr[i + 1]]``, as in
            ``scipy.sparse.csr_array``. A sample without labels is never drawn.
        indices: labels, from 0.
        strategy: how the class of a draw is selected.
        num_samples: draws in an epoch, over all ranks; by default one per sample.
        seed: in [0, 2**64).
        empty: ``"error"``, or ``"ignore"`` to exclude classes without samples.

    Attributes:
        class_counts: samples per class.

    Raises:
        TypeError: if the labels are not integers, or a torch ``Sampler`` is passed.
        ValueError: if the rows are damaged, a label is negative or repeats within a sample, a class is empty, or
            ``strategy`` is unknown.

    Source: the three strategies of issamemari/pytorch-multilabel-balanced-sampler. Differs from that code: ties are
    broken by chance, and "cycle" cycles within a class, too.

    >>> indptr, indices = [0, 1, 3, 4, 5], [0, 0, 1, 0, 0]  # sample 1 has the labels 0 and 1, the others 0 alone
    >>> sampler = MultilabelBalancedSampler(indptr, indices, strategy="cycle", num_samples=8, seed=0)
    >>> list(sampler)
    [1, 2, 1, 1, 1, 0, 1, 3]
    """

    def __init__(
        self,
        indptr: Any,
        indices: Any,
        *,
        strategy: Strategy = "random",
        num_samples: int | None = None,
        seed: int = 0,
        empty: EmptyPolicy = "error",
    ) -> None:
        _checks.choice("strategy", strategy, get_args(Strategy))
        refuse_sampler(indptr)
        starts, labels = (integers(name, part) for name, part in (("indptr", indptr), ("indices", indices)))
        if labels.size == 0:
            raise ValueError("indices must hold at least one label, got 0")
        _checks.labels_in_range("indices", labels, _checks.MAX_CLASSES)
        self.class_counts = ClassCounts(np.bincount(labels)).require_no_empty(empty)
        ids = labels.astype(np.uint32)
        source: Source = ("least_sampled", (starts, ids, self.class_counts.num_classes))
        if strategy != "least_sampled":
            probs = class_probabilities(self.class_counts, q=0.0, empty=empty)
            source = ("multilabel", (starts, ids, probs, strategy == "cycle"))
        super().__init__(
            source,
            {"strategy": strategy, "indptr": fingerprint(starts), "indices": fingerprint(ids)},
            num_samples=max(1, len(starts) - 1) if num_samples is None else num_samples,
            seed=seed,
        )
