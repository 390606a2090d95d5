"""``ClassBalancedStream`` by itself: the distribution, bounds, epochs, states and refusals."""

import collections
import copy
import itertools
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lt_fast import ClassCounts
from lt_fast.sampling import ClassBalancedStream, class_probabilities
from lt_fast.sampling.stream_factors import EstimatedFactors, Rounding, key_of

pytestmark = pytest.mark.filterwarnings("ignore:each of 2 workers and ranks gives every sample:UserWarning")
COUNTS = [600, 200, 60, 20]
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), COUNTS)).tolist()
STREAM = list(enumerate(LABELS))
FACTORS = np.sum(COUNTS) / 4 / np.array(COUNTS)  # for q=0 at rate 1


def stream(source=STREAM, counts=COUNTS, **options):
    return ClassBalancedStream(source, counts, **{"buffer_size": 200, **options})


def by_class(samples, num_classes=4):
    return np.bincount([label for _, label in samples], minlength=num_classes)


class Recorded:
    """A stream that counts how often it was read."""

    def __init__(self, samples=STREAM, fail_at=None):
        self.samples, self.fail_at, self.read = samples, fail_at, 0

    def __iter__(self):
        for at, sample in enumerate(self.samples):
            if at == self.fail_at:
                raise OSError("connection reset")
            self.read += 1
            yield sample


class IndexedSamples:
    def __len__(self):
        return len(STREAM)

    def __getitem__(self, at):
        return STREAM[at]


class Endless:
    def __iter__(self):
        return itertools.cycle(STREAM)


class Stateful(Recorded):
    """A stream that continues where a state says."""

    def __init__(self):
        super().__init__()
        self.at = 0

    def __iter__(self):
        start, self.at = self.at, 0
        for at in range(start, len(self.samples)):
            self.read += 1
            self.at = at + 1
            yield self.samples[at]
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


# --- the distribution -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, -0.5])
@pytest.mark.parametrize("rate", [1.0, 0.3, 2.0, "under", "over"])
def test_each_class_is_given_as_often_as_its_probability_says(q, rate):
    balanced = stream(q=q, rate=rate, buffer_size=2000)
    drawn = by_class(balanced)
    probs = class_probabilities(COUNTS, q=q)
    np.testing.assert_allclose(balanced.class_probs, probs)
    assert (abs(drawn - balanced.repeat_factors * COUNTS) < 1 + 1e-9).all()
    scale = {"under": 1 / max(balanced.repeat_factors), "over": 1 / min(balanced.repeat_factors)}.get(rate, 1)
    assert scale == pytest.approx(1)
    if rate not in ("under", "over"):
        assert abs(drawn.sum() - rate * len(STREAM)) < 4


def test_under_repeats_nothing_and_over_leaves_nothing_out():
    given = collections.Counter(number for number, _ in stream(rate="under"))
    assert set(given.values()) == {1}
    assert len({number for number, _ in stream(rate="over", buffer_size=1000)}) == len(STREAM)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=120),
    factors=st.lists(st.floats(0, 7), min_size=6, max_size=6),
    key=st.integers(0, 2**64 - 1),
)
def test_after_any_number_of_samples_a_class_is_off_by_less_than_one(labels, factors, key):
    rounding, copies, expected = Rounding(key, [0.0] * 6), np.zeros(6), np.zeros(6)
    for at, label in enumerate(labels):
        found = rounding.copies(label, factors[label], 0, at)
        assert found in {math.floor(factors[label]), math.ceil(factors[label])}
        copies[label] += found
        expected[label] += factors[label]
        assert (abs(copies - expected) < 1 + 1e-9).all()


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(1, 60), min_size=1, max_size=6), q=st.floats(-1, 1), seed=st.integers(0, 2**64 - 1))
def test_the_drawn_distribution_is_within_its_bounds(counts, q, seed):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts)).tolist()
    balanced = ClassBalancedStream(list(enumerate(labels)), counts, q=q, seed=seed, buffer_size=2000)
    drawn = by_class(balanced, len(counts))
    assert (abs(drawn - sum(counts) * class_probabilities(counts, q=q)) < 1 + 1e-9).all()


def test_all_samples_of_a_class_are_given_equally_often_on_average():
    epochs, balanced = 400, stream([(at, int(at >= 6)) for at in range(8)], [6, 2])
    given = np.zeros(8)
    for _ in range(epochs):
        given += np.bincount([number for number, _ in balanced], minlength=8)
    for number, factor in enumerate(np.repeat([4 / 6, 2.0], [6, 2])):
        share = factor % 1  # of the epochs that have one more
        assert abs(given[number] / epochs - factor) <= 5 * np.sqrt(share * (1 - share) / epochs) + 1e-9


