"""``Paths`` reads like the tuple of strings it stands for."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_fast.datasets import Paths

NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=8)


@given(NAMES, st.slices(8))
def test_equals_a_tuple(names: list[str], part: slice) -> None:
    paths = Paths(names)
    assert list(paths) == names
    assert len(paths) == len(names)
    assert [paths[i] for i in range(len(names))] == names
    assert [paths[i - len(names)] for i in range(len(names))] == names
    assert list(paths[part]) == names[part]
    assert all(name in paths and paths.index(name) == names.index(name) for name in names)


@given(NAMES, st.data())
def test_take_gathers(names: list[str], data: st.DataObject) -> None:
    at = data.draw(st.lists(st.integers(0, len(names) - 1), max_size=9)) if names else []
    assert list(Paths(names).take(np.array(at, dtype=np.int64))) == [names[i] for i in at]


@given(NAMES, NAMES)
def test_equal_and_hashed_by_content(first: list[str], second: list[str]) -> None:
    one, other = Paths(first), Paths(second)
    assert (one == other) == (first == second) == (one.sha256() == other.sha256())
    assert hash(one) == hash(Paths(first))
    assert pickle.loads(pickle.dumps(one)) == one


def test_where_a_path_ends_counts() -> None:
    assert Paths(["ab", "c"]) != Paths(["a", "bc"])
    assert Paths(["ab", "c"]).sha256() != Paths(["a", "bc"]).sha256()
    assert Paths(["a"]) != ["a"]


def test_repr_shows_the_first() -> None:
    assert repr(Paths(["a", "b c"])) == "Paths(2: 'a', 'b c')"
    assert repr(Paths("abcd")) == "Paths(4: 'a', 'b', 'c', ...)"


@pytest.mark.parametrize("index", [2, -3])
def test_index_out_of_range(index: int) -> None:
    with pytest.raises(IndexError, match=rf"index must lie in \[-2, 2\), got {index}"):
        Paths(["a", "b"])[index]


def test_refuses_what_utf8_cannot_hold() -> None:
    with pytest.raises(ValueError, match=r"paths must be UTF-8, got 'caf\\udce9.jpg'; rename the file"):
        Paths(["caf\udce9.jpg"])
