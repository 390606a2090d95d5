"""Long calls notice a signal: what its handler raises ends the call, soon and without a trace."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest

from lt_fast import _rust

MANY = 1 << 28
CLASSES = np.array([0, 0, 0, 1, 1, 2], np.uint32)
PROBS, EQUAL = np.array([0.5, 0.3, 0.2]), np.ones(3)
INDPTR = np.arange(7)


class StopError(Exception):
    """What the handler raises."""


def _raise(*_: object) -> None:
    raise StopError


def drawn(build: Callable[[int], _rust.Draws]) -> Callable[[], Callable[[], object]]:
    """Return a call for all draws of an epoch as one batch."""

    def prepare() -> Callable[[], object]:
        sampler = build(MANY)
        return lambda: sampler.array(0, 0, 1, 1, MANY)

    return prepare


def once(call: Callable[[], object]) -> Callable[[], Callable[[], object]]:
    return lambda: call


def of_ones(count: int, call: Callable[[np.ndarray], object]) -> Callable[[], Callable[[], object]]:
    """Return a call on an array that is made before."""

    def prepare() -> Callable[[], object]:
        ones = np.ones(count)
        return lambda: call(ones)

    return prepare


def long_list() -> Callable[[], object]:
    numbers = np.full(1 << 24, 1 << 40)
    return lambda: _rust.integers(numbers)


def counting(num_classes: int, count: int) -> Callable[[], object]:
    counts, classes = _rust.ConfusionCounts(num_classes), np.zeros(count, np.int64)
    return lambda: counts.update(classes, classes)


def merging(num_classes: int, count: int) -> Callable[[], object]:
    counts, classes = _rust.ConfusionCounts(num_classes), np.zeros(count, np.int64)
    return lambda: counts.merge(classes, classes, classes)


def blurring() -> _rust.Augmentation:
    return _rust.Augmentation([(1.0, False, [[("gaussian_blur", 1.0, [3.0], False)]])] * 5, 0, 0)


def batch() -> Callable[[], object]:
    count, side = 30_000, 32
    images, out = np.zeros((1, side, side, 3), np.uint8), np.empty((count, 3, side, side), np.float32)
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    index, positions, policy = np.zeros(count, np.int64), np.zeros(count, np.int64), blurring()
    return lambda: _rust.fill_batch(images, index, positions, (0, 0, 0, 0, False), zeros, ones, None, out, policy)


def augmenting() -> Callable[[], object]:
    images, policy = np.zeros((30_000, 32, 32, 3), np.uint8), blurring()
    return lambda: _rust.augmented(images, np.zeros(30_000, np.int64), policy, 0, 0, 0)


def seek() -> Callable[[], object]:
    sampler = _rust.least_sampled(INDPTR, CLASSES, 3, 1 << 50, 0)
    return lambda: sampler.array(0, 1 << 45, 1, 1, 1)


def lists() -> Callable[[], object]:
    sampler = _rust.shuffled(1 << 27, 1 << 27, 0)
    return lambda: sampler.lists(0, 0, 1, 1 << 19, 256)


def distinct() -> Callable[[], object]:
    count = 8_000_000
    sampler = _rust.weighted(np.random.default_rng(0).random(count), False, count // 2, 0)
    return lambda: sampler.array(0, 0, 1, 1, 1)


CALLS = {
    "uniform": once(lambda: _rust.uniform(0, 1, 0, 0, MANY)),
    "beta": once(lambda: _rust.beta(0.7, 0.7, 0, 1, 0, 0, MANY)),
    "permutation": once(lambda: _rust.permutation(MANY, 0, 1, 0)),
    "placements": once(lambda: _rust.placements(np.zeros(1 << 26, np.int64), (0, 0, 0, 4, True))),
    "integers": long_list,
    "long_tailed_counts": once(lambda: _rust.long_tailed_counts(10**9, 1 << 24, 100.0, "pareto")),
    "class_sizes": once(lambda: _rust.class_sizes(np.zeros(MANY, np.int64))),
    "ldam": once(lambda: _rust.long_tailed_indices(np.zeros(1 << 25, np.int64), np.array([9]), 0, "ldam")),
    "counter": once(lambda: _rust.long_tailed_indices(np.zeros(1 << 25, np.int64), np.array([1 << 25]), 0, "counter")),
    "parse_image_list": once(lambda: _rust.parse_image_list(b"folder/image.jpg 1\n" * (1 << 23))),
    "labels": once(lambda: _rust.class_balanced(np.zeros(MANY, np.uint32), np.ones(1), True, 1, 0)),
    "label rows": once(lambda: _rust.least_sampled(np.zeros(MANY, np.int64), np.zeros(0, np.uint32), 1, 1, 0)),
    "weights": of_ones(1 << 24, lambda ones: _rust.weighted(ones, True, 1, 0)),
    "factors": of_ones(1 << 24, lambda ones: _rust.repeat_factor(ones, 1 << 24, 0)),
    "counts in a table": lambda: counting(3, MANY),
    "counts in sparse rows": lambda: counting(3000, MANY),
    "merged in a table": lambda: merging(3, MANY),
    "fill_batch": batch,
    "augmented": augmenting,
    "seek": seek,
    "lists": lists,
    "distinct": distinct,
    "shuffled": drawn(lambda draws: _rust.shuffled(150_000_000, draws, 0)),
    "shuffled in memory": drawn(lambda draws: _rust.shuffled(50_000, draws, 0)),
    "equal classes": drawn(lambda draws: _rust.class_balanced(CLASSES, EQUAL, False, draws, 0)),
    "classes": drawn(lambda draws: _rust.class_balanced(CLASSES, PROBS, False, draws, 0)),
    "rounds of classes": drawn(lambda draws: _rust.class_balanced(CLASSES, PROBS, True, draws, 0)),
    "stratified": drawn(lambda draws: _rust.stratified(CLASSES, PROBS, 10, draws, 0)),
    "weighted": drawn(lambda draws: _rust.weighted(np.arange(1.0, 99), True, draws, 0)),
    "m per class": drawn(lambda draws: _rust.m_per_class(CLASSES, 3, 2, 2, draws, 0)),
    "multilabel": drawn(lambda draws: _rust.multilabel(INDPTR, CLASSES, PROBS, True, draws, 0)),
    "least sampled": drawn(lambda draws: _rust.least_sampled(INDPTR, CLASSES, 3, draws, 0)),
    "pairs": drawn(
        lambda draws: _rust.confusion_pairs(CLASSES, 3, 1.0, 0.1, draws, 0, INDPTR[:3], INDPTR[1:4] % 3, np.ones(3))
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_long_call_ends_soon_after_a_signal(name):
    """Seconds of the processor, not of the clock: the machine may be busy."""
    call = CALLS[name]()
    before = signal.signal(signal.SIGPROF, _raise)
    began = time.thread_time()
    try:
        signal.setitimer(signal.ITIMER_PROF, 0.05)
        with pytest.raises(StopError):
            call()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    # Half a second more than the 0.2 s that are promised is the system's: pages are handed out and taken back.
    assert time.thread_time() - began < 0.05 + 0.2 + 0.5


def test_an_interrupted_update_counts_nothing():
    counts, classes = _rust.ConfusionCounts(3), np.zeros(MANY, np.int64)
    before = signal.signal(signal.SIGPROF, _raise)
    try:
        signal.setitimer(signal.ITIMER_PROF, 0.05)
        with pytest.raises(StopError):
            counts.update(classes, classes)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert counts.total == 0
    assert len(counts.entries()[0]) == 0


def test_a_handler_may_use_what_the_call_uses():
    """No lock is held while a handler runs: it would wait for ever."""
    sampler, counts, seen = _rust.shuffled(50_000, MANY, 0), _rust.ConfusionCounts(3), []
    classes = np.zeros(MANY, np.int64)

    def handler(*_: object) -> None:
        seen.append((sampler.array(0, 0, 1, 1, 3).tolist(), counts.total))
        raise StopError

    before = signal.signal(signal.SIGPROF, handler)
    try:
        for call in (lambda: sampler.array(0, 0, 1, 1, MANY), lambda: counts.update(classes, classes)):
            signal.setitimer(signal.ITIMER_PROF, 0.05)
            with pytest.raises(StopError):
                call()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert len(seen) == 2


FIRST_CALL = """
import os, signal, threading
from lt_fast import _rust
sampler = _rust.shuffled(150_000_000, 150_000_000, 0)
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    sampler.array(0, 0, 1, 1, 150_000_000)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.slow
def test_ctrl_c_in_the_first_call_of_a_process_is_a_keyboard_interrupt():
    run = subprocess.run([sys.executable, "-c", FIRST_CALL], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr, run.returncode) == ("interrupted\n", "", 0)


LOADED = """
import numpy
from lt_fast import _rust
assert hasattr(numpy._core.multiarray, "_RUST_NUMPY_BORROW_CHECKING_API")
"""


@pytest.mark.slow
def test_numpy_s_interface_is_fetched_by_the_import():
    """Its first use would import modules, and panic when Ctrl-C comes just then."""
    run = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, env=os.environ, check=False)
    assert (run.stderr, run.returncode) == ("", 0)
