"""The Rust module's plain draws against the oracle, and every wrong argument as a Python exception."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from lt_fast import _rust

WORD = st.integers(0, 2**64 - 1)


@given(WORD, WORD, WORD, st.integers(0, 2**64 - 40), st.integers(0, 30))
def test_uniform_is_the_oracle(seed, stream, epoch, start, n):
    wanted = [reference.uniform(seed, stream, epoch, start + i) for i in range(n)]
    assert _rust.uniform(seed, stream, epoch, start, n).tolist() == wanted


@given(WORD, st.integers(0, 50), st.integers(0, 50))
def test_draws_depend_on_their_position_alone(seed, start, n):
    for draw in (
        lambda start, n: _rust.uniform(seed, 1, 2, start, n),
        lambda start, n: _rust.beta(0.4, 1.7, seed, 1, 2, start, n),
    ):
        assert np.array_equal(draw(start, n), draw(0, 100)[start : start + n])


def test_dtypes_and_ranges():
    uniform = _rust.uniform(0, _rust.STREAM_AUGMENT, 0, 0, 10_000)
    assert uniform.dtype == np.float64
    assert (uniform >= 0).all()
    assert (uniform < 1).all()
    beta = _rust.beta(0.2, 0.2, 0, _rust.STREAM_MIX, 0, 0, 10_000)
    assert beta.dtype == np.float64
    assert abs(beta.mean() - 0.5) < 0.02
    assert abs(beta.var() - 0.25 / 1.4) < 0.005


def test_beta_1_1_is_the_uniform_draw():
    assert np.array_equal(_rust.beta(1, 1, 3, 4, 5, 6, 7), _rust.uniform(3, 4, 5, 6, 7))


def test_streams_are_distinct():
    streams = [getattr(_rust, name) for name in dir(_rust) if name.startswith("STREAM_")]
    assert len(streams) == len(set(streams)) >= 8


@pytest.mark.parametrize("n", [0, 1, 2, 63, 64, 65, 1023, 1024, 5000])
def test_permutation_is_a_bijection(n):
    order = _rust.permutation(n, 3, 1, 4)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(n))
    assert n < 10 or not np.array_equal(order, _rust.permutation(n, 3, 1, 5))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: _rust.uniform(-1, 0, 0, 0, 1), OverflowError, "seed|negative"),
        (lambda: _rust.uniform(2**64, 0, 0, 0, 1), OverflowError, "too (big|large)|convert"),
        (lambda: _rust.uniform(0, 0, 0, 0, -(2**63)), OverflowError, "negative"),
        (lambda: _rust.uniform(0, 0, 0, 0, 1.5), TypeError, "'n'"),
        (lambda: _rust.uniform(0, 0, 0, 2**64 - 1, 2), ValueError, r"start \+ n must be < 2\*\*64"),
        (lambda: _rust.uniform(0, 0, 0, 0, 2**63), MemoryError, "cannot allocate 9223372036854775808 elements"),
        (lambda: _rust.beta(0, 1, 0, 0, 0, 0, 1), ValueError, "alpha must be finite and > 0, got 0"),
        (lambda: _rust.beta(1, -1.5, 0, 0, 0, 0, 1), ValueError, "beta must be finite and > 0, got -1.5"),
        (lambda: _rust.beta(float("nan"), 1, 0, 0, 0, 0, 1), ValueError, "alpha must be finite and > 0, got NaN"),
        (lambda: _rust.permutation(2**64 - 1, 0, 0, 0), ValueError, r"n must be <= 2\*\*63, got 18446744073709551615"),
        (lambda: _rust.permutation(2**63, 0, 0, 0), MemoryError, "cannot allocate"),
        (lambda: _rust.shuffled(0, 1, 0), ValueError, "must hold at least 1 sample, got 0"),
    ],
)
def test_wrong_arguments(call, error, text):
    with pytest.raises(error, match=text):
        call()


def balanced(labels, probs, cycle=True):
    return _rust.class_balanced(np.asarray(labels), np.asarray(probs), cycle, 100, 0)


def test_class_balanced_takes_any_layout():
    labels = np.array([0, 1, 0, 1, 2, 2, 1, 0], dtype=np.uint32)
    probs = np.ones(3)
    wanted = balanced(labels, probs).array(0, 0, 1, 10, 10)
    assert wanted.dtype == np.int64
    spread = np.repeat(labels, 3)[::3]
    assert not spread.flags.c_contiguous
    assert np.array_equal(balanced(spread, np.repeat(probs, 2)[::2]).array(0, 0, 1, 10, 10), wanted)
    assert np.array_equal(balanced(labels[::-1][::-1], probs).array(0, 0, 1, 10, 10), wanted)


@pytest.mark.parametrize(
    ("labels", "probs", "error", "text"),
    [
        (np.array([0, 1]), np.ones(2), TypeError, "labels"),
        (np.array([0.0, 1.0]), np.ones(2), TypeError, "labels"),
        (np.zeros((2, 2), np.uint32), np.ones(2), TypeError, "labels"),
        (np.zeros(2, np.uint32), np.ones(2, np.float32), TypeError, "class_probs"),
        (np.zeros(0, np.uint32), np.ones(2), ValueError, "labels must hold 1 to"),
        (np.array([0, 2**32 - 1], np.uint32), np.ones(2), ValueError, r"\[0, 2\), got 4294967295 at position 1"),
        (np.zeros(2, np.uint32), np.ones(0), ValueError, r"\[0, 0\), got 0 at position 0"),
        (np.zeros(9, np.uint8)[1:].view(np.uint32), np.ones(1), ValueError, "labels must be aligned in memory; pass a"),
        (np.zeros(2, np.uint32), np.array([np.inf]), ValueError, "finite and >= 0, got inf for class 0"),
    ],
)
def test_class_balanced_refuses(labels, probs, error, text):
    with pytest.raises(error, match=text):
        balanced(labels, probs)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((0, 0, 1, 1, 0), ValueError, "batch_size and step must be >= 1, got 0 and 1"),
        ((0, 0, 0, 1, 8), ValueError, "batch_size and step must be >= 1, got 8 and 0"),
        ((0, 13, 1, 1, 8), IndexError, r"batches must lie in \[0, 13\), got first=13"),
        ((0, 2**64 - 1, 2**64 - 1, 2**64 - 1, 2**64 - 1), IndexError, "batches must lie in"),
        ((2**64 - 1, 0, 1, 1, 8), ValueError, r"epoch must be < 92233720368547758 \(2\*\*63 draws"),
        ((-1, 0, 1, 1, 8), OverflowError, "negative"),
    ],
)
@pytest.mark.parametrize("method", ["array", "lists"])
def test_draws_refuse(method, arguments, error, text):
    with pytest.raises(error, match=text):
        getattr(balanced(np.zeros(2, np.uint32), np.ones(1)), method)(*arguments)


def test_lists_hold_python_integers():
    lists = balanced(np.zeros(300, np.uint32), np.ones(1)).lists(0, 0, 1, 13, 8)
    assert [len(batch) for batch in lists] == [8] * 12 + [4]
    assert all(type(index) is int for batch in lists for index in batch)
    assert balanced(np.zeros(3, np.uint32), np.ones(1)).lists(0, 0, 1, 0, 8) == []
