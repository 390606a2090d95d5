"""The checks of arguments that every module shares: what they accept, and the words of what they refuse."""

import math
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from lt_fast import _checks


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3), torch.tensor(3), torch.tensor([3])])
def test_an_integer_of_any_kind_becomes_an_int(value):
    found = _checks.integer("epochs", value, least=3, most=3)
    assert type(found) is int
    assert found == 3


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "True"),
        (np.True_, "np.True_"),
        (torch.tensor(True), "tensor(True)"),
        (3.0, "3.0"),
        (np.float32(3), "np.float32(3.0)"),
        ("3", "'3'"),
        (None, "None"),
        ([3], "[3]"),
        (Fraction(3), "Fraction(3, 1)"),
    ],
)
def test_what_is_not_an_integer(value, shown):
    with pytest.raises(TypeError, match=f"^epochs must be an integer, got {re.escape(shown)}; next$"):
        _checks.integer("epochs", value, hint="; next")


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (0, {"least": 1}, "n must be >= 1, got 0"),
        (0, {"least": 1, "most": 9}, "n must be >= 1, got 0"),
        (10, {"least": 1, "most": 9}, "n must be <= 9, got 10"),
        (10, {"most": 9}, "n must be <= 9, got 10"),
        (-1, {"least": 0, "most": 2**32 - 1}, r"n must lie in \[0, 2\*\*32\), got -1"),
        (0, {"least": 1, "most": 2**31}, "n must be >= 1, got 0"),
        (2**31 + 1, {"least": 1, "most": 2**31}, r"n must be <= 2\*\*31, got 2147483649"),
        (2**32, {"least": 0, "most": 2**32 - 1}, r"n must lie in \[0, 2\*\*32\), got 4294967296"),
    ],
)
def test_an_integer_out_of_range(value, bounds, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        _checks.integer("n", value, **bounds)


def test_an_integer_too_long_to_write_out():
    with pytest.raises(ValueError, match=r"^n must be <= 9, got an integer of about 10000 digits$"):
        _checks.integer("n", 10**9999, most=9)


def test_seeds_and_numbers_of_classes():
    assert _checks.seed(2**64 - 1) == 2**64 - 1
    assert _checks.num_classes(2**24) == 2**24
    for wrong in (-1, 2**64):
        with pytest.raises(ValueError, match=rf"^seed must lie in \[0, 2\*\*64\), got {wrong}$"):
            _checks.seed(wrong)
    with pytest.raises(ValueError, match=r"^num_classes must be <= 2\*\*24, got 16777217$"):
        _checks.num_classes(2**24 + 1)


@pytest.mark.parametrize(
    "value", [2, 2.0, np.float16(2), np.int64(2), np.array(2.0), torch.tensor(2.0), torch.tensor([2]), Fraction(2)]
)
def test_a_number_of_any_kind_becomes_a_float(value):
    found = _checks.number("scale", value, above=0)
    assert type(found) is float
    assert found == 2.0


@pytest.mark.parametrize(
    "value", [True, np.True_, torch.tensor(True), "2", None, 2j, np.complex64(2), [2.0], np.array([2.0, 3.0])]
)
def test_what_is_not_a_number(value):
    with pytest.raises(TypeError, match=r"^scale must be a number, got .*; next$"):
        _checks.number("scale", value, hint="; next")


def test_a_decimal_is_not_a_binary_number():
    with pytest.raises(TypeError, match=r"^scale must be a number, got Decimal\('2'\)$"):
        _checks.number("scale", Decimal(2))


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "rule"),
    [
        ({}, [0, -1e308], [], "be finite"),
        ({"least": 0}, [0, 5], [-1], "be finite and >= 0"),
        ({"above": 0}, [5e-324], [0, -1], "be finite and > 0"),
        ({"most": 1}, [1, -5], [1.5], "be finite and <= 1"),
        ({"below": 1}, [0.5], [1], "be finite and < 1"),
        ({"least": 0, "most": 1}, [0, 1], [-0.1, 1.1], r"lie in \[0, 1\]"),
        ({"least": 0, "below": 1}, [0], [1], r"lie in \[0, 1\)"),
        ({"above": 0, "most": 1}, [1], [0], r"lie in \(0, 1\]"),
        ({"above": 0, "below": 1}, [0.5], [0, 1], r"lie in \(0, 1\)"),
    ],
)
def test_the_ends_of_a_range(bounds, inside, outside, rule):
    assert [_checks.number("x", value, **bounds) for value in inside] == inside
    for value in [*outside, math.nan, math.inf, -math.inf, 10**400]:
        with pytest.raises(ValueError, match=f"^x must {rule}, got "):
            _checks.number("x", value, **bounds)


def test_a_choice():
    assert _checks.choice("mode", "cycle", ("cycle", "replace")) == "cycle"
    with pytest.raises(ValueError, match=r"^mode must be one of cycle, replace, got 'cycles'; did you mean 'cycle'\?$"):
        _checks.choice("mode", "cycles", ("cycle", "replace"))
    with pytest.raises(ValueError, match=r"^mode must be one of cycle, replace, got 'x'; next$"):
        _checks.choice("mode", "x", ("cycle", "replace"), hint="; next")
    for value in (None, 1, ["cycle"], np.array(["cycle"])):
        with pytest.raises(TypeError, match=r"^mode must be a string, one of cycle, replace, got "):
            _checks.choice("mode", value, ("cycle", "replace"))


def test_index_arrays():
    given = np.arange(5)
    assert _checks.index_array("rows", given) is given
    found = _checks.index_array("rows", np.arange(10, dtype=np.uint8)[::2])
    assert found.dtype == np.int64
    assert found.flags.c_contiguous
    assert _checks.index_array("rows", []).dtype == np.int64
    assert _checks.index_array("rows", torch.arange(3)).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([[1]], ValueError, r"rows must be one-dimensional, got shape \(1, 1\)"),
        (3, ValueError, r"rows must be one-dimensional, got shape \(\)"),
        ([1.0], TypeError, "rows must be integers, got dtype float64; next"),
        ([True], TypeError, "rows must be integers, got dtype bool; next"),
        (["a"], TypeError, "rows must be integers, got dtype <U1; next"),
        (np.array([0, 2**63], dtype=np.uint64), ValueError, r"rows must be < 2\*\*63, got 9223372036854775808 at p.*"),
        (np.ma.array([1, 2], mask=[0, 1]), ValueError, "rows must have no masked entry, got 1, the first at .*"),
    ],
)
def test_what_is_not_an_index_array(values, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        _checks.index_array("rows", values, hint="; next")


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_labels_out_of_range(make):
    _checks.labels_in_range("labels", make([0, 2, 1]), 3)
    _checks.labels_in_range("labels", make([]), 3)
    for labels, words in (
        ([0, 3], "3 at position 11; next"),
        ([-1, 3], "-1 at position 10; leave .* out"),
    ):
        with pytest.raises(ValueError, match=rf"^labels must lie in \[0, 3\), got {words}$"):
            _checks.labels_in_range("labels", make(labels), 3, first=10, hint="; next")
