import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from lt_fast.datasets import DATASETS, DIGITS_STATS, channel_stats, digits_lt
from lt_fast.errors import MissingExtraError, UsageError


def test_sizes():
    train, test = digits_lt(), digits_lt(train=False)
    assert train.class_counts.counts.tolist() == [150, 97, 62, 40, 26, 17, 11, 7, 4, 3]
    assert test.class_counts.counts.tolist() == [24] * 10
    assert train.images.shape == (417, 8, 8, 1)
    assert (train.images.dtype, train.labels.dtype, train.indices.dtype) == (np.uint8, np.int64, np.int64)
    assert train.classes == tuple("0123456789")


def test_pixels_and_labels_are_scikit_learns():
    source = load_digits()
    for split in (digits_lt(seed=5), digits_lt(seed=5, train=False)):
        np.testing.assert_array_equal(split.images[..., 0] / 15, source.images[split.indices])
        np.testing.assert_array_equal(split.labels, source.target[split.indices])


@settings(max_examples=15)
@given(seed=st.integers(0, 2**64 - 1), ratios=st.tuples(st.floats(1, 150), st.floats(1, 150)))
def test_disjoint_nested_and_the_test_set_fixed_by_the_seed(seed, ratios):
    narrow, wide = sorted(ratios)
    test = digits_lt(seed=seed, train=False)
    larger, smaller = digits_lt(imbalance_ratio=narrow, seed=seed), digits_lt(imbalance_ratio=wide, seed=seed)
    assert not set(test.indices) & set(larger.indices)
    assert set(smaller.indices) <= set(larger.indices)
    again = digits_lt(imbalance_ratio=wide, seed=seed, train=False)
    assert again.fingerprint == test.fingerprint
    assert again.protocol == test.protocol


def test_another_seed_is_another_split():
    assert digits_lt(seed=1).fingerprint != digits_lt(seed=0).fingerprint
    assert digits_lt(seed=1, train=False).fingerprint != digits_lt(seed=0, train=False).fingerprint
    assert digits_lt(seed=0).fingerprint == digits_lt(seed=0).fingerprint


def test_the_split_is_pinned():
    # A published result names this split; a change of the generator must not move it unnoticed.
    expected = "b7c660db9eec14f0ebdc6fb6a0789edba4c167c65d72df8699f9cb3ba97d2825"
    assert digits_lt().protocol["subset_sha256"] == expected


def test_statistics():
    mean, std = channel_stats((load_digits().images * 15).astype(np.uint8)[..., None])
    np.testing.assert_allclose((mean, std), DIGITS_STATS, atol=5e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imbalance_ratio": 0.02}, "got 0.02; did you mean 50?"),
        ({"imbalance_ratio": 151}, "got 151 with a largest class of 150; use at most 150"),
        ({"profile": "flat"}, "profile must be 'exp', 'step' or 'pareto', got 'flat'"),
        ({"seed": -1}, "seed must lie in [0, 2**64), got -1"),
        ({"seed": -1, "train": False}, "seed must lie in [0, 2**64), got -1"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        digits_lt(**options)


def test_registry():
    train, test = DATASETS["digits-lt"](imbalance_ratio=10, profile="step", seed=2)
    assert train.fingerprint == digits_lt(imbalance_ratio=10, profile="step", seed=2).fingerprint
    assert test.fingerprint == digits_lt(seed=2, train=False).fingerprint
    with pytest.raises(UsageError, match=r"data must be one of .*, got 'digits_lt'; did you mean 'digits-lt'"):
        DATASETS["digits_lt"]
    built_in = ["cifar10-lt", "cifar100-lt", "digits-lt", "imagenet-lt", "inaturalist-2018", "photographs", "places-lt"]
    assert sorted(DATASETS) == built_in


def test_without_scikit_learn(monkeypatch):
    monkeypatch.delitem(sys.modules, "sklearn.datasets")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    message = "digits_lt needs scikit-learn, which is not installed; run: pip install 'lt-fast[train]'"
    with pytest.raises(MissingExtraError, match=re.escape(message)):
        digits_lt()


def test_the_package_needs_numpy_and_torch_only():
    code = (
        "import sys, lt_fast.datasets\n"
        "print([name for name in ('sklearn', 'torchvision', 'PIL', 'matplotlib') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
