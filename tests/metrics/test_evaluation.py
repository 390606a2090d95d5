"""The whole report: keys, groups, JSON, and each number against the reference."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from lt_fast import ClassCounts, metrics


def draw(seed, rows, num_classes):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, num_classes)), generator.integers(0, num_classes, rows)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 25), st.integers(1, 6))
def test_equals_the_reference_and_is_json(seed, rows, num_classes):
    logits, labels = draw(seed, rows, num_classes)
    train = np.random.default_rng(seed).choice([0, 5, 19, 20, 100, 101, 900], num_classes)
    train[0] = 300
    report = metrics.evaluate(logits, labels, train)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    by_class = reference.class_scores(logits.tolist(), labels.tolist(), num_classes)
    probabilities = [reference.softmax(row) for row in logits.tolist()]
    assert report["balanced_acc"] == pytest.approx(reference.mean_present([row[0] for row in by_class]))
    assert report["ece15"] == pytest.approx(reference.calibration_error(probabilities, labels.tolist(), 15))
    masks = {"many": train > 100, "medium": (train >= 20) & (train <= 100), "few": train < 20}
    for group, mask in masks.items():
        inside = np.flatnonzero(mask)
        expected = reference.mean_present([by_class[c][0] for c in inside])
        recall = report[f"{group}_recall"]
        assert recall is None if expected is None else recall == pytest.approx(expected)
        assert report[f"{group}_classes"] == len(inside)
        assert report[f"{group}_images"] == np.isin(labels, inside).sum()
    for c, row in enumerate(report["per_class"]):
        wanted = dict(zip(("recall", "precision", "f1", "n_test"), by_class[c], strict=True))
        wanted |= {"name": str(c), "n_train": int(train[c])}
        assert {
            key: pytest.approx(value) if isinstance(value, float) else value for key, value in wanted.items()
        } == row


def test_keys_are_stable():
    report = metrics.evaluate(*draw(0, 10, 3), [200, 50, 5])
    singles = {"balanced_acc", "ece15", "macro_f1", "nll", "top1", "worst_class_recall"}
    groups = {f"{g}_{k}" for g in ("many", "medium", "few") for k in ("recall", "classes", "images")}
    assert set(report) == singles | groups | {"classes", "images", "per_class"}


def test_an_empty_group_is_none_not_zero():
    report = metrics.evaluate(np.eye(2), [0, 1], [5000, 500])
    assert (report["few_recall"], report["few_classes"], report["medium_recall"]) == (None, 0, None)
    assert report["many_recall"] == 1.0


def test_a_class_without_test_samples_does_not_count_as_zero():
    report = metrics.evaluate(np.eye(3)[[0, 1]], [0, 1], [500, 400, 300])
    assert report["many_recall"] == report["balanced_acc"] == report["worst_class_recall"] == 1.0
    assert report["per_class"][2]["recall"] is None


def test_other_bins_and_thresholds():
    logits, labels = draw(3, 30, 3)
    report = metrics.evaluate(logits, labels, [50, 10, 5], bins=7, groups=(20, 8))
    probabilities = [reference.softmax(row) for row in logits.tolist()]
    assert report["ece7"] == pytest.approx(reference.calibration_error(probabilities, labels.tolist(), 7))
    assert [report[f"{g}_classes"] for g in ("many", "medium", "few")] == [1, 1, 1]


def test_names_come_from_the_counts():
    report = metrics.evaluate(torch.eye(2), torch.tensor([0, 1]), ClassCounts([9, 3], names=["peat", "loess"]))
    assert [row["name"] for row in report["per_class"]] == ["peat", "loess"]


@pytest.mark.parametrize(
    ("counts", "kwargs", "message"),
    [
        ([5, 5, 5], {}, r"train_counts must have one entry a column of logits \(2\), got 3"),
        ([5, -1], {}, r"counts must be whole numbers >= 0 and < 2\*\*63, got -1 for class 1"),
        ([5, 5], {"groups": (20, 100)}, r"few must be <= many \+ 1, got few=100, many=20"),
        ([5, 5], {"bins": 0}, "bins must be >= 1, got 0"),
    ],
)
def test_bad_settings_are_named(counts, kwargs, message):
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(np.eye(2), [0, 1], counts, **kwargs)


@pytest.mark.parametrize(("classes", "train"), [(3, [200, 50, 5]), (2, [5000, 500])])
def test_group_recalls_are_those_of_the_whole_evaluation(classes, train):
    logits, labels = draw(1, 40, classes)
    report = metrics.evaluate(logits, labels, train)
    expected = {name: report[name] for name in ("top1", "many_recall", "medium_recall", "few_recall")}
    assert metrics.group_recalls(logits, labels, train) == expected