def test_a_sample_is_given_its_factor_rounded_down_or_up():
    given = collections.Counter(number for number, _ in stream())
    for number, label in STREAM:
        assert given[number] in (int(FACTORS[label]), int(FACTORS[label]) + 1)


def test_rounding_is_not_periodic():
    """Every third sample of a class would leave out two thirds of what comes in a fixed order."""
    kept = [number for number, _ in stream([(at, 0) for at in range(300)], [1], rate=1 / 3, buffer_size=1)]
    assert len(set(np.diff(kept))) > 2
    assert max(np.diff(kept)) <= 5


def test_class_probs_in_any_form_and_a_bound_of_the_factors():
    counts = ClassCounts(COUNTS, names=("cat", "dog", "owl", "yak"))
    balanced = stream(counts=counts, class_probs={"yak": 0, "dog": 1, "cat": 2, "owl": 1}, buffer_size=1000)
    np.testing.assert_allclose(balanced.class_probs, [0.5, 0.25, 0.25, 0])
    assert by_class(balanced)[3] == 0
    bounded = stream(max_repeats=2.0)
    np.testing.assert_allclose(bounded.repeat_factors, np.minimum(FACTORS, 2))
    prior = np.minimum(FACTORS, 2) * COUNTS
    np.testing.assert_allclose(bounded.class_probs, prior / prior.sum())
    assert (abs(by_class(bounded) - prior) < 1 + 1e-9).all()


@pytest.mark.parametrize("empty_last", [False, True])
def test_an_empty_class_gets_nothing(empty_last):
    counts = [*COUNTS, 0]
    with pytest.raises(ValueError, match=r"class_counts must be >= 1 in every class, got 0 for class '4'"):
        stream(counts=counts)
    balanced = stream(counts=counts, empty="ignore", class_probs=[1, 1, 1, 1, 7] if empty_last else None)
    np.testing.assert_allclose(balanced.class_probs, [0.25] * 4 + [0])
    assert by_class(balanced, 5)[4] == 0
    with pytest.raises(ValueError, match=r"class_counts must be those of the stream, got 0 for class 4 and a sample"):
        list(stream([*STREAM, ("new", 4)], counts, empty="ignore"))


# --- estimated counts -------------------------------------------------------------------------------------------------


def test_estimated_counts_reach_the_distribution_that_is_asked_for():
    longer = STREAM * 5
    for q in (0.0, 0.5):
        drawn = by_class(ClassBalancedStream(longer, num_classes=4, q=q, buffer_size=2000))
        np.testing.assert_allclose(drawn / drawn.sum(), class_probabilities(COUNTS, q=q), atol=0.04)
    drawn = by_class(ClassBalancedStream(longer, num_classes=4, class_probs=[1, 1, 0, 2], buffer_size=2000))
    np.testing.assert_allclose(drawn / drawn.sum(), [0.25, 0.25, 0, 0.5], atol=0.04)


def test_an_estimated_factor_is_that_of_the_counts_so_far():
    factors, seen = EstimatedFactors(3, 0.5, None, 0.7), np.zeros(3, np.int64)
    for label in [0, 0, 1, 0, 2, 0, 1, 0, 0]:
        seen[label] += 1
        probs = np.sqrt(seen) / np.sqrt(seen).sum()
        assert factors.of(label) == pytest.approx(0.7 * probs[label] / (seen[label] / seen.sum()))
    assert factors.state() == seen.tolist()
    again = EstimatedFactors(3, 0.5, None, 0.7, None, factors.state())
    assert again.of(1) == pytest.approx(factors.of(1), rel=1e-14)


def test_the_first_estimate_of_a_rare_class_is_right_on_average():
    generator, found = np.random.default_rng(3), []
    for _ in range(300):
        labels = (generator.random(400) < 0.1).astype(int).tolist()
        factors = EstimatedFactors(2, 0.0, np.array([0.5, 0.5]), 1.0)
        of_rare = [factor for label, factor in ((label, factors.of(label)) for label in labels) if label]
        found.append(of_rare[0])
    # 0.5 / 0.1; the first occurrence has a deviation of 0.5 * sqrt(0.9) / 0.1.
    assert abs(np.mean(found) - 5) < 5 * 4.75 / np.sqrt(300)


