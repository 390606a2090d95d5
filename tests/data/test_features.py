"""``FeatureSource``: views by key, mixing, subsets of batches, and what it refuses."""

import numpy as np
import pytest
import torch

from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.data import FeatureSource, FeatureViews, FixedBatches, Loader
from lt_fast.mixing import Mixup
from lt_fast.sampling import ShuffledBatchSampler

LABELS = np.array([0, 1, 1, 0, 2])


def source(views=3):
    rows = torch.arange(5.0)[:, None].repeat(1, 2)
    return FeatureSource(rows, LABELS, views=[rows + 10 * (number + 1) for number in range(views)], fingerprint="abc")


def test_plain_features_are_read_in_order():
    loader = Loader(source(), FixedBatches(5, batch_size=2), transform=FeatureViews(3).plain())
    assert torch.cat([batch.x for batch in loader])[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_every_view_is_drawn_by_the_key():
    loader = Loader(source(), FixedBatches(5, batch_size=5), transform=FeatureViews(3), seed=4)
    read = torch.stack([next(loader.batches(epoch)).x[:, 0] - torch.arange(5.0) for epoch in range(60)])
    assert sorted(read.unique().tolist()) == [10, 20, 30]
    assert torch.equal(next(loader.batches(7)).x, next(loader.batches(7)).x)
    other = Loader(source(), FixedBatches(5, batch_size=5), transform=FeatureViews(3), seed=5)
    assert any(not torch.equal(next(loader.batches(epoch)).x, next(other.batches(epoch)).x) for epoch in range(5))


def test_ranks_read_the_rows_of_one_batch():
    found, loader = source(), Loader(source(), FixedBatches(5, batch_size=5), transform=FeatureViews(3))
    plan = loader.plan(2, 0)
    halves = [found.read(plan.shard(rank, 2), FeatureViews(3), 0)[0] for rank in range(2)]
    assert torch.equal(torch.cat(halves), found.read(plan, FeatureViews(3), 0)[0])


def test_features_are_blended_like_images():
    index, lam = np.array([0, 1]), np.array([0.25, 1.0], np.float32)
    mix = MixPlan(np.array([4, 3]), np.array([8, 9]), lam)
    plan = BatchPlan(0, 0, index, np.array([0, 1]), mix)
    (x,) = source(0).read(plan, FeatureViews(0), 0)
    assert x[:, 0].tolist() == [0.25 * 0 + 0.75 * 4, 1.0]


def test_a_loader_mixes_features():
    sampler = ShuffledBatchSampler(LABELS, batch_size=5, output="numpy")
    batch = next(Loader(source(0), sampler, transform=FeatureViews(0), mixer=Mixup(seed=0)).batches(0))
    assert batch.x.shape == (5, 2)
    assert batch.target_b is not None


def test_boxes_are_refused():
    mix = MixPlan(np.array([1]), np.array([1]), np.array([0.5], np.float32), np.zeros((1, 4), np.int32))
    with pytest.raises(ValueError, match="mixer must blend where a network is frozen"):
        source().read(BatchPlan(0, 0, np.array([0]), np.array([0]), mix), FeatureViews(0), 0)


@pytest.mark.parametrize("transform", [FeatureViews(4), torch.nn.Identity()])
def test_another_transform_is_refused(transform):
    with pytest.raises(TypeError, match="transform must be FeatureViews of at most 3 views"):
        source().check(transform)


def test_views_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"features must have shape \(5, D\) in every view, got \(4, 2\)"):
        FeatureSource(torch.zeros(5, 2), LABELS, views=[torch.zeros(4, 2)])
