import hashlib
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast import ClassCounts, _rust
from lt_fast.datasets import long_tailed_indices

# SHA-256 of the positions inside the classes, class after class, as little-endian int64; rand_number 0.
GOLDEN = {
    (10, 10): (20431, 500, "2b3a8656bec514c6c87236694978bc8a90f04fa51b4ed2009d2f8f336a614242"),
    (10, 50): (13996, 100, "7bb90363b243a944125b22035862d78afbc280cb2c0f509019ffc6960fd0f523"),
    (10, 100): (12406, 50, "8a54f5b6fa9722952358bc99897aa969bc20f845d0b15034e5013337df1e4ec7"),
    (10, 200): (11203, 25, "334c2d61143b39bf3cc8edb0315b5c43f5a5198ef01e8c09f99b1b060d70f545"),
    (100, 10): (19573, 50, "5906ba7310b91b5ee5a4e0b172d27f9370929d8acacd8026f44e160daa1f4834"),
    (100, 50): (12608, 10, "1bc82de2629e5cbd51d6ea8f1d70cf7986616bfecb4a8606a427fbcc1dd50c16"),
    (100, 100): (10847, 5, "f123ec136d44ab1b224fe55bb8a73ab03432d25a81975af68f26fb6777d5aca8"),
    (100, 200): (9502, 2, "36f76462dfbbe6f48cb30b5d4564fc5a84b1c1bfb4f222674a27dd2b2bba875c"),
}


def scrambled_labels(sizes, seed=0):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.Generator(np.random.PCG64(seed)).permutation(labels)


def positions_in_class(labels, indices):
    """Rank of each index among the samples of its class, without looking at how they were chosen."""
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members] = np.arange(len(members))
    return rank[indices]


@pytest.mark.parametrize("scrambled", [False, True])
@pytest.mark.parametrize(("classes", "ratio"), GOLDEN)
def test_golden_subsets(classes, ratio, scrambled):
    total, last, digest = GOLDEN[classes, ratio]
    sizes = np.full(classes, 50_000 // classes)
    labels = scrambled_labels(sizes) if scrambled else np.repeat(np.arange(classes), sizes)
    indices = long_tailed_indices(labels, imbalance_ratio=ratio)
    positions = positions_in_class(labels, indices)
    assert (len(indices), (labels[indices] == classes - 1).sum()) == (total, last)
    assert hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest() == digest


def test_golden_first_positions():
    ten, hundred = np.repeat(np.arange(10), 5000), np.repeat(np.arange(100), 500)
    found = positions_in_class(ten, long_tailed_indices(ten, counts=[5] * 10)).reshape(10, 5)
    assert found[0].tolist() == [398, 3833, 4836, 4572, 636]
    assert found[9].tolist() == [2204, 3816, 2206, 2507, 1926]
    found = positions_in_class(hundred, long_tailed_indices(hundred, counts=[5] * 100)).reshape(100, 5)
    assert found[0].tolist() == [90, 254, 283, 445, 461]
    assert found[99].tolist() == [348, 153, 363, 361, 299]


@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(1, 700), min_size=1, max_size=4))
def test_ldam_is_numpys_legacy_shuffle(seed, sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    generator, expected, start = np.random.RandomState(seed), [], 0
    for size in sizes:
        members = np.arange(start, start + size)
        generator.shuffle(members)
        expected.extend(members.tolist())
        start += size
    assert long_tailed_indices(labels, counts=sizes, seed=seed).tolist() == expected


@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    share=st.floats(0, 1),
)
def test_ldam_equals_the_reference(seed, sizes, share):
    labels = scrambled_labels(sizes, seed % 7)
    counts = [max(1, int(size * share)) for size in sizes]
    expected = reference.ldam_indices(labels.tolist(), counts, seed)
    assert long_tailed_indices(labels, counts=counts, seed=seed).tolist() == expected


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 60),
    classes=st.integers(2, 12),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    kind=st.tuples(st.sampled_from(["exp", "step", "pareto"]), st.sampled_from(["ldam", "counter"])),
)
def test_sizes_distinct_and_nested(seed, size, classes, shares, kind):
    profile, method = kind
    labels = scrambled_labels([size] * classes, seed % 5)
    wide, narrow = sorted(float(size) ** share for share in shares)
    options = {"profile": profile, "seed": seed, "method": method}
    larger = long_tailed_indices(labels, imbalance_ratio=wide, **options)
    smaller = long_tailed_indices(labels, imbalance_ratio=narrow, **options)
    assert larger.dtype == np.int64
    for ratio, found in ((wide, larger), (narrow, smaller)):
        expected = [max(n, 1) for n in reference.long_tailed_counts(size, classes, ratio, profile)]
        assert np.bincount(labels[found], minlength=classes).tolist() == expected
        assert len(set(found.tolist())) == len(found)
        assert (np.diff(labels[found]) >= 0).all()
    assert set(smaller.tolist()) <= set(larger.tolist())


def test_counter_classes_do_not_depend_on_each_other():
    labels = np.repeat([0, 1, 2], [50, 60, 70])
    found = long_tailed_indices(labels, counts=[5, 6, 7], seed=3, method="counter")
    other = np.repeat([0, 1, 2], [50, 61, 70])
    moved = long_tailed_indices(other, counts=[5, 9, 7], seed=3, method="counter")
    assert moved[:5].tolist() == found[:5].tolist()
    assert (moved[-7:] - 1).tolist() == found[-7:].tolist()
    assert long_tailed_indices(labels, counts=[5, 6, 7], seed=4, method="counter").tolist() != found.tolist()


