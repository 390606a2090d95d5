"""The frameworks' own wrappers, in one process: whole samplers they share out by our rule, shares not again."""

import warnings

import numpy as np
import pytest
from torch.utils.data import DataLoader, DistributedSampler

from lt_fast.sampling import (
    SAMPLERS,
    ClassBalancedBatchSampler,
    ConfusionPairBatchSampler,
    DualBatchSampler,
    MPerClassBatchSampler,
    SeekableSampler,
    ShuffledBatchSampler,
    StratifiedBatchSampler,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the frameworks about themselves
    from accelerate.data_loader import BatchSamplerShard
    from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
    from lightning.pytorch.utilities.data import _update_dataloader

LABELS = np.repeat(np.arange(4), [60, 25, 10, 6])
BUILD = {
    "class_balanced": lambda: ClassBalancedBatchSampler(LABELS, batch_size=8),
    "confusion_pairs": lambda: ConfusionPairBatchSampler(LABELS, np.ones((4, 4)), pairs_per_batch=4),
    "dual": lambda: DualBatchSampler(BUILD["shuffled"](), BUILD["class_balanced"]()),
    "m_per_class": lambda: MPerClassBatchSampler(LABELS, m=2, classes_per_batch=4),
    "shuffled": lambda: ShuffledBatchSampler(LABELS, batch_size=8),
    "stratified": lambda: StratifiedBatchSampler(LABELS, batch_size=8),
}


def test_no_batch_sampler_is_left_out():
    assert set(BUILD) == {name for name in SAMPLERS if not issubclass(SAMPLERS[name], SeekableSampler)}


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


@pytest.mark.parametrize("even_batches", [True, False])
def test_arrays_that_accelerate_would_add_up_are_refused(even_batches):
    def theirs(output, *, drop_last):
        whole = ShuffledBatchSampler(LABELS, batch_size=8, output=output, drop_last=drop_last)
        return BatchSamplerShard(whole, 2, 0, even_batches=even_batches)

    with pytest.raises(ValueError, match=r"output must be 'list' where Accelerator.prepare shares out .* or drop_last"):
        next(iter(theirs("numpy", drop_last=False)))
    arrays, lists = theirs("numpy", drop_last=True), theirs("list", drop_last=True)
    assert [batch.tolist() for batch in arrays] == list(lists)
    assert len(list(theirs("list", drop_last=False))) == 7


@pytest.mark.parametrize("rank", [None, 0])
@pytest.mark.parametrize("build", BUILD.values(), ids=BUILD)
def test_lightning_that_builds_a_batch_sampler_anew_is_told_its_switch(build, rank):
    sampler = build() if rank is None else build().shard(rank, 2)
    loader = DataLoader(range(101), batch_sampler=sampler)
    with pytest.raises(TypeError, match=r"got a torch DistributedSampler; .*Trainer\(use_distributed_sampler=False\)"):
        _update_dataloader(loader, DistributedSampler(range(101), 2, 0))


def test_fabric_has_a_switch_of_its_own():
    theirs = DistributedSamplerWrapper(ShuffledBatchSampler(LABELS, batch_size=8).shard(0, 2), num_replicas=2, rank=0)
    with pytest.raises(ValueError, match=r"with Fabric setup_dataloaders\(\.\.\., use_distributed_sampler=False\)"):
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
