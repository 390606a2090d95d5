"""Several threads on one sampler, on one counter and at the first use of the package: the results of one thread."""

import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from lt_fast import _rust
from lt_fast.sampling import ConfusionCounts, ConfusionPairBatchSampler, ShuffledBatchSampler
from sampling import test_every_index_sampler as by_index
from sampling import test_every_sampler as by_batch

THREADS = 4
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def together(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """Begin every call at the same moment, in a thread of its own; return what they gave, in order."""
    calls = list(calls)
    ready = threading.Barrier(len(calls))

    def begun(call: Callable[[], Any]) -> Any:
        ready.wait(60)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(begun, calls))


def plain(batches: Iterable[Any]) -> list[Any]:
    return [np.asarray(batch).tolist() for batch in batches]


SAMPLERS = {str(case): lambda case=case: by_batch.build(case, seed=3) for case in by_batch.CASES}
SAMPLERS |= {name: lambda make=make: make(seed=3) for name, make in by_index.CASES.items()}
SAMPLERS["pairs"] = lambda: ConfusionPairBatchSampler(by_batch.LABELS, np.ones((4, 4)), pairs_per_batch=5, seed=3)


@pytest.fixture(params=SAMPLERS)
def build(request):
    return SAMPLERS[request.param]


def test_batches_of_one_sampler(build):
    """Also of the samplers that keep where they were: four threads that jump about in each other's epochs."""
    sampler, alone = build(), build()
    places = [(epoch, step) for epoch in range(6) for step in range(sampler.num_batches)]
    wanted = {place: plain([alone.batch(*place)]) for place in places}
    orders = [np.random.default_rng(thread).permutation(len(places)) for thread in range(THREADS)]
    found = together(
        lambda order=order: {places[at]: plain([sampler.batch(*places[at])]) for at in order} for order in orders
    )
    assert all(each == wanted for each in found)


def test_passes_of_one_sampler_are_different_epochs(build):
    sampler, alone = build(), build()
    passes = together([lambda: [plain(sampler) for _ in range(10)]] * THREADS)
    found = [batches for each in passes for batches in each]
    wanted = [plain(alone) for _ in range(10 * THREADS)]
    assert sorted(found) == sorted(wanted)
    assert sampler.epoch == 10 * THREADS


def test_shards_and_states_of_one_sampler():
    sampler = ShuffledBatchSampler(500, batch_size=3, seed=1)
    parts = together(lambda rank=rank: plain(sampler.shard(rank, THREADS)) for rank in range(THREADS))
    whole = plain(sampler)
    assert all(part == whole[rank : 4 * len(part) : THREADS] for rank, part in enumerate(parts))
    states = together([sampler.state_dict] * THREADS)
    assert states == [sampler.state_dict()] * THREADS


@pytest.mark.parametrize("num_classes", [50, 3000])  # a matrix; the cells that are not 0
def test_no_count_of_one_counter_is_lost_or_read_half(num_classes):
    counts, size, rounds = ConfusionCounts(num_classes), 500, 40
    pairs = np.random.default_rng(0).integers(0, num_classes, (THREADS, 2, size))

    def count(target, predicted):
        other = ConfusionCounts(num_classes)
        other.update(target, predicted)
        for _ in range(rounds):
            counts.update(target, predicted)
            counts.merge(other)

    def read():
        return [int(counts.entries().counts.sum()) for _ in range(rounds)] + [counts.total]

    *_, seen = together([*(lambda two=two: count(*two) for two in pairs), read])
    assert all(total % size == 0 for total in seen)
    assert seen == sorted(seen)
    wanted = np.zeros((num_classes, num_classes), np.int64)
    for target, predicted in pairs:
        np.add.at(wanted, (target, predicted), 2 * rounds)
    assert np.array_equal(counts.matrix(), wanted)


def test_one_array_is_read_by_all():
    labels, probabilities = by_batch.LABELS.astype(np.uint32), np.full(4, 0.25)
    policy = _rust.Augmentation([(1.0, False, [[("invert", 1.0, [], False)]])], 0, 0)
    images = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), dtype=np.uint8)

    def once():
        draws = _rust.class_balanced(labels, probabilities, True, 100, 0).array(0, 0, 1, 10, 10)
        return draws.tolist(), _rust.augmented(images, np.arange(100), policy, 0, 0, 0).tolist()

    alone = once()
    assert alone[1] == (255 - images).tolist()
    assert together([once] * THREADS) == [alone] * THREADS


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_use_may_be_in_several_threads():
    program = """
import threading
from concurrent.futures import ThreadPoolExecutor
ready = threading.Barrier(4)
def first(_):
    ready.wait(60)
    from lt_fast.registry import RECIPES
    from lt_fast.sampling import ShuffledBatchSampler
    return list(RECIPES), ShuffledBatchSampler(6, batch_size=3, seed=0)[1]
with ThreadPoolExecutor(4) as pool:
    one, *others = pool.map(first, range(4))
assert "cp_mix" in one[0] and others == [one] * 3, (one, others)
"""
    run(program)


@pytest.mark.skipif(not FREE_THREADED, reason="this Python always has the lock")
def test_the_module_leaves_the_lock_off():
    program = "import sys; import lt_fast._rust, lt_fast.sampling; print(sys._is_gil_enabled())"
    assert run(program) == "False\n"
