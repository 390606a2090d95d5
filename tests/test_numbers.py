"""Numbers are read exactly: an integer never goes through a float, and text follows one grammar."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_fast._numbers import fraction_option, read_integer, read_number
from lt_fast._text import shown
from lt_fast.errors import UsageError


@given(st.integers(-(10**30), 10**30))
def test_an_integer_is_read_as_it_is_written(number):
    assert read_integer(number) == read_integer(str(number)) == read_integer(f" {number} ") == number
    assert read_integer(f"{number}.0") == read_integer(f"{number}00e-2") == number


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1e2", 100), ("100.0", 100), ("5.", 5), ("+5", 5), ("-0", 0), ("1.5e1", 15), ("0e999999999", 0), ("1e18", 10**18),
     (np.uint64(2**64 - 1), 2**64 - 1), (np.int8(3), 3), (2.0, 2), (float(2**53 - 1), 2**53 - 1), (np.float32(7), 7)],
)  # fmt: skip
def test_other_forms_of_an_integer(value, expected):
    read = read_integer(value)
    assert read == expected
    assert type(read) is int


@pytest.mark.parametrize(
    "text", ["", " ", "x", "1_000", "0x10", "1 0", "\u0661", "\uff15", "1e", "e5", "--5", "nan", "inf", "1,5"]
)
@pytest.mark.parametrize("read", [read_integer, read_number])
def test_text_that_is_no_number(read, text):
    with pytest.raises(ValueError, match="must be a number in decimal digits"):
        read(text)


@pytest.mark.parametrize("text", ["1.5", ".5", "1e-2", "1e-999999999", "-1e999999999"])
def test_numbers_that_are_no_integer(text):
    with pytest.raises(ValueError, match="must be an integer"):
        read_integer(text)


@pytest.mark.parametrize(
    "value",
    ["1e400", "1e999999999", pytest.param("9" * 5000, id="nines"), 2.0**53, 1e300, np.float32(2**24), np.float16(2048)],
)
def test_what_is_too_large_to_be_exact(value):
    with pytest.raises(OverflowError):
        read_integer(value)


@pytest.mark.parametrize("value", [True, np.True_, None, [5], b"5", 5j])
def test_other_types(value):
    with pytest.raises(TypeError):
        read_integer(value)
    with pytest.raises(TypeError):
        read_number(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_read_as_it_is_written(number):
    assert read_number(number) == read_number(repr(number)) == number


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("-inf"), "-1e999"])
def test_numbers_that_are_not_finite(value):
    with pytest.raises(ValueError, match="must be finite"):
        read_number(value)
    with pytest.raises(OverflowError):
        read_number("1e999")


def test_long_values_are_shown_short():
    assert shown("x" * 10**6).startswith("'xxx")
    assert len(shown("x" * 10**6)) < 100
    assert shown(10**5000) == "an integer of about 5001 digits"
    assert shown("5") == "'5'"


@pytest.mark.parametrize(
    ("text", "ends", "read"), [("0", True, 0.0), ("1", True, 1.0), ("5e-1", False, 0.5), (0.25, True, 0.25)]
)
def test_a_fraction(text, ends, read):
    assert fraction_option("--level", text, ends=ends) == read


@pytest.mark.parametrize(
    ("text", "ends"), [("0", False), ("1", False), ("1.1", True), ("-0.1", True), ("x", True), (True, True)]
)
def test_what_is_no_fraction_is_named(text, ends):
    rule = r"\[0, 1\]" if ends else r"\(0, 1\)"
    with pytest.raises(UsageError, match=rf"--level must be a number in {rule}, got .*; 0.95 is usual"):
        fraction_option("--level", text, ends=ends, hint="; 0.95 is usual")