def test_a_bound_holds_for_estimated_factors_too():
    given = collections.Counter(
        number for number, _ in ClassBalancedStream(STREAM, num_classes=4, max_repeats=3.0, buffer_size=100)
    )
    assert max(given.values()) == 3


# --- order, memory, epochs --------------------------------------------------------------------------------------------


def test_memory_and_reading_ahead_are_bounded_by_the_buffer():
    source = Recorded([(at, 0) for at in range(5000)])
    held = iter(stream(source, [1], buffer_size=100))
    for number in range(1, 1001):
        next(held)
        assert source.read - number <= 100


def test_copies_are_spread_over_their_block_and_no_further():
    order = [number for number, _ in stream(buffer_size=300)]
    places = collections.defaultdict(list)
    for at, number in enumerate(order):
        places[number].append(at)
    spans = [max(at) - min(at) for at in places.values() if len(at) > 5]
    assert len(spans) == 20
    assert max(spans) < 300 + max(FACTORS)
    assert min(spans) > 30


def test_a_buffer_of_one_keeps_the_order():
    balanced = stream([(at, 0) for at in range(50)], [1], buffer_size=1)
    assert [number for number, _ in balanced] == list(range(50))


def test_a_small_buffer_is_named():
    with pytest.warns(
        UserWarning, match=r"is given 11 times in a row, more than a tenth of buffer_size=50; pass buffer"
    ):
        stream(buffer_size=50)


def test_epochs_differ_and_repeat():
    balanced = stream()
    first, second = list(balanced), list(balanced)
    assert first != second
    assert balanced.epoch == 2
    balanced.set_epoch(1)
    assert list(balanced) == second
    assert list(stream()) == first
    assert list(stream(seed=1)) != first


def test_an_iterator_without_a_sample_uses_no_epoch():
    balanced = stream()
    iter(balanced)
    assert balanced.state_dict()["epoch"] == balanced.epoch == 0
    assert list(balanced) == list(stream())


def test_the_epoch_is_passed_on():
    class WithEpoch(Recorded):
        def set_epoch(self, epoch):
            self.samples = [(epoch, 0)]

    balanced = ClassBalancedStream(WithEpoch(), [1])
    assert [list(balanced) for _ in range(3)] == [[(0, 0)], [(1, 0)], [(2, 0)]]


@pytest.mark.parametrize("source", [STREAM, Endless()], ids=["finite", "infinite"])
def test_an_epoch_of_a_given_length(source):
    balanced = stream(source, num_samples=2500)
    assert len(balanced) == 2500
    first, second = list(balanced), list(balanced)
    assert len(first) == len(second) == 2500
    assert first != second
    assert abs(by_class(first) - 625).max() < 200  # the buffer: what was read, and not given at the end


def test_an_infinite_stream_without_a_length_goes_on():
    assert len(list(itertools.islice(stream(Endless()), 3000))) == 3000


def test_a_transform_that_ends_early_ends_no_epoch():
    with pytest.raises(RuntimeError, match="generator raised StopIteration"):
        list(stream(transform=lambda _: next(iter([]))))


def test_estimated_powers_stay_within_their_range():
    for q in (-1.0, 16.0):
        given = list(ClassBalancedStream(STREAM, num_classes=4, q=q, buffer_size=2000))
        assert len(given) > 100
    for q in (-1.1, 17, 1000, -1000):
        with pytest.raises(ValueError, match=r"q must lie in \[-1, 16\] where class_counts are estimated, got"):
            ClassBalancedStream(STREAM, num_classes=4, q=q)


def test_a_transform_is_called_once_per_copy():
    calls = itertools.count()
    changed = list(stream(transform=lambda sample: (next(calls), *sample)))
    assert [call for call, *_ in changed] == list(range(len(changed)))
    assert [tuple(sample) for _, *sample in changed] == list(stream())


# --- states -----------------------------------------------------------------------------------------------------------

KINDS = {
    "counts": {},
    "estimated": {"counts": None, "num_classes": 4},
    "a length": {"num_samples": 1500},
    "round robin": {"split": "round_robin"},
}


