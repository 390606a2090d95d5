"""The same wrong input to every sampler that takes it: each answers with argument, rule and value; none is built."""

import numpy as np
import pytest

from lt_fast.sampling import (
    ClassBalancedBatchSampler,
    ClassBalancedSampler,
    ConfusionCounts,
    ConfusionPairBatchSampler,
    MPerClassBatchSampler,
    MultilabelBalancedSampler,
    RepeatFactorSampler,
    ShuffledBatchSampler,
    StratifiedBatchSampler,
    WeightedRandomSampler,
    repeat_factors,
)

LABELS = np.repeat(np.arange(3), [6, 3, 1])
NAN, INF = float("nan"), float("inf")


def table(weight):
    return [[0, weight, 1], [1, 0, 1], [1, 1, 0]]


def pairs(labels=LABELS, confusion=None, **options):
    confusion = np.ones((3, 3)) if confusion is None else confusion
    return ConfusionPairBatchSampler(labels, confusion, **{"pairs_per_batch": 2, "num_batches": 3, **options})


BY_WEIGHT = {
    "weights": lambda w: WeightedRandomSampler([1, w], 2),
    "weights, distinct": lambda w: WeightedRandomSampler([1, w], 1, replacement=False),
    "class_probs, batches": lambda w: ClassBalancedBatchSampler(LABELS, batch_size=2, class_probs=[1, w, 1]),
    "class_probs, indices": lambda w: ClassBalancedSampler(LABELS, class_probs=[1, w, 1]),
    "class_probs, independent": lambda w: ClassBalancedSampler(LABELS, class_probs=[1, w, 1], within_class="replace"),
    "class_probs, strata": lambda w: StratifiedBatchSampler(LABELS, batch_size=2, class_probs=[1, w, 1]),
    "repeat_factors": lambda w: RepeatFactorSampler([1, w]),
    "confusion": lambda w: pairs(confusion=table(w)),
    "schedule, batches": lambda w: ClassBalancedBatchSampler(LABELS, batch_size=2, schedule=lambda *_: [1, w, 1]),
    "schedule, indices": lambda w: ClassBalancedSampler(LABELS, schedule=lambda *_: [1, w, 1]),
}
PLACES = {"class_probs": "for class 1", "schedule": "for class 1", "confusion": "for target 0, predicted 1"}


@pytest.mark.parametrize("weight", [NAN, INF, -INF, -1.0])
@pytest.mark.parametrize("name", BY_WEIGHT)
def test_weights_that_are_none(name, weight):
    argument = name.partition(",")[0]
    spoken = "schedule must yield .* in epoch 0: class_probs" if argument == "schedule" else argument
    place = PLACES.get(argument, "at position 1")
    text = rf"(?i){spoken} must be finite and >= 0, got {weight:.0f}(\.0)? {place}"
    with pytest.raises(ValueError, match=text):
        BY_WEIGHT[name](weight)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: WeightedRandomSampler([0, 0], 2), "weights must have a positive entry, got 2 zeros"),
        (
            lambda: WeightedRandomSampler([0, 0], 2, replacement=False),
            "weights must have a positive entry, got 2 zeros",
        ),
        (lambda: ClassBalancedSampler(LABELS, class_probs=[0] * 3), "class_probs must have a positive entry, got 3 z"),
        (
            lambda: StratifiedBatchSampler(LABELS, batch_size=2, class_probs=[0] * 3),
            "class_probs must have a positive entry, got 3 zeros",
        ),
        (
            lambda: ClassBalancedSampler(LABELS, schedule=lambda *_: [0] * 3),
            "schedule must yield .* in epoch 0: class_probs must have a positive entry, got 3 zeros",
        ),
        (lambda: RepeatFactorSampler([0, 0]), r"repeat_factors must add up to at least one draw .*, got 0\.0"),
    ],
)
def test_all_zero(build, text):
    with pytest.raises(ValueError, match=text):
        build()


def test_a_table_without_confusions_pairs_each_class_with_any_other():
    """Not an error: a run begins without confusions."""
    drawn = np.array(list(pairs(confusion=np.zeros((3, 3)), num_batches=50))).reshape(-1, 2)
    classes = LABELS[drawn]
    assert (classes[:, 0] != classes[:, 1]).all()
    assert {tuple(pair) for pair in classes} == {(a, b) for a in range(3) for b in range(3) if a != b}


