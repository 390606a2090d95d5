"""PK batches: P classes with K samples of each."""

from typing import Any

from lt_fast import _checks
from lt_fast.registry import register
from lt_fast.sampling.class_balanced import numbered
from lt_fast.sampling.seekable import Output, SeekableBatchSampler, fingerprint


@register("sampler", "m_per_class")
class MPerClassBatchSampler(SeekableBatchSampler):
    """Batches of ``m`` samples of each of ``classes_per_batch`` distinct classes: for triplet and contrastive losses.

    Classes come in passes, each a shuffle of all classes, divided into batches; classes that do not fill a batch are
    dropped from that pass. The samples of a class come ``m`` at a time, distinct within a batch, and every one before
    any repeats, except the ``n mod m`` that a cycle drops (others in each cycle). A class with fewer than ``m`` samples
    repeats them as evenly as possible. A class that a pass drops also skips its ``m`` samples, so a batch follows from
    its position alone. Seeking costs O(C + batch) at any position, and for a class of up to 4096 samples one step of
    its shuffle for each sample that the cycle has shown.

    Args:
        labels: one class per sample, or a data set as ``labels_of`` takes; classes without samples are excluded.
        m: samples of a class in a batch.
        classes_per_batch: distinct classes in a batch.
        num_batches: batches in an epoch, over all ranks; by default as many as N draws give, at least 1.
        drop_last: drop batches that do not fill a round of the ranks; batches are always full.
        output: ``"list"`` or ``"numpy"``.
        seed: in [0, 2**64).

    Attributes:
        class_counts: samples per class.

    Shape:
        a batch has ``classes_per_batch * m`` indices, those of a class next to each other.

    Raises:
        TypeError: if labels are neither integers nor strings, or a torch ``Sampler`` is passed.
        ValueError: if there are fewer classes than ``classes_per_batch``, or a number is out of its range.

    Source: Hermans et al. 2017, arXiv:1703.07737 (PK batches); ``MPerClassSampler`` of
    KevinMusgrave/pytorch-metric-learning. Differs from that code: passes over the classes instead of a new choice for
    every batch, and cycles instead of independent samples.

    >>> import numpy as np
    >>> labels = np.repeat([0, 1, 2, 3], [50, 20, 5, 1])
    >>> sampler = MPerClassBatchSampler(labels, m=2, classes_per_batch=3, seed=0)
    >>> len(sampler), labels[sampler[0]].tolist()
    (12, [3, 3, 1, 1, 2, 2])
    """

    def __init__(
        self,
        labels: Any,
        *,
        m: int,
        classes_per_batch: int,
        num_batches: int | None = None,
        drop_last: bool = True,
        output: Output = "list",
        seed: int = 0,
    ) -> None:
        m = _checks.integer("m", m, least=1)
        wanted = _checks.integer("classes_per_batch", classes_per_batch, least=1)
        ids, self.class_counts = numbered(labels)
        present = self.class_counts.num_classes - len(self.class_counts.empty)
        if wanted > present:
            raise ValueError(f"classes_per_batch must be <= the number of classes ({present}), got {wanted}")
        super().__init__(
            ("m_per_class", (ids, self.class_counts.num_classes, m, wanted)),
            {"m": m, "classes_per_batch": wanted, "labels": fingerprint(ids)},
            num_samples=len(ids),
            batch_size=m * wanted,
            num_batches=max(1, len(ids) // (m * wanted)) if num_batches is None else num_batches,
            drop_last=drop_last,
            output=output,
            seed=seed,
        )