@pytest.mark.parametrize("source", [lambda: STREAM, Stateful], ids=["from the beginning", "stateful"])
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("ranks", [1, 2])
def test_resume_in_the_middle(source, options, ranks):
    def make():
        made = stream(source(), **options)
        return made if ranks == 1 else made.shard(1, ranks)

    whole = make()
    first, second = list(whole), list(whole)
    for cut in (1, 199, 200, 201, 411, len(first) - 1, len(first)):
        begun = make()
        part = list(itertools.islice(begun, cut))
        state = json.loads(json.dumps(begun.state_dict()))  # states travel as JSON
        resumed = make()
        resumed.load_state_dict(state)
        assert part + list(resumed) == first, cut
        assert list(resumed) == second


def test_a_stateful_stream_is_not_read_from_its_beginning():
    begun = stream(Stateful())
    first = list(itertools.islice(begun, 700))
    resumed = stream(Stateful())
    resumed.load_state_dict(begun.state_dict())
    assert first + list(resumed) == list(stream())
    assert resumed.stream.read < 600


def test_a_state_has_no_samples_and_is_of_its_settings():
    balanced = stream()
    list(itertools.islice(balanced, 300))
    state = balanced.state_dict()
    assert state["position"] == 300
    assert state["block"]["given"] <= 300
    assert len(json.dumps(state)) < 1000
    for changed, message in (
        ({"seed": 3}, r"seed was 0, is 3"),
        ({"buffer_size": 201}, r"buffer_size was 200, is 201"),
        ({"q": 0.5}, r"class_probs was '\w+', is '\w+'"),
        ({"counts": [600, 200, 60, 21]}, r"class_counts was"),
    ):
        with pytest.raises(
            ValueError, match=f"state must come from the same settings and the same worker, .*{message}"
        ):
            stream(**changed).load_state_dict(state)
    with pytest.raises(ValueError, match=r"part was 0, is 1; parts was 1, is 2; make the stream"):
        stream().shard(1, 2).load_state_dict(state)
    with pytest.raises(TypeError, match="state must be what state_dict"):
        stream().load_state_dict(3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state.pop("block"), "got damaged data: 'block'"),
        (lambda state: state["block"].pop("read"), "got damaged data: .*missing 1 required"),
        (lambda state: state["block"].update(leads=[0.0]), r"must have one number per class \(4\), got 1 and 0"),
        (lambda state: state.update(position=0), r"must lie in its block, got 0"),
        (lambda state: state.update(block=None), r"must lie in its block, got 300 and the block None"),
        (lambda state: state["block"].update(read=-1), r"state\['block'\]\['read'\] must .*got -1"),
        (lambda state: state["block"].update(number=2**70), r"state\['block'\]\['number'\] must "),
        (lambda state: state["block"].update(leads=None), r"\['block'\] must have lists of numbers, got None and \[\]"),
        (lambda state: state["block"].update(leads=[math.nan] * 4), r"\['leads'\]\[0\] must .*, got nan; start a new"),
        (lambda state: state["block"].update(leads=[0, 99.0, 0, 0]), r"\['leads'\]\[1\] must .*, got 99"),
        (lambda state: state["block"].update(leads=["a"] * 4), r"\['leads'\]\[0\] must be a number, got 'a'"),
        (lambda state: state["block"].update(seen=[-1] * 4), r"\['seen'\]\[0\] must .*, got -1; start a new epoch"),
    ],
)
def test_a_damaged_state_is_refused(damage, message):
    balanced = stream()
    list(itertools.islice(balanced, 300))
    state = copy.deepcopy(balanced.state_dict())
    damage(state)
    with pytest.raises((TypeError, ValueError), match=message):
        stream().load_state_dict(state)


def test_a_state_of_a_longer_stream_is_refused():
    """Not an epoch that ends in silence."""
    begun = stream()
    list(itertools.islice(begun, 700))
    state = begun.state_dict()
    shorter = stream(STREAM[:300])
    shorter.load_state_dict(state)
    with pytest.raises(
        ValueError, match=r"must give the \d+ samples that this worker had read .*, got 300; make the st"
    ):
        list(shorter)
    lossy = stream(Stateful())
    list(itertools.islice(lossy, 860))
    resumed = stream(Stateful())
    resumed.stream.samples = STREAM[: lossy.state_dict()["block"]["read"] + 5]
    resumed.load_state_dict(lossy.state_dict())
    with pytest.warns(
        UserWarning, match=r"gives fewer samples after load_state_dict .*, so that this epoch ends early"
    ):
        assert list(resumed) == []
    just_shorter = stream(STREAM[: state["block"]["read"] + 5])
    just_shorter.load_state_dict(state)
    with pytest.raises(ValueError, match=r"\['position'\] must lie in its block, samples \d+ to \d+ of .*, got 700"):
        list(just_shorter)


