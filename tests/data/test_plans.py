"""Planners ask samplers for arrays: the same batches as from lists, without the lists."""

import pickle

import numpy as np
import pytest

from lt_fast.batch import MixPlan
from lt_fast.data import FixedBatches, SamplerPlans
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


class Given:
    """A mixer that gives what it was given."""

    def __init__(self, **parts):
        self.parts = {"partner": np.arange(4), "position": np.arange(4), "lam": 0.5} | parts

    def plan(self, batch, labels):
        return MixPlan(**self.parts)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"lam": np.array([0.5, np.nan, 0.5, 2.0])}, ValueError, r"lam in \[0, 1\], got nan at position 1"),
        ({"lam": -0.1}, ValueError, r"lam in \[0, 1\], got -0.1 at position 0"),
        ({"lam": np.array([0.5, 1.0, 0.0, 1.5])}, ValueError, r"lam in \[0, 1\], got 1.5 at position 3"),
        ({"lam": np.full(3, 0.5)}, ValueError, r"one lam per image of the batch, \(4,\), got shape \(3,\)"),
        ({"partner": np.array([0, -1, 2, 3])}, IndexError, r"partners in \[0, 100\), rows of the data set, got -1"),
        ({"partner": np.array([0, 1, 100, 3])}, IndexError, r"partners in \[0, 100\), rows of the data set, got 100"),
        ({"position": np.arange(4.0)}, TypeError, r"integers as position, got dtype float64"),
    ],
)
def test_what_a_mixer_may_not_give(parts, error, message):
    plans = SamplerPlans(FixedBatches(100, batch_size=4), LABELS, mixer=Given(**parts))
    with pytest.raises(error, match=message):
        plans.plan(0, 0)


def test_a_single_coefficient_is_repeated_and_others_are_copied():
    lam = np.linspace(0, 1, 4, dtype=np.float32)
    one, four = (SamplerPlans(FixedBatches(100, batch_size=4), LABELS, mixer=Given(lam=each)) for each in (0.25, lam))
    assert one.plan(0, 0).mix.lam.tolist() == [0.25] * 4
    found = four.plan(0, 0).mix.lam
    assert found.tolist() == lam.tolist()
    assert not np.shares_memory(found, lam)
    assert found.dtype == np.float32


@pytest.mark.parametrize(("index", "at"), [([0, 100, -1], 1), ([0, -5, 3], 1)])
def test_what_a_sampler_may_not_give(index, at):
    with pytest.raises(IndexError, match=rf"indices in \[0, 100\), got {index[at]} at position {at} of a batch"):
        SamplerPlans(FixedBatches([index]), LABELS).plan(0, 0)
