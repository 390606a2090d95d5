import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast import ClassCounts
from lt_fast.datasets import long_tailed_counts

CIFAR10 = {
    10: [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500],
    50: [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100],
    100: [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50],
    200: [5000, 2775, 1540, 854, 474, 263, 146, 81, 45, 25],
}
GROUPS_OF_CIFAR100 = {10: (69, 31, 0), 50: (41, 41, 18), 100: (35, 35, 30), 200: (30, 31, 39)}


@pytest.mark.parametrize("ratio", CIFAR10)
def test_published_cifar10_lists(ratio):
    assert long_tailed_counts(5000, 10, imbalance_ratio=ratio).tolist() == CIFAR10[ratio]


@pytest.mark.parametrize(("ratio", "total"), [(10, 19573), (50, 12608), (100, 10847), (200, 9502)])
def test_published_cifar100_totals_and_groups(ratio, total):
    counts = ClassCounts(long_tailed_counts(500, 100, imbalance_ratio=ratio))
    assert counts.total == total
    assert tuple(int(mask.sum()) for mask in counts.groups().values()) == GROUPS_OF_CIFAR100[ratio]


@pytest.mark.parametrize(
    ("largest", "classes", "totals"),
    [(5000, 10, [27500, 25500, 25250, 25125]), (500, 100, [27500, 25500, 25250, 25100])],
)
def test_published_step_totals(largest, classes, totals):
    found = [long_tailed_counts(largest, classes, imbalance_ratio=r, profile="step").sum() for r in (10, 50, 100, 200)]
    assert found == totals


def test_pareto_is_fitted_to_imagenet_lt():
    counts = long_tailed_counts(1280, 1000, imbalance_ratio=256, profile="pareto")
    assert (counts.dtype, counts.shape) == (np.int64, (1000,))
    assert (counts[0], counts[-1], counts.sum()) == (1280, 5, 115_846)
    groups = ClassCounts(counts).groups()
    # ImageNet-LT itself has 385, 479 and 136 classes with many, medium and few images.
    assert abs(groups["many"].sum() - 385) <= 10
    assert abs(groups["few"].sum() - 136) <= 10


def test_pareto_beside_the_published_counts():
    published = next(Path(__file__).resolve().parents[3].glob("*/data/class_counts/imagenet_lt.json"), None)
    if published is None:
        pytest.skip("needs ImageNet-LT's counts beside the clone")
    theirs = np.sort(json.loads(published.read_text()))[::-1]
    ours = long_tailed_counts(1280, 1000, imbalance_ratio=256, profile="pareto")
    moved = np.abs(ours - theirs).sum() / 2  # an image in another class is missing in one and too many in the other
    assert moved / theirs.sum() < 0.0151
    assert np.abs(np.log(ours / theirs)).max() < 0.25


@given(
    largest=st.integers(1, 100_000),
    classes=st.integers(2, 150),
    share=st.floats(0, 1),
    profile=st.sampled_from(["exp", "step", "pareto"]),
)
def test_equals_the_reference(largest, classes, share, profile):
    ratio = float(largest) ** share
    expected = reference.long_tailed_counts(largest, classes, ratio, profile)
    found = long_tailed_counts(largest, classes, imbalance_ratio=ratio, profile=profile).tolist()
    assert found == [max(count, 1) for count in expected]


def test_a_product_an_ulp_short_of_one_keeps_a_sample():
    assert reference.long_tailed_counts(49, 2, 49, "exp") == [49, 0]
    assert long_tailed_counts(49, 2, imbalance_ratio=49).tolist() == [49, 1]


def test_one_class():
    assert long_tailed_counts(7, 1, imbalance_ratio=1).tolist() == [7]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"imbalance_ratio": 0.01},
            "imbalance_ratio must be >= 1 (largest over smallest class), got 0.01; did you mean 100?",
        ),
        ({"imbalance_ratio": 0.02}, "got 0.02; did you mean 50?"),
        ({"imbalance_ratio": 0}, "imbalance_ratio must be >= 1 (largest over smallest class), got 0"),
        ({"imbalance_ratio": -3}, "imbalance_ratio must be >= 1 (largest over smallest class), got -3"),
        ({"imbalance_ratio": float("nan")}, "and finite, got nan"),
        ({"imbalance_ratio": float("inf")}, "and finite, got inf"),
        ({"imbalance_ratio": float("-inf")}, "and finite, got -inf"),
        ({"imbalance_ratio": 10**400}, "and finite, got inf"),
        ({"imbalance_ratio": 200}, "got 200 with a largest class of 100; use at most 100"),
        ({"imbalance_ratio": 1e300, "profile": "step"}, "use at most 100"),
        ({"imbalance_ratio": 2, "profile": "linear"}, "profile must be 'exp', 'step' or 'pareto', got 'linear'"),
        ({"imbalance_ratio": 2, "largest": 0}, "largest must lie in [1, 2**63), got 0"),
        ({"imbalance_ratio": 2, "largest": 2**63}, "largest must lie in [1, 2**63), got 9223372036854775808"),
        ({"imbalance_ratio": 2, "num_classes": 0}, "num_classes must be >= 1, got 0"),
        ({"imbalance_ratio": 2, "num_classes": -1}, "num_classes must be >= 1, got -1"),
        ({"imbalance_ratio": 2, "num_classes": 2**31}, "num_classes must be <= 2**24, got 2147483648"),
        ({"imbalance_ratio": 2, "num_classes": 1}, "num_classes must be >= 2 for an imbalance_ratio of 2, got 1"),
    ],
)
def test_refused_values(arguments, message):
    arguments = {"largest": 100, "num_classes": 10, **arguments}
    with pytest.raises(ValueError, match=re.escape(message)):
        long_tailed_counts(arguments.pop("largest"), arguments.pop("num_classes"), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((100.5, 10, 2), "largest must be an integer, got 100.5"),
        ((100, "10", 2), "num_classes must be an integer, got '10'"),
        ((100, 10, "100"), "imbalance_ratio must be a number, got '100'"),
        ((100, 10, None), "imbalance_ratio must be a number, got None"),
    ],
)
def test_refused_types(arguments, message):
    largest, classes, ratio = arguments
    with pytest.raises(TypeError, match=re.escape(message)):
        long_tailed_counts(largest, classes, imbalance_ratio=ratio)
