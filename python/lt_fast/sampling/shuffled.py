"""Plain shuffling: every sample once per epoch, seekable."""

from collections.abc import Mapping
from typing import Any

from lt_fast import _checks
from lt_fast._loaded import is_of
from lt_fast.labels import refuse_sampler
from lt_fast.registry import register
from lt_fast.sampling.seekable import Output, SeekableBatchSampler


@register("sampler", "shuffled")
class ShuffledBatchSampler(SeekableBatchSampler):
    """Batches of a shuffled data set: the instance-balanced branch.

    Equals ``BatchSampler(RandomSampler(dataset), batch_size, drop_last)``, but batch ``g`` of epoch ``e`` is a pure
    function of ``(seed, e, g)``. Up to 65,536 samples, an epoch is shuffled in memory when its first batch is drawn, in
    O(N) with 4 bytes per sample; beyond, a keyed permutation needs O(1) memory and the same time at any position. For
    epochs, ranks and resuming see ``SeekableBatchSampler``.

    Args:
        labels_or_len: number of samples, or anything with a length; its items are not read.
        batch_size: samples in a batch.
        num_batches: batches in an epoch, over all ranks; by default as many as the samples give. More than that
            continue with another permutation: no sample comes a third time before all have come twice.
        drop_last: drop the last, shorter batch; ``False`` keeps it.
        output: ``"list"`` or ``"numpy"``.
        seed: in [0, 2**64).

    Raises:
        TypeError: if a number is not an integer, ``labels_or_len`` has no length, or is a sampler or
            a ``DataLoader``.
        ValueError: if there is no sample, a number is out of its range, or an epoch would have no batch.

    >>> sampler = ShuffledBatchSampler(10, batch_size=4, drop_last=False, seed=0)
    >>> list(sampler)
    [[5, 0, 8, 4], [1, 3, 6, 9], [7, 2]]
    >>> sampler.batch(epoch=1, step=0)
    [9, 0, 6, 1]
    """

    def __init__(
        self,
        labels_or_len: Any,
        *,
        batch_size: int,
        num_batches: int | None = None,
        drop_last: bool = True,
        output: Output = "list",
        seed: int = 0,
    ) -> None:
        samples = _length(labels_or_len)
        super().__init__(
            ("shuffled", (samples,)),
            {"num_samples": samples},
            num_samples=samples,
            batch_size=batch_size,
            num_batches=num_batches,
            drop_last=drop_last,
            output=output,
            seed=seed,
        )


def _length(labels_or_len: Any) -> int:
    refuse_sampler(labels_or_len)
    if isinstance(labels_or_len, SeekableBatchSampler) or is_of(labels_or_len, "torch.utils.data", "DataLoader"):
        raise TypeError(
            "labels_or_len must be the number of samples, labels or a data set, got a "
            f"{type(labels_or_len).__name__}, whose length counts batches; pass its data set"
        )
    if isinstance(labels_or_len, Mapping):
        raise TypeError(
            f"labels_or_len must be the number of samples, labels or a data set, got a {type(labels_or_len).__name__}, "
            "whose length counts its keys; pass one of its values, or of a DatasetDict one split: data['train']"
        )
    sized = hasattr(labels_or_len, "__len__") and getattr(labels_or_len, "ndim", 1) > 0  # not torch.tensor(5)
    samples = len(labels_or_len) if sized else _checks.integer("labels_or_len", labels_or_len)
    if not 1 <= samples <= 1 << 62:
        raise ValueError(f"labels_or_len must give at least 1 sample and at most 2**62, got {samples}")
    return samples