@pytest.mark.parametrize(
    "build",
    [
        lambda labels: ClassBalancedBatchSampler(labels, batch_size=2),
        ClassBalancedSampler,
        lambda labels: StratifiedBatchSampler(labels, batch_size=2),
        pairs,
    ],
)
def test_an_empty_class(build):
    text = r"class_counts must be >= 1 in every class, got 0 for class '1' \(index 1\); drop the class, or pass empty="
    with pytest.raises(ValueError, match=text):
        build([0, 2])


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: ClassBalancedSampler([0, 1, -1]), r"labels must be >= 0, got -1 at position 2"),
        (lambda: StratifiedBatchSampler([0, -1], batch_size=1), r"labels must be >= 0, got -1 at position 1"),
        (
            lambda: MPerClassBatchSampler([0, -1], m=1, classes_per_batch=1),
            r"labels must be >= 0, got -1 at position 1",
        ),
        (
            lambda: pairs([0, 1, 5]),
            r"labels must lie in \[0, 3\), the classes that confusion is for, got 5 at position 2; pass confusion",
        ),
        (
            lambda: StratifiedBatchSampler([0, 1, 5], batch_size=1, class_probs=[1, 1]),
            r"labels must lie in \[0, 2\), the classes that class_probs is for, got 5 at position 2; pass class_probs",
        ),
        (lambda: repeat_factors([0, -1], 0.1), r"labels must be >= 0, got -1 at position 1"),
        (lambda: MultilabelBalancedSampler([0, 1], [-1]), r"indices must lie in \[0, 2\*\*24\), got -1"),
        (lambda: ConfusionCounts(2).update([0, 5], [0, 1]), r"target must lie in \[0, 2\), got 5 at position 1"),
        (lambda: ConfusionCounts(2).update([0, 1], [0, -1]), r"predicted must lie in \[0, 2\), got -1 at position 1"),
    ],
)
def test_a_label_out_of_range(build, text):
    with pytest.raises(ValueError, match=text):
        build()


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda size: ClassBalancedBatchSampler(LABELS, batch_size=size), "batch_size must be >= 1, got 0"),
        (lambda size: ShuffledBatchSampler(LABELS, batch_size=size), "batch_size must be >= 1, got 0"),
        (lambda size: StratifiedBatchSampler(LABELS, batch_size=size), "batch_size must be >= 1, got 0"),
        (lambda size: pairs(pairs_per_batch=size), "pairs_per_batch must be >= 1, got 0"),
        (lambda size: MPerClassBatchSampler(LABELS, m=size, classes_per_batch=1), "m must be >= 1, got 0"),
        (lambda size: MPerClassBatchSampler(LABELS, m=1, classes_per_batch=size), "classes_per_batch must be >= 1"),
    ],
)
def test_no_draw_a_batch(build, text):
    with pytest.raises(ValueError, match=text):
        build(0)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (
            lambda: ShuffledBatchSampler(LABELS, batch_size=11),
            r"batch_size must be <= the number of samples \(10\) .* 11",
        ),
        (
            lambda: WeightedRandomSampler([1.0, 1, 0], 3, replacement=False),
            r"num_samples must be <= the number of positive weights \(2\) with replacement=False, got 3; draw fewer",
        ),
        (
            lambda: MPerClassBatchSampler(LABELS, m=1, classes_per_batch=4),
            r"classes_per_batch must be <= the number of classes \(3\), got 4",
        ),
    ],
)
def test_more_than_there_are_to_pick(build, text):
    with pytest.raises(ValueError, match=text):
        build()


ROWS = np.arange(len(LABELS) + 1)
OTHERS = {  # one sampler, and those that must not take its state
    "class-balanced": [
        lambda: ClassBalancedSampler(LABELS),
        lambda: ClassBalancedSampler(LABELS[::-1]),
        lambda: ClassBalancedSampler(LABELS, q=0.5),
        lambda: ClassBalancedSampler(LABELS, num_samples=9),
    ],
    "weighted": [
        lambda: WeightedRandomSampler([1.0, 2], 2),
        lambda: WeightedRandomSampler([2.0, 1], 2),
        lambda: WeightedRandomSampler([1.0, 2], 2, replacement=False),
    ],
    "repeat factor": [lambda: RepeatFactorSampler([1.0, 2]), lambda: RepeatFactorSampler([2.0, 1])],
    "multi-label": [
        lambda: MultilabelBalancedSampler(ROWS, LABELS),
        lambda: MultilabelBalancedSampler(ROWS, LABELS[::-1]),
        lambda: MultilabelBalancedSampler(ROWS, LABELS, strategy="cycle"),
    ],
    "strata": [
        lambda: StratifiedBatchSampler(LABELS, batch_size=2),
        lambda: StratifiedBatchSampler(LABELS[::-1], batch_size=2),
        lambda: StratifiedBatchSampler(LABELS, batch_size=2, q=0.5),
    ],
    "m per class": [
        lambda: MPerClassBatchSampler(LABELS, m=2, classes_per_batch=2, num_batches=3),
        lambda: MPerClassBatchSampler(LABELS[::-1], m=2, classes_per_batch=2, num_batches=3),
        lambda: MPerClassBatchSampler(LABELS, m=4, classes_per_batch=1, num_batches=3),
    ],
    "confusion pairs": [pairs, lambda: pairs(LABELS[::-1]), lambda: pairs(temperature=2.0)],
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_state_of_another_data_set_or_setting(name):
    one, *others = OTHERS[name]
    for other in others:
        sampler, before = one(), one().state_dict()
        text = "state must come from the same data set and settings, but .* was .*, is .*; build the sampler as it was"
        with pytest.raises(ValueError, match=text):
            sampler.load_state_dict(other().state_dict())
        assert sampler.state_dict() == before
