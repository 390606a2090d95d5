"""The frameworks' own wrappers, in one process: whole samplers they share out by our rule, shares not again."""

import warnings

import numpy as np
import pytest

from lt_fast.sampling import ClassBalancedBatchSampler, ShuffledBatchSampler

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the frameworks about themselves
    from accelerate.data_loader import BatchSamplerShard
    from lightning.fabric.utilities.distributed import DistributedSamplerWrapper

LABELS = np.repeat(np.arange(4), [60, 25, 10, 6])


@pytest.mark.parametrize("kind", [ClassBalancedBatchSampler, ShuffledBatchSampler])
@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_accelerate_shares_out_by_the_same_rule(kind, world_size):
    for rank in range(world_size):
        whole, share = kind(LABELS, batch_size=8), kind(LABELS, batch_size=8).shard(rank, world_size)
        theirs = BatchSamplerShard(whole, world_size, rank)
        assert len(theirs) == len(share)
        assert list(theirs) == list(share)


def test_accelerate_does_not_share_out_again():
    theirs = BatchSamplerShard(ShuffledBatchSampler(LABELS, batch_size=8).shard(1, 2), 2, 1)
    message = (
        "must not be sharded twice: it is rank 1 of 2 already and Accelerator.prepare would .* do not prepare this"
    )
    with pytest.raises(ValueError, match=message):
        next(iter(theirs))


def test_lightning_does_not_share_out_again():
    theirs = DistributedSamplerWrapper(ShuffledBatchSampler(LABELS, batch_size=8).shard(0, 2), num_replicas=2, rank=0)
    message = r"rank 0 of 2 already and Lightning would .*; set Trainer\(use_distributed_sampler=False\)"
    with pytest.raises(ValueError, match=message):
        next(iter(theirs))


def test_classes_derived_from_a_wrapper_are_known():
    class Derived(BatchSamplerShard):
        pass

    with pytest.raises(ValueError, match="must not be sharded twice"):
        next(iter(Derived(ShuffledBatchSampler(LABELS, batch_size=8).shard(0, 2), 2, 0)))


def test_a_wrapper_of_the_same_name_elsewhere_may_read_a_share():
    class BatchSamplerShard:
        def __init__(self, batches):
            self.batches = batches

        def __iter__(self):
            return iter(list(self.batches))

    share = ShuffledBatchSampler(LABELS, batch_size=8).shard(0, 2)
    assert len(list(BatchSamplerShard(share))) == len(share)
