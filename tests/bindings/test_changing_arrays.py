"""Arrays that another thread rewrites while Rust reads them: a value or an error, and no lost counts."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from lt_fast import _rust

N = 20_000
GOOD = np.random.default_rng(0).integers(0, 100, N)


@contextmanager
def rewritten(array: np.ndarray, wild: int) -> Iterator[None]:
    """Have another thread write ``wild`` into the array and the old values again, all the time."""
    good, stop = array.copy(), threading.Event()

    def rewrite() -> None:
        while not stop.is_set():
            array[:] = wild
            array[:] = good

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def outcomes(call: Callable[[], object], seconds: float = 0.3) -> Counter[str]:
    seen: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end or seen.total() < 20:
        try:
            call()
            seen["value"] += 1
        except (ValueError, IndexError) as error:
            seen[type(error).__name__] += 1
    return seen


@pytest.mark.parametrize("wild", [2**40, -1, 3])
@pytest.mark.parametrize("num_classes", [100, 5000])
def test_no_count_is_lost(num_classes, wild):
    target, predicted, counts = GOOD.copy(), GOOD.copy(), _rust.ConfusionCounts(num_classes)
    with rewritten(target, wild):
        seen = outcomes(lambda: counts.update(target, predicted))
    assert counts.total == seen["value"] * N == counts.entries()[2].sum()


@pytest.mark.parametrize("wild", [2**40, -1])
def test_no_merged_count_is_lost(wild):
    cells, ones, counts = GOOD.copy(), np.ones(N, np.int64), _rust.ConfusionCounts(100)
    with rewritten(ones, wild):
        outcomes(lambda: counts.merge(cells, cells, ones))
    assert counts.total == counts.entries()[2].sum()


@pytest.mark.parametrize("wild", [99, 50, 2**32 - 1])
def test_draws_stay_inside_whatever_the_labels_were(wild):
    labels = GOOD.astype(np.uint32)

    def build() -> None:
        draws = _rust.class_balanced(labels, np.full(100, 0.01), False, N, 0).array(0, 0, 1, 100, 64)
        assert 0 <= draws.min() <= draws.max() < N

    with rewritten(labels, wild):
        outcomes(build)


@pytest.mark.parametrize("wild", [2**40, -1, 0])
def test_a_subset_of_changing_labels(wild):
    labels, counts = GOOD.copy(), np.full(100, 50)

    def build() -> None:
        kept = _rust.long_tailed_indices(labels, counts, 0, "counter")
        assert len(np.unique(kept)) == 5000
        assert 0 <= kept.min() <= kept.max() < N

    with rewritten(labels, wild):
        outcomes(build)


CROPPING = (0, 0, 0, 0, False)


@pytest.mark.parametrize("name", ["index", "positions", "partner", "other positions"])
@pytest.mark.parametrize("wild", [2**62, -5])
def test_a_batch_of_changing_indices(name, wild):
    arrays = {each: np.arange(256) for each in ("index", "positions", "partner", "other positions")}
    images, out = np.zeros((256, 8, 8, 3), np.uint8), np.empty((256, 3, 8, 8), np.float32)
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    index, positions, *others = arrays.values()
    mix = (*others, np.full(256, 0.5, np.float32), None)
    with rewritten(arrays[name], wild):
        outcomes(lambda: _rust.fill_batch(images, index, positions, CROPPING, zeros, ones, mix, out))


def test_a_batch_of_changing_boxes():
    boxes = np.zeros((256, 4), np.int32)
    images, out = np.zeros((256, 8, 8, 3), np.uint8), np.empty((256, 3, 8, 8), np.float32)
    rows, zeros, ones = np.arange(256), np.zeros(3, np.float32), np.ones(3, np.float32)
    mix = (rows, rows, np.full(256, 0.5, np.float32), boxes)
    with rewritten(boxes.reshape(-1), 2**30):
        outcomes(lambda: _rust.fill_batch(images, rows, rows, CROPPING, zeros, ones, mix, out))


def test_one_array_to_write_to_in_two_calls_is_an_error():
    images = np.zeros((1, 32, 32, 3), np.uint8)
    out = np.empty((9000, 3, 32, 32), np.float32)
    arguments = (
        np.zeros(9000, np.int64),
        np.zeros(9000, np.int64),
        CROPPING,
        np.zeros(3, np.float32),
        np.ones(3, np.float32),
    )
    seen: list[object] = []

    def fill() -> None:
        try:
            seen.append(_rust.fill_batch(images, *arguments, None, out))
        except ValueError as error:
            seen.append(str(error))

    threads = [threading.Thread(target=fill) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = "out must not be written to by another call at the same time, nor share memory with images"
    assert set(seen) <= {None, text}
    assert None in seen


@pytest.mark.parametrize("kind", ["read-only", "shared", "unaligned"])
def test_what_cannot_be_written_to(kind):
    room = np.zeros(4 * 12 + 1, np.uint8)
    images = room[:12].reshape(1, 2, 2, 3)
    out = np.zeros((1, 3, 2, 2), np.float32)
    if kind == "read-only":
        out.flags.writeable = False
    if kind == "shared":
        out = room[:48].view(np.float32).reshape(1, 3, 2, 2)
    if kind == "unaligned":
        out = np.zeros(49, np.uint8)[1:].view(np.float32).reshape(1, 3, 2, 2)
    text = {"read-only": "out must be writeable", "shared": "nor share memory", "unaligned": "out must be aligned"}
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    with pytest.raises(ValueError, match=text[kind]):
        _rust.fill_batch(images, np.zeros(1, int), np.zeros(1, int), CROPPING, zeros, ones, None, out)
