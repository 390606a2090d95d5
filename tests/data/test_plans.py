"""Planners ask samplers for arrays: the same batches as from lists, without the lists."""

import pickle

import numpy as np
import pytest

from lt_fast.data import SamplerPlans
from lt_fast.sampling import ClassBalancedBatchSampler, ConfusionPairBatchSampler, ShuffledBatchSampler

LABELS = np.repeat(np.arange(4), [60, 25, 10, 5])
CONFUSION = np.array([[5, 3, 0, 1], [2, 5, 1, 0], [0, 4, 1, 2], [1, 0, 2, 0]])


def samplers(output):
    given = {"output": output, "seed": 3}
    return [
        ShuffledBatchSampler(LABELS, batch_size=7, drop_last=False, **given),
        ClassBalancedBatchSampler(LABELS, batch_size=7, **given),
        ConfusionPairBatchSampler(LABELS, CONFUSION, pairs_per_batch=6, **given),
    ]


@pytest.mark.parametrize("kind", range(3))
def test_lists_and_arrays_give_the_same_plans(kind):
    lists, arrays = (SamplerPlans(samplers(output)[kind], LABELS) for output in ("list", "numpy"))
    for epoch in (0, 2):
        for step in range(lists.num_batches):
            one, two = lists.plan(epoch, step), pickle.loads(pickle.dumps(arrays)).plan(epoch, step)
            wanted = np.reshape(lists.sampler.batch(epoch, step), -1)
            assert one.index.tolist() == two.index.tolist() == wanted.tolist()
            assert one.position.tolist() == two.position.tolist()


def test_no_list_is_made(monkeypatch):
    sampler = ShuffledBatchSampler(LABELS, batch_size=7, seed=3)
    wanted = sampler.batch(0, 1)
    plans = SamplerPlans(sampler, LABELS)
    monkeypatch.setattr(type(sampler), "_batches", lambda *_: pytest.fail("a list was made"))
    assert plans.plan(0, 1).index.tolist() == wanted


def test_a_class_that_has_its_own_batches_is_asked_for_them():
    class Reversed(ShuffledBatchSampler):
        def batch(self, epoch, step):
            return super().batch(epoch, step)[::-1]

    sampler = Reversed(LABELS, batch_size=7, seed=3)
    wanted = ShuffledBatchSampler(LABELS, batch_size=7, seed=3).batch(0, 1)[::-1]
    assert SamplerPlans(sampler, LABELS).plan(0, 1).index.tolist() == wanted
