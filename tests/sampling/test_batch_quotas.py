"""Batches with a promise: P x K, strata, two streams; and the schedule and strategies of the index samplers."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import reference
from lt_fast.sampling import (
    ClassBalancedBatchSampler,
    ClassBalancedSampler,
    ConfusionPairBatchSampler,
    DualBatchSampler,
    MPerClassBatchSampler,
    MultilabelBalancedSampler,
    ProgressiveSchedule,
    ShuffledBatchSampler,
    StratifiedBatchSampler,
    class_probabilities,
    effective_number_probs,
)

COUNTS = np.array([50, 20, 9, 3, 1])
LABELS = np.repeat(np.arange(5), COUNTS)[np.argsort((np.arange(83) * 37) % 83)]
COUNT_LISTS = st.lists(st.integers(1, 30), min_size=1, max_size=8)


@pytest.mark.filterwarnings("ignore:labels should be classes with several samples")  # one sample per class
@given(COUNT_LISTS, st.integers(1, 9), st.integers(1, 8), st.integers(0, 2**64 - 1))
def test_m_per_class(counts, m, classes_per_batch, seed):
    classes_per_batch = min(classes_per_batch, len(counts))
    labels = np.repeat(np.arange(len(counts)), counts)
    sampler = MPerClassBatchSampler(labels, m=m, classes_per_batch=classes_per_batch, num_batches=12, seed=seed)
    for batch in sampler:
        groups = np.array(batch).reshape(classes_per_batch, m)
        of_group = labels[groups]
        assert (of_group == of_group[:, :1]).all()
        assert len(set(of_group[:, 0])) == classes_per_batch
        for group, label in zip(groups, of_group[:, 0], strict=True):
            repeats = np.bincount(group, minlength=len(labels))[labels == label]
            assert len(set(group)) == min(m, counts[label])
            assert repeats.max() - repeats.min() <= 1


@pytest.mark.filterwarnings("ignore:labels should be classes with several samples")  # one sample per class
@given(COUNT_LISTS, st.integers(1, 9), st.integers(1, 8), st.integers(0, 2**64 - 1))
def test_m_per_class_is_the_oracle(counts, m, classes_per_batch, seed):
    classes_per_batch = min(classes_per_batch, len(counts))
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    sampler = MPerClassBatchSampler(labels, m=m, classes_per_batch=classes_per_batch, num_batches=9, seed=seed)
    count = 2 * 9 * m * classes_per_batch
    found = np.concatenate([sampler.epoch_indices(0), sampler.epoch_indices(1)])
    assert found.tolist() == reference.m_per_class_draws(labels.tolist(), m, classes_per_batch, seed, count)


def test_m_per_class_beyond_the_shuffle_shows_all_of_a_class_too():
    labels = np.repeat([0, 1], [5000, 40])
    sampler = MPerClassBatchSampler(labels, m=4, classes_per_batch=2, num_batches=1250, output="numpy")
    found = np.bincount(sampler.epoch_indices(), minlength=5040)
    assert (found[:5000] == 1).all()
    assert (found[5000:] == 125).all()
    assert sampler[999].tolist() == sampler.epoch_indices()[999 * 8 : 1000 * 8].tolist()


def test_m_per_class_shows_all_of_a_class_that_m_divides():
    labels = np.repeat(np.arange(4), [12, 4, 8, 2])
    sampler = MPerClassBatchSampler(labels, m=4, classes_per_batch=2, num_batches=6)
    found = np.bincount(sampler.epoch_indices(), minlength=26)
    assert found[:12].tolist() == [1] * 12
    assert found[12:16].tolist() == [3] * 4
    assert found[24:].tolist() == [6] * 2


@pytest.mark.filterwarnings("ignore:labels should be classes with several samples")  # one sample per class
@given(
    COUNT_LISTS,
    st.integers(1, 40),
    st.sampled_from([1.0, 0.0, 0.5]),
    st.integers(0, 2**64 - 1),
    st.integers(0, 10),
)
def test_every_batch_holds_its_quotas(counts, batch_size, q, seed, epoch):
    labels = np.repeat(np.arange(len(counts)), counts)
    sampler = StratifiedBatchSampler(labels, batch_size=batch_size, q=q, num_batches=20, seed=seed)
    sampler.set_epoch(epoch)
    shares = batch_size * sampler.class_probs
    for batch in sampler:
        found = np.bincount(labels[batch], minlength=len(counts))
        # The share in whole draws a block is right to 1 in 16 draws of the rarest class.
        assert (found >= np.floor(shares * (1 - 1 / 16)) - 1e-9).all()
        assert (found <= np.ceil(shares * (1 + 1 / 16)) + 1e-9).all()


def test_strata_lose_nothing_over_time_and_cover_every_class():
    sampler = StratifiedBatchSampler(LABELS, batch_size=8, num_batches=1024, output="numpy")
    found = np.bincount(LABELS[sampler.epoch_indices()], minlength=5)
    assert (abs(found - 8192 * COUNTS / 83) < 16).all()
    per_sample = np.bincount(sampler.epoch_indices(), minlength=83)
    for label in range(5):
        of_class = per_sample[label == LABELS]
        assert of_class.max() - of_class.min() <= 1
    assert sampler[1023].tolist() == sampler.epoch_indices()[-8:].tolist()


def test_dual_is_one_beside_the_other():
    for output in ("list", "numpy"):
        uniform = ShuffledBatchSampler(LABELS, batch_size=8, output=output)
        reverse = ClassBalancedBatchSampler(LABELS, batch_size=5, q=-1, num_batches=10, output=output)
        pair = DualBatchSampler(uniform, reverse)
        assert pair.batch_size == 13
        for epoch in range(2):
            for batch, one, two in zip(pair, uniform, reverse, strict=True):
                assert list(batch) == [*one, *two]
            assert pair.epoch == uniform.epoch == epoch + 1


@pytest.mark.parametrize(
    ("first", "second", "error", "text"),
    [
        ({}, {}, ValueError, "second must have another seed than first, got 0 twice"),
        ({"num_batches": 3}, {"seed": 1}, ValueError, "num_batches must be the same in first and second, got 3 and 20"),
        ({"output": "numpy"}, {"seed": 1}, ValueError, "output must be the same in first and second, got 'numpy' and"),
        ({"drop_last": False}, {"seed": 1}, ValueError, "first must have full batches only; build it with drop_last"),
    ],
)
def test_dual_refuses(first, second, error, text):
    one, two = (ClassBalancedBatchSampler(LABELS, batch_size=4, **keywords) for keywords in (first, second))
    with pytest.raises(error, match=text):
        DualBatchSampler(one, two)
    with pytest.raises(
        TypeError, match=r"second must be a batch sampler of lt_fast.sampling, got ClassBalancedSampler"
    ):
        DualBatchSampler(ClassBalancedBatchSampler(LABELS, batch_size=4), ClassBalancedSampler(LABELS))
    pairs = ConfusionPairBatchSampler(LABELS, np.ones((5, 5)), pairs_per_batch=2)
    with pytest.raises(
        TypeError, match=r"second must draw by a rule that does not change, .*: zip\(plain_loader, pair"
    ):
        DualBatchSampler(ClassBalancedBatchSampler(LABELS, batch_size=4), pairs)
    with pytest.raises(ValueError, match="first must not be a shard, got rank 0 of 2; shard the pair"):
        DualBatchSampler(two.shard(0, 2), one)


@pytest.mark.parametrize("kind", ["mix", "linear", "cosine", "exp"])
def test_progressive_schedule(kind):
    schedule = ProgressiveSchedule(epochs=10, kind=kind)
    sampler = ClassBalancedSampler(LABELS, schedule=schedule, num_samples=40_000, within_class="replace")
    for epoch in (0, 4, 10, 25):
        wanted = reference.progressive_probabilities(COUNTS.tolist(), 1.0, 0.0, epoch, 10, kind)
        np.testing.assert_allclose(schedule(epoch, sampler.class_counts), wanted, rtol=1e-12)
        found = np.bincount(LABELS[sampler.epoch_indices(epoch)], minlength=5)
        assert stats.chisquare(found, 40_000 * np.array(wanted)).pvalue > 1e-4
    first = class_probabilities(COUNTS, q=1.0)
    np.testing.assert_allclose(schedule(0, sampler.class_counts), first)


def negative(epoch, counts):
    return [1.0, 1, 1, 1, -1.0 if epoch == 2 else 1.0]


def test_a_wrong_schedule_is_named():
    sampler = ClassBalancedBatchSampler(LABELS, batch_size=4, schedule=negative)
    assert len(list(sampler)) == 20
    text = "schedule must yield valid class probabilities, but in epoch 2: class_probs must be .* got -1.0 for class 4"
    with pytest.raises(ValueError, match=text):
        sampler.epoch_indices(2)
    with pytest.raises(ValueError, match="schedule must be given without q and class_probs"):
        ClassBalancedBatchSampler(LABELS, batch_size=4, schedule=negative, q=1)
    for keywords, text in (
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
        ({"kind": "step"}, "kind must be one of mix, linear, cosine, exp, got 'step'"),
        ({"start": float("nan")}, "start must be finite, got nan"),
    ):
        with pytest.raises(ValueError, match=text):
            ProgressiveSchedule(**keywords)
    with pytest.raises(TypeError, match=r"kind must be a string, one of mix, .* got array"):
        ProgressiveSchedule(kind=np.array(["mix", "exp"]))
    with pytest.raises(TypeError, match="end must be a number, got '0'"):
        ProgressiveSchedule(end="0")


@pytest.mark.parametrize(
    ("probs", "error", "text"),
    [
        ("abc", TypeError, "in epoch 0: class_probs must be numbers, one per class, got 'abc'"),
        (None, ValueError, r"in epoch 0: class_probs must have one entry per class \(5\), got shape \(\)"),
        ([1, 1], ValueError, r"in epoch 0: class_probs must have one entry per class \(5\), got shape \(2,\)"),
        ([1, 1, 1, 1, float("nan")], ValueError, "in epoch 0: .* got nan for class 4"),
        ([0] * 5, ValueError, "in epoch 0: class_probs must have a positive entry, got 5 zeros"),
    ],
)
def test_a_schedule_that_yields_no_probabilities(probs, error, text):
    for kind, keywords in ((ClassBalancedBatchSampler, {"batch_size": 4}), (ClassBalancedSampler, {})):
        with pytest.raises(error, match="schedule must yield valid class probabilities, but " + text):
            kind(LABELS, schedule=lambda *_: probs, **keywords)
        with pytest.raises(TypeError, match=r"a function of \(epoch, class_counts\), got int"):
            kind(LABELS, schedule=3, **keywords)


class Steps:
    """A schedule that does not show its settings."""

    def __init__(self, last):
        self.last = last

    def __call__(self, *_):
        return torch.tensor([1.0, 1, 1, 1, self.last])


def test_a_state_knows_its_schedule_in_another_process_too():
    def built(schedule):
        return ClassBalancedBatchSampler(LABELS, batch_size=4, schedule=schedule)

    def gentle(epoch, counts, last=2.0):
        return [1, 1, 1, 1, last]

    def state(schedule):
        return built(schedule).state_dict()

    for schedule in (Steps(2.0), gentle, partial(gentle, last=2.0), ProgressiveSchedule(epochs=3)):
        assert " at 0x" not in state(schedule)["schedule"]
    built(Steps(2.0)).load_state_dict(state(Steps(2.0)))
    built(partial(gentle, last=3.0)).load_state_dict(state(partial(gentle, last=3.0)))
    for one, other in (
        (Steps(2.0), Steps(3.0)),
        (partial(gentle, last=3.0), partial(gentle, last=4.0)),
        (ProgressiveSchedule(epochs=3), ProgressiveSchedule(epochs=4)),
    ):
        with pytest.raises(ValueError, match=r"but schedule was .*, is .*; build the sampler as it was"):
            built(one).load_state_dict(state(other))


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=20), st.sampled_from([0.0, 0.9, 0.999, 0.999999]))
def test_effective_numbers_are_the_oracle(counts, beta):
    weights = [n * (1 if beta == 0 else (1 - beta) / (1 - beta**n)) for n in counts]
    np.testing.assert_allclose(effective_number_probs(counts, beta), np.array(weights) / sum(weights), rtol=1e-6)


@pytest.mark.parametrize("beta", [1, -0.1, float("nan")])
def test_effective_number_refuses(beta):
    with pytest.raises(ValueError, match=r"beta must lie in \[0, 1\), got"):
        effective_number_probs([1, 2], beta)
    with pytest.raises(TypeError, match="beta must be a number, got 'high'"):
        effective_number_probs([1, 2], "high")


INDPTR = np.arange(0, 167, 2)
INDICES = np.stack([LABELS, 5 + np.arange(83) % 3], axis=1).ravel()


def test_multilabel_random_and_cycle():
    sampler = MultilabelBalancedSampler(INDPTR, INDICES, num_samples=200_000)
    rows = INDICES.reshape(-1, 2)
    sizes = np.bincount(INDICES)
    expected = 200_000 / 8 * (1 / sizes[rows]).sum(axis=1)
    found = np.bincount(sampler.epoch_indices(), minlength=83)
    assert stats.chisquare(found, expected).pvalue > 1e-4
    cycle = MultilabelBalancedSampler(INDPTR, INDICES, strategy="cycle", num_samples=80)
    single = np.flatnonzero(LABELS == 4)[0]
    for block in cycle.epoch_indices().reshape(10, 8):
        assert single in block  # the class of one sample comes once in a round


@given(st.integers(0, 2**64 - 1))
def test_least_sampled_always_takes_a_class_shown_least(seed):
    sampler = MultilabelBalancedSampler(INDPTR, INDICES, strategy="least_sampled", seed=seed)
    rows, shown = INDICES.reshape(-1, 2), np.zeros(8)
    for sample in sampler:
        assert shown[rows[sample]].min() == shown.min()
        shown[rows[sample]] += 1


@pytest.mark.parametrize("strategy", ["random", "least_sampled"])
@pytest.mark.parametrize(
    ("indptr", "indices", "error", "text"),
    [
        ([0, 1], [], ValueError, "indices must hold at least one label, got 0"),
        ([0, 1], [-1], ValueError, r"indices must lie in \[0, 2\*\*24\), got -1"),
        ([0, 2], [0, 0], ValueError, "indices must be distinct within a sample, got 0 twice for sample 0"),
        ([0, 2, 1, 2], [0, 1], ValueError, "indptr must not fall, got 1 after 2 at position 2"),
        ([0, 1], [0, 1], ValueError, r"indptr must start at 0 and end at the number of indices \(2\), got 0 and 1"),
        ([0], [0], ValueError, "indptr must describe 1 to .* got 0 samples and 1 labels"),
        ([0, 1], [0.5], TypeError, "indices must be integers, got dtype float64"),
        ([[0, 1]], [0], ValueError, r"indptr must be one-dimensional, got shape \(1, 2\)"),
        ([0, 1], [1], ValueError, "class_counts must be >= 1 in every class, got 0 for class '0'"),
    ],
)
def test_multilabel_refuses(strategy, indptr, indices, error, text):
    with pytest.raises(error, match=text):
        MultilabelBalancedSampler(indptr, indices, strategy=strategy)
    with pytest.raises(ValueError, match="strategy must be one of random, cycle, least_sampled, got 'most'"):
        MultilabelBalancedSampler([0, 1], [0], strategy="most")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: MPerClassBatchSampler(LABELS, m=0, classes_per_batch=1), "m must be >= 1, got 0"),
        (lambda: MPerClassBatchSampler(LABELS, m=1, classes_per_batch=0), "classes_per_batch must be >= 1, got 0"),
        (
            lambda: MPerClassBatchSampler(LABELS, m=1, classes_per_batch=6),
            r"classes_per_batch must be <= the number of classes \(5\), got 6",
        ),
        (lambda: StratifiedBatchSampler(LABELS, batch_size=84), r"batch_size must be <= the number of samples \(83\)"),
        (
            lambda: StratifiedBatchSampler(LABELS, batch_size=2**40, num_batches=1),
            r"batch_size must be <= 2\*\*32, got 1099511627776",
        ),
        (
            lambda: StratifiedBatchSampler(LABELS, batch_size=8, class_probs=[1, 1, 1, 1, 1e-12]),
            "class_probs must be 0 or >= 3.7e-9 of their sum, got 2.5e-13 for class 4; use larger batches",
        ),
    ],
)
def test_quotas_refuse(call, text):
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("within_class", ["replace", "cycle"])
@pytest.mark.parametrize("q", [0.0, 0.5])
def test_ten_million_class_balanced_draws(within_class, q):
    sampler = ClassBalancedSampler(LABELS, q=q, within_class=within_class, num_samples=10_000_000)
    found = np.bincount(sampler.epoch_indices(), minlength=83)
    expected = 1e7 * (sampler.class_probs / COUNTS)[LABELS]
    if within_class == "replace":
        assert stats.chisquare(found, expected).pvalue > 1e-4
    else:
        assert (abs(found - expected) <= 20).all()
