"""Samplers and batch samplers for any ``DataLoader``: resumable, shardable, without hidden state.

Each batch is a pure function of (seed, epoch, position).

>>> sampler = ClassBalancedBatchSampler([0, 0, 0, 0, 1, 1], batch_size=2)
>>> len(sampler), sampler[0] == next(iter(sampler))
(3, True)
"""

from lt_fast.labels import labels_of
from lt_fast.registry import SAMPLERS
from lt_fast.sampling.class_balanced import ClassBalancedBatchSampler, ClassBalancedSampler
from lt_fast.sampling.class_probabilities import class_probabilities, effective_number_probs
from lt_fast.sampling.confusion_counts import ConfusionCounts
from lt_fast.sampling.confusion_pairs import ConfusionPairBatchSampler
from lt_fast.sampling.dual import DualBatchSampler
from lt_fast.sampling.m_per_class import MPerClassBatchSampler
from lt_fast.sampling.multilabel import MultilabelBalancedSampler
from lt_fast.sampling.repeat_factor import RepeatFactorSampler, repeat_factors
from lt_fast.sampling.schedule import ProgressiveSchedule
from lt_fast.sampling.seekable import SeekableBatchSampler
from lt_fast.sampling.seekable_index import SeekableSampler
from lt_fast.sampling.shuffled import ShuffledBatchSampler
from lt_fast.sampling.stratified import StratifiedBatchSampler
from lt_fast.sampling.stream import ClassBalancedStream
from lt_fast.sampling.weighted import WeightedRandomSampler

__all__ = [
    "SAMPLERS",
    "ClassBalancedBatchSampler",
    "ClassBalancedSampler",
    "ClassBalancedStream",
    "ConfusionCounts",
    "ConfusionPairBatchSampler",
    "DualBatchSampler",
    "MPerClassBatchSampler",
    "MultilabelBalancedSampler",
    "ProgressiveSchedule",
    "RepeatFactorSampler",
    "SeekableBatchSampler",
    "SeekableSampler",
    "ShuffledBatchSampler",
    "StratifiedBatchSampler",
    "WeightedRandomSampler",
    "class_probabilities",
    "effective_number_probs",
    "labels_of",
    "repeat_factors",
]
