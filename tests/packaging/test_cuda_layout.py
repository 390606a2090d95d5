"""How the CUDA kernels cut rows into 16-byte slots and spread them over lanes."""

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.slow  # compiles the kernels, when they have changed

LANES = [8, 32, 64, 128, 256]
SLOTS_PER_LANE, MOST_BYTES = 8, 96 * 1024
ALIGNMENTS = {size: range(0, 16, size) for size in (2, 4, 8)}


def cover(kernels, address, columns, size, lanes):
    copies = np.zeros(columns, np.int64)
    pointer = copies.ctypes.data_as(ctypes.c_void_p)
    kernels.cover.restype = ctypes.c_int64
    arguments = [ctypes.c_uint64(address), *(ctypes.c_int64(x) for x in (columns, size, lanes))]
    return kernels.cover(*arguments, pointer), copies


def chosen(kernels, columns, size, *, aligned=False, shared_bytes=227 * 1024):
    """Lanes, slots and buffers of a row, and the bytes of a block; no lanes for rows that are streamed."""
    found = np.zeros(4, np.int64)
    pointer = found.ctypes.data_as(ctypes.c_void_p)
    arguments = (ctypes.c_int64(columns), ctypes.c_int64(size), ctypes.c_bool(aligned), ctypes.c_int64(shared_bytes))
    kernels.chosen_staging(*arguments, pointer)
    return found.tolist()


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize(
    "columns", [2, 3, 7, 8, 9, 10, 29, 30, 100, 365, 1000, 1021, 1024, 8142, 20477, 20481, 100_000]
)
def test_every_column_is_copied_once_at_every_alignment(kernels, columns, size):
    lanes = chosen(kernels, columns, size)[0] or 512
    for offset in ALIGNMENTS[size]:
        whole, copies = cover(kernels, 4096 + offset, columns, size, lanes)
        assert (copies == 1).all()
        # Only the two ends are no whole slots, whatever the alignment.
        assert whole >= (columns - 2 * (16 // size - 1)) // (16 // size)


@given(st.integers(2, 30_000), st.sampled_from([2, 4, 8]), st.integers(0, 7), st.integers(0, 2**40))
def test_any_row_is_covered_exactly(kernels, columns, size, offset, page):
    address = 16 * page + offset * size % 16
    whole, copies = cover(kernels, address, columns, size, chosen(kernels, columns, size)[0] or 512)
    assert whole >= 0
    assert (copies == 1).all()


@given(st.integers(2, 200_000), st.sampled_from([2, 4, 8]), st.integers(0, 300_000))
def test_the_fewest_lanes_and_as_many_buffers_as_fit(kernels, columns, size, shared_bytes):
    lanes, slots, buffers, total = chosen(kernels, columns, size, shared_bytes=shared_bytes)
    wanted = next((n for n in LANES if SLOTS_PER_LANE * n >= -(-(columns + 16 // size - 1) // (16 // size))), LANES[-1])
    one = 256 // wanted * 16 * -(-(columns + 16 // size - 1) // (16 // size))
    most = min(shared_bytes, MOST_BYTES)
    if one > most:
        assert (lanes, slots, buffers, total) == (0, 0, 0, 0)
    else:
        assert (lanes, buffers) == (wanted, 1 + (2 * one <= most))
        assert total == buffers * one <= shared_bytes


def test_aligned_rows_need_no_slot_to_spare(kernels):
    assert chosen(kernels, 1024, 4, aligned=True)[:2] == [32, 256]
    assert chosen(kernels, 1024, 4, aligned=False)[:2] == [64, 257]


@pytest.mark.parametrize("lanes", [8, 32, 64, 128, 256, 512])
def test_blocks_hold_all_rows_up_to_the_grid_limit(kernels, lanes):
    kernels.blocks_of.restype = ctypes.c_int64

    def blocks_of(rows, most=0):
        return kernels.blocks_of(*map(ctypes.c_int64, (rows, lanes, most)))

    rows_per_block = max(256, lanes) // lanes
    for rows in (1, 2, 31, 32, 33, 10_000, 2**31 + 5):
        assert blocks_of(rows) == min(-(-rows // rows_per_block), 2**31 - 1)
        assert blocks_of(rows, 396) == min(-(-rows // rows_per_block), 396)
    assert blocks_of(2**40) == 2**31 - 1