def test_counter_takes_every_sample_alike():
    labels = np.zeros(40, dtype=np.int64)
    taken = np.zeros(40)
    for seed in range(2000):
        taken[long_tailed_indices(labels, counts=[10], seed=seed, method="counter")] += 1
    chi_square = ((taken - 500) ** 2 / (500 * 0.75)).sum() * 39 / 40
    assert chi_square < 76  # the upper 0.1 % of chi-square with 39 degrees of freedom is 72


@pytest.mark.parametrize("kind", [list, tuple, np.int32, np.uint8, "tensor", "strided"])
def test_labels_of_any_kind(kind):
    plain = scrambled_labels([9, 8, 7])
    labels = {"tensor": lambda: torch.from_numpy(plain), "strided": lambda: np.repeat(plain, 2)[::2]}.get(
        kind, lambda: plain.astype(kind) if isinstance(kind, type) and issubclass(kind, np.generic) else kind(plain)
    )()
    assert (
        long_tailed_indices(labels, imbalance_ratio=3).tolist()
        == long_tailed_indices(plain, imbalance_ratio=3).tolist()
    )


def test_counts_as_class_counts():
    labels = scrambled_labels([9, 8])
    as_list = long_tailed_indices(labels, counts=[4, 2])
    assert long_tailed_indices(labels, counts=ClassCounts([4, 2])).tolist() == as_list.tolist()


def test_unequal_classes_count_from_the_smallest():
    labels = np.repeat([0, 1], [80, 50])
    assert np.bincount(labels[long_tailed_indices(labels, imbalance_ratio=10)]).tolist() == [50, 5]


def test_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002  (to see that nobody touched it)
    long_tailed_indices(np.zeros(100, dtype=np.int64), counts=[5], seed=7)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


LABELS = [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (LABELS, {"imbalance_ratio": 0.01}, "got 0.01; did you mean 100?"),
        (LABELS, {"imbalance_ratio": 4}, "got 4 with a largest class of 3; use at most 3"),
        (LABELS, {}, "imbalance_ratio or counts must be given, exactly one of them, got neither"),
        (LABELS, {"imbalance_ratio": 2, "counts": [1, 1]}, "exactly one of them, got both"),
        (LABELS, {"counts": [1, 1, 1]}, "counts must have one entry a class (2 in labels), got 3"),
        (LABELS, {"counts": [1]}, "counts must have one entry a class (2 in labels), got 1"),
        (LABELS, {"counts": [1, 4]}, "counts must not exceed the samples there are, got 4 for class 1, which has 3"),
        (LABELS, {"counts": [1, 0]}, "counts must be >= 1 in every class, got 0 for class 1"),
        (LABELS, {"counts": [1, -1]}, "counts must be integers >= 0 and < 2**63, got -1 for class 1"),
        (LABELS, {"imbalance_ratio": 2, "method": "cui"}, "method must be 'ldam' or 'counter', got 'cui'"),
        (LABELS, {"imbalance_ratio": 2, "profile": "x"}, "profile must be 'exp', 'step' or 'pareto', got 'x'"),
        (LABELS, {"imbalance_ratio": 2, "seed": -1}, "seed must lie in [0, 2**64), got -1"),
        (LABELS, {"imbalance_ratio": 2, "seed": 2**64}, "seed must lie in [0, 2**64), got 18446744073709551616"),
        (
            LABELS,
            {"imbalance_ratio": 2, "seed": 2**32},
            "seed must be < 2**32 for method 'ldam' (NumPy's legacy generator), got 4294967296; or use method 'cou",
        ),
        ([0, -1, 1], {"imbalance_ratio": 2}, "labels must be >= 0, got -1 at position 1"),
        ([0, 0, 2, 2], {"imbalance_ratio": 2}, "got no sample of class 1; map the classes to 0..C-1 first"),
        ([0, 99], {"imbalance_ratio": 2}, "got 2 samples and a largest label of 99; map the classes"),
        ([0, 2**63 - 1], {"imbalance_ratio": 2}, "got 2 samples and a largest label of 9223372036854775807"),
        ([], {"imbalance_ratio": 2}, "labels must have at least one sample, got none"),
        ([[0, 1]], {"imbalance_ratio": 2}, "labels must be one-dimensional, got shape (1, 2)"),
    ],
)
def test_refused_values(labels, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        long_tailed_indices(labels, **options)


def test_refused_types():
    with pytest.raises(TypeError, match=re.escape("labels must be integers, got dtype float64; map the classes to")):
        long_tailed_indices([0.0, 1.0], imbalance_ratio=1)
    with pytest.raises(TypeError, match="labels must be integers, got dtype <U"):
        long_tailed_indices(["cat", "dog"], imbalance_ratio=1)
    with pytest.raises(TypeError, match=r"seed must be an integer, got 0\.5"):
        long_tailed_indices(LABELS, imbalance_ratio=1, seed=0.5)


def test_rust_refuses_other_arrays():
    with pytest.raises(TypeError):
        _rust.class_sizes(np.zeros(3, dtype=np.int32))
    with pytest.raises(TypeError, match="contiguous"):
        _rust.class_sizes(np.zeros(6, dtype=np.int64)[::2])
