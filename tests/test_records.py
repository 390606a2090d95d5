import math
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lt_fast import _files
from lt_fast._files import parse_json, read_bytes
from lt_fast.errors import DataError
from lt_fast.records import (
    FRACTION,
    LIST,
    NUMBER,
    TEXT,
    TensorRule,
    check,
    nullable,
    one_of,
    whole,
)

RULES = {"epoch": whole(1), "rows": LIST, "rows.*.loss": NUMBER, "after?.top1": FRACTION, "names.*": TEXT}
GOOD = {"epoch": 1, "rows": [{"loss": 0.5}], "after": {"top1": 1.0}, "names": {"a": "b"}}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_what_keeps_its_rules():
    check(GOOD, RULES)
    check({**GOOD, "after": None, "more": [1]}, RULES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 0}, "epoch must be an integer >= 1, got 0"),
        ({"epoch": True}, "epoch must be an integer >= 1, got true"),
        ({"epoch": 1.0}, "epoch must be an integer >= 1, got 1.0"),
        ({"epoch": 2**63}, "epoch must be an integer >= 1, got 9223372036854775808"),
        ({"rows": {}}, "rows must be a list, got {}"),
        ({"rows": [{"loss": 1}, {}]}, "rows.1.loss is missing; it must be a finite number"),
        ({"rows": [{"loss": math.nan}]}, "rows.0.loss must be a finite number, got NaN"),
        ({"rows": [{"loss": 10**400}]}, "rows.0.loss must be a finite number, got 1000"),
        ({"rows": [3]}, "rows.0 must be an object, got 3"),
        ({"after": {}}, "after.top1 is missing; it must be a number in [0, 1]"),
        ({"after": {"top1": 1.5}}, "after.top1 must be a number in [0, 1], got 1.5"),
        ({"after": []}, "after must be an object, got []"),
        ({"names": "a"}, 'names must be a list or an object, got "a"'),
        ({"names": {"a": 1}}, "names.a must be text, got 1"),
    ],
)
def test_the_first_entry_that_breaks_its_rule_is_named(change, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (compared whole)
        check(GOOD | change, RULES)
    assert str(caught.value).startswith(message)


@given(anything)
def test_whatever_is_checked_the_answer_is_yes_or_value_error(values):
    try:
        check(values, RULES)
    except ValueError as error:
        assert str(error)  # noqa: PT017
    else:
        assert values["epoch"] >= 1


def test_rules_that_are_made_of_others():
    assert nullable(FRACTION).holds(None)
    assert not nullable(FRACTION).holds(2)
    assert one_of("a", "b").holds("a")
    assert not one_of("a", "b").holds(["a"])
    assert one_of("a", "b").words == "one of a, b"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1, "a": 2}', 'it holds "a" twice'),
        (b"[" * 50 + b"]" * 50, "it nests deeper than 32 levels"),
        (b"[" * 100_000, "it nests deeper than 32 levels"),
        (b'{"a": "\\ud800"}', "surrogates not allowed"),
        (b'{"a": "\xff"}', "can't decode byte 0xff"),
        (b"{", "Expecting"),
    ],
)
def test_json_that_no_writer_writes(data, message):
    with pytest.raises(ValueError, match=message):
        parse_json(data)


def test_a_file_of_its_own_folder_is_read_through_a_link(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").symlink_to("a")
    assert read_bytes(tmp_path / "b") == b"content"


def test_sizes_are_bounds(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    assert read_bytes(tmp_path / "a", most=7, exactly=7) == b"content"
    with pytest.raises(DataError, match=r"a has 7 bytes, more than the 6 that such a file can have"):
        read_bytes(tmp_path / "a", most=6)
    with pytest.raises(DataError, match=r"a has 7 of 8 bytes"):
        read_bytes(tmp_path / "a", exactly=8)


def test_a_file_that_becomes_a_pipe_after_the_look_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a")
    monkeypatch.setattr(_files, "_refuse_unfit", lambda *_, **__: None)
    assert read_bytes(tmp_path / "a") == b""


def test_tensor_rules():
    rule = TensorRule(("float32",), (None, 2))
    assert rule.fault(torch.zeros(3, 2)) is None
    assert rule.fault(torch.zeros(2)) == "must be float32 of shape (any, 2), got float32 of shape (2,)"
    assert rule.fault(torch.zeros(3, 2).half()) == "must be float32 of shape (any, 2), got float16 of shape (3, 2)"
    assert rule.fault(torch.full((1, 2), math.inf)) == "must be finite, got NaN or infinity"
