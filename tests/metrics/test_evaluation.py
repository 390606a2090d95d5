"""The whole report: keys, groups, JSON, and each number against the reference."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from lt_fast import ClassCounts, metrics
from lt_fast.metrics import inputs


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
        ([5, -1], {}, r"counts must be integers >= 0 and < 2\*\*63, got -1 for class 1"),
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
    parts = [metrics.GroupRecalls(train), metrics.GroupRecalls(train)]
    for start in range(0, 40, 7):
        parts[start % 2].add(torch.from_numpy(logits[start : start + 7]), labels[start : start + 7])
    parts[0].counted += parts[1].counted
    assert parts[0].result() == expected


@pytest.mark.parametrize("block", [1, 7, 40, 119])
def test_rows_are_scored_in_blocks_with_the_same_results(monkeypatch, block):
    logits, labels = draw(2, 40, 3)
    whole = metrics.evaluate(logits, labels, [200, 50, 5], bins=4)
    monkeypatch.setattr(inputs, "_BLOCK", block)
    assert metrics.evaluate(logits, labels, [200, 50, 5], bins=4) == whole


def test_nothing_counted_has_no_recall():
    with pytest.raises(ValueError, match="counted must hold a sample, got none; call add first"):
        metrics.GroupRecalls([5, 5]).result()
    with pytest.raises(ValueError, match=r"train_counts must have one entry a column of logits \(2\), got 3"):
        metrics.GroupRecalls([5, 5, 5]).add(np.eye(2), [0, 1])


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 25), st.integers(2, 6))
def test_a_class_masked_by_minus_infinity_is_as_if_it_were_not_there(seed, rows, num_classes):
    logits, labels = draw(seed, rows, num_classes)
    logits = logits - 10  # below 0: a row of two logits can happen to be a distribution, which is refused
    masked = np.concatenate([logits, np.full((rows, 1), -np.inf)], axis=1)
    report, bare = (
        metrics.evaluate(masked, labels, [5] * (num_classes + 1)),
        metrics.evaluate(logits, labels, [5] * num_classes),
    )
    for name in ("top1", "nll", "ece15", "balanced_acc", "macro_f1", "few_recall"):
        assert report[name] == pytest.approx(bare[name], abs=1e-12)
    assert report["nll"] == pytest.approx(
        float(torch.nn.functional.cross_entropy(torch.tensor(masked), torch.tensor(labels)))
    )


def test_a_row_whose_own_class_is_masked_is_wrong_and_infinitely_unlikely():
    logits, labels = np.array([[1.0, -np.inf, 0.0], [0.0, 2.0, -np.inf]]), [1, 1]
    report = metrics.evaluate(logits, labels, [9, 9, 9])
    assert (report["top1"], report["nll"]) == (0.5, np.inf)
    assert 0 < report["ece15"] < 1


def test_logits_as_far_apart_as_floats_go():
    assert metrics.negative_log_likelihood(np.array([[1.7e308, -1.7e308]]), [0]) == 0.0


PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])


@pytest.mark.parametrize("metric", ["nll", "ece15"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_probabilities_given_for_logits_are_refused(metric, dtype):
    probabilities = torch.tensor(PROBABILITIES, dtype=dtype)
    message = r"got rows >= 0 that all sum to 1, which are probabilities; pass the logits, or log\(probabilities\)"
    with pytest.raises(ValueError, match=message):
        metrics.METRICS[metric](probabilities, [0, 1])
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(probabilities, [0, 1], [5, 5, 5])
    followed = metrics.negative_log_likelihood(probabilities.log(), [0, 1])
    assert followed == pytest.approx(-np.log([0.7, 0.8]).mean(), rel=1e-2)


def test_accuracies_take_any_scores():
    assert (
        metrics.top1_accuracy(PROBABILITIES, [0, 1])
        == metrics.group_recalls(PROBABILITIES, [0, 1], [5] * 3)["top1"]
        == 1
    )


def test_logits_given_for_probabilities_are_refused():
    with pytest.raises(
        ValueError, match=r"probabilities must be >= 0 with rows that sum to 1, .* pass softmax\(logits\)"
    ):
        metrics.expected_calibration_error(np.log(PROBABILITIES), [0, 1])


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: metrics.evaluate(np.eye(2), [0, 1], [5, 5], bins=10**18),
            ValueError,
            "bins must be <= 1000000, got 1000",
        ),
        (
            lambda: metrics.bootstrap_interval([1, 0], resamples=10**18),
            ValueError,
            "resamples must be <= 1000000, got 1000",
        ),
        (
            lambda: metrics.bootstrap_interval([1, 0], resamples=True),
            TypeError,
            "resamples must be an integer, got True",
        ),
        (
            lambda: metrics.bootstrap_interval([1, 0], seed=2**64),
            ValueError,
            r"seed must lie in \[0, 2\*\*64\), got",
        ),
        (lambda: metrics.bootstrap_interval([1, 0], seed=0.5), TypeError, r"seed must be an integer, got 0.5"),
    ],
)
def test_extremes_are_refused_before_anything_is_drawn(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
