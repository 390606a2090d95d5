"""Class-balanced sampling: the oracle, the class frequencies, the coverage inside a class, every message."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import DistributedSampler, Subset, TensorDataset

import reference
from lt_fast import ClassCounts
from lt_fast.sampling import (
    ClassBalancedBatchSampler,
    ClassBalancedSampler,
    StratifiedBatchSampler,
    class_probabilities,
)

COUNTS = [50, 20, 9, 3, 1]
LABELS = np.repeat(np.arange(5), COUNTS)[np.argsort((np.arange(83) * 37) % 83)]


def frequencies(sampler):
    return np.bincount(LABELS[sampler.epoch_indices()], minlength=5)


@given(
    st.lists(st.integers(0, 4), min_size=5, max_size=40).map(lambda labels: [*labels, 0, 1, 2, 3, 4]),
    st.integers(0, 2**64 - 1),
    st.integers(1, 9),
)
def test_cycle_is_the_oracle_across_epochs(labels, seed, batch_size):
    sampler = ClassBalancedBatchSampler(labels, batch_size=batch_size, num_batches=7, seed=seed)
    found = np.concatenate([sampler.epoch_indices(epoch) for epoch in range(3)])
    assert found.tolist() == reference.class_aware_draws(labels, seed, 3 * 7 * batch_size)


@given(st.integers(0, 2**64 - 1), st.integers(0, 1000))
def test_replace_is_the_oracle(seed, epoch):
    sampler = ClassBalancedBatchSampler(LABELS, batch_size=10, num_batches=4, within_class="replace", seed=seed)
    assert sampler.epoch_indices(epoch).tolist() == reference.class_then_sample_draws(LABELS.tolist(), seed, epoch, 40)


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=20), st.floats(-3, 3))
def test_probabilities_are_the_oracle(counts, q):
    found = class_probabilities(counts, q=q)
    np.testing.assert_allclose(found, reference.class_probabilities(counts, q), rtol=1e-12)
    assert abs(found.sum() - 1) < 1e-12


def test_no_exponent_overflows():
    assert class_probabilities([10**9, 1], q=1000).tolist() == [1, 0]
    assert class_probabilities([10**9, 1], q=-1000).tolist() == [0, 1]
    assert class_probabilities([7, 7, 7], q=0.3).tolist() == [1 / 3] * 3


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, -1.0])
@pytest.mark.parametrize("within_class", ["cycle", "replace"])
def test_class_frequencies(q, within_class):
    sampler = ClassBalancedBatchSampler(LABELS, batch_size=100, num_batches=2000, q=q, within_class=within_class)
    expected = 200_000 * class_probabilities(COUNTS, q=q)
    found = frequencies(sampler)
    if within_class == "replace":
        assert stats.chisquare(found, expected).pvalue > 1e-4
    else:  # stratified: never further than a round's quota from the share
        assert (abs(found - expected) <= 1 + expected.max() / expected.min()).all()


@pytest.mark.parametrize("class_probs", [None, [5, 1, 2, 0.5, 3]])
def test_samples_of_a_class_are_equally_likely_with_replacement(class_probs):
    sampler = ClassBalancedBatchSampler(
        LABELS, batch_size=100, num_batches=2000, class_probs=class_probs, within_class="replace"
    )
    found = np.bincount(sampler.epoch_indices(), minlength=len(LABELS))
    expected = 200_000 * (sampler.class_probs / COUNTS)[LABELS]
    assert stats.chisquare(found, expected).pvalue > 1e-4


@pytest.mark.filterwarnings("ignore:labels should be classes with several samples")  # one sample per class
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=8),
    st.sampled_from([0.0, 0.5, 1.0, -0.7]),
    st.integers(0, 2**64 - 1),
)
def test_every_sample_comes_before_any_repeats(counts, q, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    sampler = ClassBalancedBatchSampler(labels, batch_size=7, num_batches=20, q=q, seed=seed)
    drawn = np.concatenate([sampler.epoch_indices(epoch) for epoch in range(3)])
    for class_index, count in enumerate(counts):
        of_class = drawn[labels[drawn] == class_index]
        for start in range(0, len(of_class), count):
            one_pass = of_class[start : start + count]
            assert len(set(one_pass.tolist())) == len(one_pass)


def test_each_class_once_a_round():
    sampler = ClassBalancedBatchSampler(LABELS, batch_size=5)
    assert all(sorted(LABELS[batch]) == [0, 1, 2, 3, 4] for batch in sampler)


def test_labels_of_many_kinds_draw_the_same():
    wanted = ClassBalancedBatchSampler(LABELS, batch_size=8)[3]
    names = np.array(["ant", "bee", "cat", "dog", "eel"])[LABELS]
    data = TensorDataset(torch.zeros(83, 1), torch.tensor(LABELS))
    for labels in (
        LABELS.tolist(),
        torch.tensor(LABELS),
        LABELS[::-1][::-1],
        names,
        names.tolist(),
        data,
        Subset(data, range(83)),
    ):
        assert ClassBalancedBatchSampler(labels, batch_size=8)[3] == wanted
    assert ClassBalancedBatchSampler(names, batch_size=8).class_counts == ClassCounts(
        COUNTS, names=["ant", "bee", "cat", "dog", "eel"]
    )


def test_left_out_classes():
    sampler = ClassBalancedBatchSampler(LABELS, batch_size=10, class_probs=[0, 3, 0, 1, 0], num_batches=40)
    assert frequencies(sampler).tolist() == [0, 300, 0, 100, 0]
    gap = [0, 0, 3, 3, 3]
    sampler = ClassBalancedBatchSampler(gap, batch_size=2, empty="ignore")
    assert sampler.class_probs.tolist() == [0.5, 0, 0, 0.5]
    sampler = ClassBalancedBatchSampler(gap, batch_size=2, class_probs=[1, 1, 1, 1], empty="ignore")
    assert sampler.class_probs.tolist() == [0.5, 0, 0, 0.5]
    assert ClassBalancedBatchSampler(gap, batch_size=2, class_probs=[1, 0, 0, 1]).class_probs.tolist() == [
        0.5,
        0,
        0,
        0.5,
    ]


def test_probabilities_of_many_kinds_draw_the_same():
    wanted = ClassBalancedBatchSampler(LABELS, batch_size=8, class_probs=[1, 2, 3, 4, 5])[3]
    five = torch.arange(1, 6)
    for probs in (np.arange(1, 6), five, five.float().requires_grad_(), five.bfloat16(), tuple(range(1, 6))):
        assert ClassBalancedBatchSampler(LABELS, batch_size=8, class_probs=probs)[3] == wanted
        np.testing.assert_allclose(ClassBalancedSampler(LABELS, class_probs=probs).class_probs, np.arange(1, 6) / 15)
    quotas = StratifiedBatchSampler(LABELS, batch_size=15, class_probs=five.float())[0]
    assert np.bincount(LABELS[quotas]).tolist() == [1, 2, 3, 4, 5]


def test_one_class_and_one_sample():
    assert list(ClassBalancedBatchSampler([0], batch_size=1)) == [[0]]
    assert ClassBalancedBatchSampler([0], batch_size=3, num_batches=1)[0] == [0, 0, 0]
    assert sorted(ClassBalancedBatchSampler([0] * 9, batch_size=9)[0]) == list(range(9))


@pytest.mark.parametrize(
    ("labels", "keywords", "error", "text"),
    [
        (
            [0, 1],
            {"class_probs": [1, float("nan")]},
            ValueError,
            "class_probs must be finite and >= 0, got nan for class 1",
        ),
        ([0, 1], {"class_probs": [1, -0.5]}, ValueError, "class_probs must be finite and >= 0, got -0.5 for class 1"),
        (
            [0, 1],
            {"class_probs": [float("inf"), 1]},
            ValueError,
            "class_probs must be finite and >= 0, got inf for class 0",
        ),
        ([0, 1], {"class_probs": [0, 0]}, ValueError, "class_probs must have a positive entry, got 2 zeros"),
        (
            [0, 1],
            {"class_probs": [1, 1], "q": 0.5},
            ValueError,
            "q must be left out when class_probs is given, got q=0.5",
        ),
        (
            [0, 1],
            {"class_probs": [[1, 1]]},
            ValueError,
            r"class_probs must have one entry per class \(2\), got shape \(1, 2\)",
        ),
        (
            [0, 2],
            {"class_probs": [1, 1, 1]},
            ValueError,
            "must be 0 for a class without samples, got 0.33.* for class 1",
        ),
        (
            [0, 1],
            {"class_probs": [1, 1e-9]},
            ValueError,
            r"class_probs must be 0 or >= 6.0e-8 of their sum with within_class='cycle' .* pass within_class='replace'",
        ),
        ([0, 2], {}, ValueError, r"class_counts must be >= 1 in every class, got 0 for class '1' \(index 1\)"),
        ([0, 2], {"empty": "skip"}, ValueError, "empty must be one of error, ignore, got 'skip'"),
        ([0, -1], {}, ValueError, r"labels must be >= 0, got -1 at position 1"),
        (
            [0, 1, 2],
            {"class_probs": [1, 1]},
            ValueError,
            r"labels must lie in \[0, 2\), the classes that class_probs is for, got 2 at position 2; .* or correct",
        ),
        (
            ["cat", "dog", "owl"],
            {"class_probs": [1, 1]},
            ValueError,
            r"labels must be of as many classes as class_probs is for \(2\), got 3 different strings; pass class_probs",
        ),
        (
            ["cat", "dog"],
            {"class_probs": [1, 1, 1]},
            ValueError,
            r"as class_probs is for \(3\), got 2 different strings",
        ),
        ([0, 1], {"class_probs": []}, ValueError, "class_probs must have one entry per class, got none"),
        (
            [0, 1],
            {"class_probs": np.ma.array([1, 1], mask=[0, 1])},
            ValueError,
            "class_probs must have no masked entry, got 1, the first at position 1",
        ),
        ([0, 1], {"within_class": np.array(["cycle", "replace"])}, TypeError, "within_class must be .*, got array"),
        ([0, 2**40], {}, ValueError, "labels must be < 16777216, got 1099511627776; number the classes"),
        ([0.0, 1.0], {}, TypeError, "labels must be integers or strings, got dtype float64"),
        ([], {}, ValueError, "labels must hold at least one sample, got 0"),
        ([0, 1], {"class_probs": "ab"}, TypeError, "class_probs must be numbers, one per class, got 'ab'"),
        ([0, 1], {"q": "0.5"}, TypeError, r"q must be a number, got '0\.5'"),
        ([0, 1], {"q": float("nan")}, ValueError, "q must be finite, got nan; 0 is class-balanced"),
        ([0, 1], {"within_class": "shuffle"}, ValueError, "within_class must be one of cycle, replace, got 'shuffle'"),
        (
            DistributedSampler([0, 1], 1, 0),
            {},
            TypeError,
            "got a torch DistributedSampler; .*use_distributed_sampler=False",
        ),
    ],
)
def test_refused(labels, keywords, error, text):
    with pytest.raises(error, match=text):
        ClassBalancedBatchSampler(labels, batch_size=1, **keywords)


def test_probabilities_are_read_only():
    """A pickled sampler is built from them again."""
    for kind in (ClassBalancedBatchSampler, StratifiedBatchSampler):
        for keywords in ({"q": 0.5}, {"class_probs": np.ones(len(COUNTS))}):
            sampler = kind(LABELS, batch_size=4, **keywords)
            with pytest.raises(ValueError, match="read-only"):
                sampler.class_probs[0] = 0
            assert pickle.loads(pickle.dumps(sampler))[0] == sampler[0]