def test_a_state_of_a_stateful_stream_needs_one():
    begun = stream(Stateful())
    list(itertools.islice(begun, 700))
    other = stream()
    other.load_state_dict(begun.state_dict())
    with pytest.raises(ValueError, match=r"state is of a stream with load_state_dict, got a list without"):
        list(other)


def test_an_interrupted_stream_continues_where_it_was():
    whole, begun, given = list(stream()), stream(Recorded(fail_at=500)), collections.deque()
    with pytest.raises(OSError, match="connection reset"):
        given.extend(begun)  # a deque keeps what came before the error
    given = list(given)
    assert 200 <= len(given) <= 500
    repaired = stream(Recorded())
    repaired.load_state_dict(begun.state_dict())
    assert given + list(repaired) == whole


def test_copies_and_pickles_start_where_the_original_would():
    balanced = stream()
    next(iter(balanced))
    for copied in (copy.copy(balanced), pickle.loads(pickle.dumps(balanced))):
        assert copied.epoch == 1
        assert not copied.repeat_factors.flags.writeable
        assert not copied.class_probs.flags.writeable
        assert list(copied) == list(itertools.islice(_epoch(1), None))


def _epoch(number):
    balanced = stream()
    balanced.set_epoch(number)
    return balanced


# --- ranks ------------------------------------------------------------------------------------------------------------


def test_ranks_share_a_stream_that_does_not_split_itself():
    ranks = [list(stream(rate="over", split="round_robin", buffer_size=500).shard(rank, 3)) for rank in range(3)]
    numbers = [{number for number, _ in rank} for rank in ranks]
    assert sorted(itertools.chain(*numbers)) == list(range(len(STREAM)))
    assert all(number % 3 == rank for rank in range(3) for number in numbers[rank])


def test_a_list_that_no_rank_shares_is_named():
    with pytest.warns(
        UserWarning, match=r"each of 3 workers and ranks gives every sample of a list, .* 3 times as long"
    ):
        assert len(list(stream().shard(0, 3))) == len(list(stream()))
    assert len(list(stream(split="round_robin").shard(0, 3))) < len(list(stream())) / 2


def test_ranks_have_their_own_random_numbers_and_equal_lengths():
    ranks = [stream(num_samples=1001).shard(rank, 2) for rank in range(2)]
    assert [len(rank) for rank in ranks] == [500, 500]
    first, second = (list(rank) for rank in ranks)
    assert len(first) == len(second) == 500
    assert first != second
    with pytest.raises(ValueError, match=r"world_size must be <= num_samples \(3\), got 4"):
        stream(num_samples=3).shard(0, 4)
    with pytest.raises(ValueError, match=r"this stream is rank 1 of 2 already; shard the original one"):
        ranks[1].shard(0, 2)
    with pytest.raises(ValueError, match=r"rank must lie in \[0, 2\), got 2"):
        stream().shard(2, 2)


def test_keys_differ():
    keys = {key_of(*parts) for parts in itertools.product(range(4), repeat=4)}
    assert len(keys) == 256
    assert all(0 <= key < 1 << 64 for key in keys)


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "label"),
    [
        (lambda number, label: (number, label), 1),
        (lambda number, label: {"x": number, "cls": str(label).encode()}, "cls"),
        (lambda number, label: {"x": number, "cls": ("cat", "dog", "owl", "yak")[label]}, "cls"),
        (lambda number, label: {"x": number, "cls": ("cat", "dog", "owl", "yak")[label].encode()}, "cls"),
        (lambda number, label: [number, np.int32(label)], lambda sample: sample[1]),
        (lambda number, label: [number, np.array(label)], -1),
    ],
)
def test_labels_in_any_form(made, label):
    counts = ClassCounts(COUNTS, names=("cat", "dog", "owl", "yak"))
    balanced = stream([made(*sample) for sample in STREAM], counts, label=label)
    assert list(balanced) == [made(*sample) for sample in stream()]


@pytest.mark.parametrize("label", [4, -1, "cat", b"\xff", 1.5, None, True])
def test_an_unknown_label_is_named_or_left_out(label):
    samples = [*STREAM[:10], ("new", label), *STREAM[10:]]
    with pytest.raises(
        ValueError, match=r"labels of the stream must be integers in \[0, 4\) .*at position 10; pass unk"
    ):
        list(stream(samples))
    given = list(stream(samples, unknown="skip"))
    assert all(sample in STREAM for sample in given)
    assert (abs(by_class(given) - FACTORS * COUNTS) < 1 + 1e-9).all()


