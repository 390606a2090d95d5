"""How the CUDA kernels cut rows into 16-byte slots and spread them over lanes."""

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.slow  # compiles the kernels once a session

LANES_AND_ELEMENTS = [(4, 8), (16, 8), (32, 16), (32, 32), (128, 32), (256, 32), (512, 40)]
STREAMED = len(LANES_AND_ELEMENTS)
ALIGNMENTS = {size: range(0, 16, size) for size in (2, 4, 8)}


def cover(kernels, address, columns, size, layout):
    reads = np.zeros(columns, np.int64)
    pointer = reads.ctypes.data_as(ctypes.c_void_p)
    kernels.cover.restype = ctypes.c_int64
    arguments = [ctypes.c_uint64(address), *(ctypes.c_int64(x) for x in (columns, size, layout))]
    return kernels.cover(*arguments, pointer), reads


def chosen(kernels, columns, size, *, aligned=False):
    return kernels.chosen_layout(ctypes.c_int64(columns), ctypes.c_int64(size), ctypes.c_bool(aligned))


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize(
    "columns", [2, 3, 7, 8, 9, 10, 29, 30, 100, 365, 1000, 1021, 1024, 8142, 20477, 20481, 100_000]
)
def test_every_column_is_read_once_at_every_alignment(kernels, columns, size):
    layout = chosen(kernels, columns, size)
    for offset in ALIGNMENTS[size]:
        whole, reads = cover(kernels, 4096 + offset, columns, size, layout)
        assert (reads == 1).all()
        # Only the two ends are read column by column, whatever the alignment.
        assert whole >= (columns - 2 * (16 // size - 1)) // (16 // size)


@given(st.integers(2, 30_000), st.sampled_from([2, 4, 8]), st.integers(0, 7), st.integers(0, 2**40))
def test_any_row_is_covered_exactly(kernels, columns, size, offset, page):
    address = 16 * page + offset * size % 16
    whole, reads = cover(kernels, address, columns, size, chosen(kernels, columns, size))
    assert whole >= 0
    assert (reads == 1).all()


@given(st.integers(2, 30_000), st.sampled_from([2, 4, 8]))
def test_the_smallest_sufficient_layout_is_chosen(kernels, columns, size):
    slots = -(-(columns + 16 // size - 1) // (16 // size))
    fits = [lanes * elements * size // 16 >= slots for lanes, elements in LANES_AND_ELEMENTS]
    assert chosen(kernels, columns, size) == (fits.index(True) if any(fits) else STREAMED)
    assert kernels.streamed() == STREAMED


def test_aligned_rows_need_no_slot_to_spare(kernels):
    assert chosen(kernels, 1024, 4, aligned=True) == LANES_AND_ELEMENTS.index((32, 32))
    assert chosen(kernels, 1024, 4, aligned=False) == LANES_AND_ELEMENTS.index((128, 32))


@pytest.mark.parametrize("lanes", [4, 16, 32, 128, 512])
def test_blocks_hold_all_rows_up_to_the_grid_limit(kernels, lanes):
    kernels.blocks_of.restype = ctypes.c_int64
    rows_per_block = max(128, lanes) // lanes
    for rows in (1, 2, 31, 32, 33, 10_000, 2**31 + 5):
        blocks = kernels.blocks_of(ctypes.c_int64(rows), ctypes.c_int64(lanes))
        assert blocks == min(-(-rows // rows_per_block), 2**31 - 1)
    assert kernels.blocks_of(ctypes.c_int64(2**40), ctypes.c_int64(lanes)) == 2**31 - 1
