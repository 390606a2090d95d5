"""Labels of every width give the same batches, and narrow ones are not widened: memory per label, as for a billion."""

import tracemalloc

import numpy as np
import pytest

from lt_fast import ClassCounts, _checks, counts, sampling
from lt_fast.labels import labels_of

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [40, 30, 20, 9, 1]))
WIDTHS = ["u1", "i1", "u2", "i2", "u4", "i4", "i8", "u8", ">i2", ">i8"]
BY_CLASS = {
    "class-balanced": lambda labels: sampling.ClassBalancedBatchSampler(labels, batch_size=8),
    "independent": lambda labels: sampling.ClassBalancedBatchSampler(labels, batch_size=8, within_class="replace"),
    "strata": lambda labels: sampling.StratifiedBatchSampler(labels, batch_size=8),
    "m per class": lambda labels: sampling.MPerClassBatchSampler(labels, m=2, classes_per_batch=3),
    "pairs": lambda labels: sampling.ConfusionPairBatchSampler(
        labels, np.ones((int(labels.max()) + 1,) * 2), pairs_per_batch=4
    ),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", BY_CLASS)
def test_the_width_of_the_labels_changes_nothing(kind, width):
    wanted, sampler = BY_CLASS[kind](LABELS), BY_CLASS[kind](LABELS.astype(width))
    assert [*sampler] == [*wanted]
    assert sampler.state_dict() == wanted.state_dict()
    assert sampler.class_counts == wanted.class_counts
    assert labels_of(LABELS.astype(width)).dtype == np.int64


@pytest.mark.parametrize("width", WIDTHS)
def test_labels_are_counted_in_parts(width, monkeypatch):
    monkeypatch.setattr(counts, "_AT_ONCE", 7)
    assert ClassCounts.from_labels(LABELS.astype(width), 6).counts.tolist() == [40, 30, 20, 9, 1, 0]
    assert ClassCounts.from_dataset(LABELS.astype(width)).counts.tolist() == [40, 30, 20, 9, 1]


@pytest.mark.parametrize("width", ["u1", "i2", "i8"])
@pytest.mark.parametrize("kind", BY_CLASS)
def test_no_sampler_takes_more_than_four_bytes_per_label_beside_its_table(kind, width, monkeypatch):
    samples = 2 * _checks._MANY
    labels = np.arange(samples, dtype=np.int64).__mod__(100).astype(width)
    monkeypatch.setattr(counts, "_AT_ONCE", 1 << 16)
    tracemalloc.start()
    try:
        sampler = BY_CLASS[kind](labels)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The table of 4 bytes per label is Rust's, which is not traced. A few hundred kB are the parts and Python's own.
    assert kept < 4.3 * samples
    assert peak < 4.5 * samples
    assert len(sampler) > 0


def test_a_wrong_one_of_many_labels_is_named():
    labels = np.zeros(_checks._MANY + 5, np.int8)
    labels[-2] = 3
    with pytest.raises(ValueError, match=rf"labels must lie in \[0, 3\), got 3 at position {len(labels) - 2}"):
        ClassCounts.from_labels(labels, 3)
    labels[-3] = -4
    for call in (ClassCounts.from_labels, BY_CLASS["class-balanced"]):
        with pytest.raises(ValueError, match=f"labels must be >= 0, got -4 at position {len(labels) - 3}"):
            call(labels)