def test_the_nearest_class_is_named():
    counts = ClassCounts(COUNTS, names=("cat", "dog", "owl", "yak"))
    with pytest.raises(ValueError, match=r"got 'dogs' at position 0; did you mean 'dog'\?"):
        list(stream([("x", "dogs")], counts))


def test_a_sample_without_its_label_is_described():
    with pytest.raises(TypeError, match=r"got 'cls' and at position 0 a dict with the keys 'x', 'y'; pass the key"):
        list(stream([{"x": 1, "y": 2}], label="cls"))
    with pytest.raises(TypeError, match=r"got 1 and at position 0 a int; pass the key"):
        list(stream([3]))
    with pytest.raises(ZeroDivisionError):  # of the user's own function
        list(stream(label=lambda _: 1 // 0))


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": 3}, "stream must be an iterable, got int$"),
        ({"source": lambda: STREAM}, "got function; pass an object whose __iter__ calls it"),
        ({"source": IndexedSamples()}, "got IndexedSamples; a data set with indices needs no stream: pass lt_fast"),
        ({"transform": 3}, "transform must be a function of a sample, got 3"),
        ({"rate": 1e300}, r"rate must be at most 1e\+06, got 1e\+300; 1 keeps the length"),
        (
            {"source": iter(STREAM)},
            "stream must be an iterable that starts anew in each epoch, got the iterator list_it",
        ),
        ({"counts": None}, "class_counts or num_classes must be given, and not both"),
        ({"num_classes": 4}, "class_counts or num_classes must be given, and not both"),
        ({"counts": None, "num_classes": 0}, "num_classes must be >= 1, got 0"),
        ({"q": 0.5, "class_probs": [1, 1, 1, 1]}, "q must be left out when class_probs is given, got q=0.5"),
        ({"class_probs": [1, 1]}, r"class_probs must have one entry per class \(4\)"),
        (
            {"counts": None, "num_classes": 4, "class_probs": [1, -1, 0, 1]},
            "class_probs must be finite and >= 0, got -1",
        ),
        ({"rate": 0}, "rate must be finite and > 0, got 0"),
        ({"rate": "upper"}, "rate must be one of under, over, got 'upper'"),
        ({"counts": None, "num_classes": 4, "rate": "over"}, "rate must be a number where class_counts are estimated"),
        ({"max_repeats": 0}, "max_repeats must be finite and > 0, got 0"),
        ({"buffer_size": 0}, "buffer_size must be >= 1, got 0"),
        ({"num_samples": 0}, "num_samples must be >= 1, got 0"),
        ({"split": "workers"}, "split must be one of source, round_robin, got 'workers'"),
        ({"unknown": "drop"}, "unknown must be one of error, skip, got 'drop'"),
        ({"seed": -1}, "seed must lie in"),
        ({"label": True}, "label must be a function, a key or a position, got True"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        stream(**options)


def test_settings_are_fixed():
    balanced = stream()
    with pytest.raises(AttributeError, match=r"buffer_size of ClassBalancedStream cannot be set; use ClassBalancedS"):
        balanced.buffer_size = 10
    with pytest.raises(AttributeError, match=r"epoch of ClassBalancedStream cannot be set; use .set_epoch"):
        balanced.epoch = 3
    with pytest.raises(TypeError, match="has no length without num_samples"):
        len(balanced)
    with pytest.raises(ValueError, match="epoch must be >= 0, got -1"):
        balanced.set_epoch(-1)
    assert repr(balanced).startswith("ClassBalancedStream(list, num_classes=4, rate=1.0, buffer_size=200, seed=0")


@pytest.mark.parametrize("source", [[], [("x", 0)] * 5], ids=["empty", "of a class without probability"])
def test_a_stream_without_a_sample_to_give_is_named(source):
    assert list(stream(source, [1, 1], class_probs=[0, 1])) == []
    with pytest.raises(
        ValueError, match=r"stream must have samples of classes with a probability, got (\d others|no sample) in one"
    ):
        list(stream(source, [1, 1], class_probs=[0, 1], num_samples=3))


def test_few_samples_at_a_low_rate_are_given_in_the_end():
    assert len(list(stream([("x", 0)], [1], rate=0.1, num_samples=2, buffer_size=3))) == 2
