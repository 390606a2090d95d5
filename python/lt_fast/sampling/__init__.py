"""Which sample comes next: batch samplers for any ``DataLoader``, resumable, shardable, without hidden state.

Each batch is a pure function of (seed, epoch, position).

>>> sampler = ClassBalancedBatchSampler([0, 0, 0, 0, 1, 1], batch_size=2)
>>> len(sampler), sampler[0] == next(iter(sampler))
(3, True)
"""

from lt_fast.registry import Registry
from lt_fast.sampling.class_balanced import ClassBalancedBatchSampler, class_probabilities
from lt_fast.sampling.labels import labels_of
from lt_fast.sampling.seekable import SeekableBatchSampler
from lt_fast.sampling.shuffled import ShuffledBatchSampler

SAMPLERS = Registry(
    "sampler",
    {
        "class_balanced": "lt_fast.sampling.class_balanced:ClassBalancedBatchSampler",
        "shuffled": "lt_fast.sampling.shuffled:ShuffledBatchSampler",
    },
)

__all__ = [
    "SAMPLERS",
    "ClassBalancedBatchSampler",
    "SeekableBatchSampler",
    "ShuffledBatchSampler",
    "class_probabilities",
    "labels_of",
]
