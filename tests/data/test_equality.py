"""Batches are bit-identical for any number of workers and ranks, fresh or resumed at any step, from both sources."""

import numpy as np
import pytest
import torch

from data.conftest import LABELS, NORMALIZED, Partners, epoch, file_transform, same
from lt_fast.batch import Batch, BatchPlan
from lt_fast.data import CropFlip, Loader, sources
from lt_fast.data import loader as module
from lt_fast.mixing import CutMix
from lt_fast.ranks import Ranks
from lt_fast.sampling import ClassBalancedBatchSampler, ShuffledBatchSampler

# torch warns where there are more workers than processors; the batches must be the same there, too.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

MIXERS = {"blend": lambda: Partners(paste=False), "box": lambda: Partners(paste=True), "cutmix": lambda: CutMix(8)}


def loaders_of_ranks(make_loader, world_size, **options):
    return [make_loader(ranks=Ranks(rank, world_size), **options) for rank in range(world_size)]


def joined(parts):
    """One batch from those of all ranks, without the rows that replace missing ones."""
    counted = [part for part in parts if part.weight]
    names = ("target", "target_b", "lam", "index")
    views = tuple(map(torch.cat, zip(*(part.views for part in counted), strict=True)))
    return Batch(views=views, **{name: torch.cat([getattr(part, name) for part in counted]) for name in names})


@pytest.mark.parametrize("mixing", MIXERS)
@pytest.mark.parametrize(("world_size", "workers"), [(1, 2), (1, 4), (2, 0), (2, 2), (4, 0), (4, 4)])
def test_workers_and_ranks_change_no_bit(make_loader, mixing, world_size, workers):
    whole = epoch(make_loader(mixer=MIXERS[mixing]()), 3)
    ranks = loaders_of_ranks(make_loader, world_size, workers=workers, mixer=MIXERS[mixing]())
    shards = [epoch(loader, 3) for loader in ranks]
    assert len(whole) == len(make_loader()) == 5
    assert all(len(batch.views) == 2 for batch in whole)
    for batch, parts in zip(whole, zip(*shards, strict=True), strict=True):
        assert same(joined(parts), batch)


@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize(("before", "after"), [((1, 0), (2, 2)), ((2, 2), (4, 0)), ((4, 0), (1, 2))])
def test_resumed_at_every_step_with_other_ranks_and_workers(make_loader, step, before, after):
    options = {"mixer": Partners(paste=True)}
    stopped = make_loader(ranks=Ranks(0, before[0]), workers=before[1], **options)
    stopped.set_epoch(2)
    for _, _ in zip(range(step), stopped, strict=False):
        pass
    resumed = loaders_of_ranks(make_loader, after[0], workers=after[1], **options)
    for loader in resumed:
        loader.load_state_dict(stopped.state_dict())
    rest = list(zip(*resumed, strict=True))
    # A loop that stops after the last batch has not asked for the end of the epoch: nothing of it is left.
    whole = epoch(make_loader(**options), 2)
    assert len(rest) == 5 - step
    for batch, parts in zip(whole[step:], rest, strict=True):
        assert same(joined(parts), batch)


@pytest.mark.parametrize("world_size", [5, 8, 38])
@pytest.mark.parametrize("kind", [ShuffledBatchSampler, ClassBalancedBatchSampler])
def test_a_short_last_batch_leaves_no_rank_without_a_step(arrays, kind, world_size):
    def make(ranks):
        sampler = kind(LABELS, batch_size=17, drop_last=False, seed=1)
        return Loader(arrays, sampler, transform=CropFlip(**NORMALIZED), mixer=CutMix(8), ranks=ranks)

    whole, shards = list(make(Ranks())), [list(make(Ranks(rank, world_size))) for rank in range(world_size)]
    assert len(whole[-1]) == 4
    for batch, parts in zip(whole, zip(*shards, strict=True), strict=True):
        assert same(joined(parts), batch)
        assert all(len(part) >= 1 for part in parts)
        values = batch.target.double() + batch.lam
        means = torch.stack([part.weight * (part.target.double() + part.lam).mean() for part in parts])
        torch.testing.assert_close(means.mean(), values.mean())


def test_every_number_of_rows_and_ranks_is_shared_out_evenly():
    for rows in range(9):
        index = np.arange(rows) * 3
        plan = BatchPlan(0, 0, index, np.arange(rows))
        for world_size in range(1, 12):
            shards = [plan.shard(rank, world_size) for rank in range(world_size)]
            counted = [shard for shard in shards if shard.weight]
            assert np.concatenate([shard.index for shard in counted]).tolist() == index.tolist()
            sizes = [len(shard.index) for shard in counted]
            assert max(sizes) - min(sizes) <= 1
            assert all(len(shard.index) == min(1, rows) for shard in shards if not shard.weight)
            assert rows == 0 or sum(shard.weight for shard in shards) == pytest.approx(world_size)


def test_a_file_is_decoded_once_for_each_augmentation_that_a_batch_needs(files, monkeypatch):
    decoded = []
    read = sources.image_and_remarks
    monkeypatch.setattr(
        sources, "image_and_remarks", lambda path, **size: (decoded.append(path.name), read(path, **size))[1]
    )
    sampler = ShuffledBatchSampler(LABELS, batch_size=8, drop_last=False, seed=1)
    for mixer in (None, CutMix(8, per_sample=True), Partners(paste=False)):
        for ranks in (Ranks(), Ranks(1, 2)):
            loader = Loader(files, sampler, transform=file_transform(), mixer=mixer, views=2, ranks=ranks)
            for step, batch in enumerate(loader):
                plan = loader.plan(0, step)
                needed = set(zip(plan.index.tolist(), plan.position.tolist(), strict=True))
                if plan.mix is not None:
                    needed |= set(zip(plan.mix.partner.tolist(), plan.mix.position.tolist(), strict=True))
                assert sorted(decoded) == sorted(2 * [f"{row}.png" for row, _ in needed])
                assert len(batch) == len(plan.index)
                decoded.clear()


def test_resuming_reads_nothing_of_the_batches_before(files, monkeypatch):
    plans = []
    read_batch = module.read_batch
    monkeypatch.setattr(module, "read_batch", lambda *given: (plans.append(given[-1].step), read_batch(*given))[1])
    sampler = ShuffledBatchSampler(LABELS, batch_size=8, drop_last=False, seed=1)
    loader = Loader(files, sampler, transform=file_transform())
    loader.load_state_dict({**loader.state_dict(), "epoch": 1, "position": 3})
    assert len(list(loader)) == 2
    assert plans == [3, 4]
