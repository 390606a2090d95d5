"""Python integers that are kept: the same lists as NumPy's, one object a value, and references that add up."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_fast import _rust

KEPT = 1 << 17
EDGES = [-(2**63), -(2**31), -1, 0, 1, 256, 257, KEPT - 1, KEPT, KEPT + 1, 2**31, 2**32, 2**63 - 1]


@given(st.lists(st.one_of(st.sampled_from(EDGES), st.integers(0, KEPT - 1), st.integers(-(2**63), 2**63 - 1))))
def test_lists_are_numpys(values):
    array = np.array(values, np.int64)
    found = _rust.integers(array)
    assert found == array.tolist()
    assert all(type(value) is int for value in found)
    assert _rust.integers(array[::-2]) == array[::-2].tolist()


def test_lists_share_their_integers_and_references_add_up():
    array = np.arange(1000, 2000)
    kept = _rust.integers(array)
    before = [sys.getrefcount(value) for value in kept]
    lists = [_rust.integers(array) for _ in range(5)]
    assert all(one is other for one, other in zip(kept, lists[3], strict=True))
    assert [sys.getrefcount(value) for value in kept] == [count + 5 for count in before]
    del lists
    assert [sys.getrefcount(value) for value in kept] == before


def test_a_larger_index_keeps_nothing():
    one, two = (_rust.integers(np.array([1234, KEPT])) for _ in range(2))
    assert one == two
    assert one[0] is not two[0]


def test_threads_make_the_same_integers():
    arrays = [np.random.default_rng(at).permutation(60_000) + 5000 for at in range(4)]
    with ThreadPoolExecutor(4) as pool:
        lists = list(pool.map(_rust.integers, arrays * 4))
    assert all(found == array.tolist() for found, array in zip(lists, arrays * 4, strict=True))
    first, other = ({value: value for value in found} for found in (lists[0], lists[5]))
    assert all(other[value] is value for value in first)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_child_goes_on_and_either_ends_in_peace():
    program = """
import os, numpy as np
from lt_fast import _rust
mine = _rust.integers(np.arange(9000))
child = os.fork()
assert _rust.integers(np.arange(20000)) == list(range(20000)) and mine == list(range(9000))
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("both")
"""
    done = subprocess.run([sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "both\n"


@pytest.mark.parametrize("array", [[1, 2], np.array([1.5]), np.zeros((2, 2), np.int64), np.array([1], np.int32)])
def test_anything_else_is_a_type_error(array):
    with pytest.raises(TypeError):
        _rust.integers(array)
