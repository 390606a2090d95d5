"""Memory that has been freed stays with the process: counted in page faults of a process of its own."""

import os
import platform
import subprocess
import sys

import pytest

COUNT = """
import ctypes, resource
from lt_fast.cli.memory import keep_freed_memory

kept, libc, size = keep_freed_memory(), ctypes.CDLL(None), ctypes.c_size_t(64 << 20)  # above glibc's largest threshold
libc.malloc.restype = ctypes.c_void_p
for turn in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = ctypes.c_void_p(libc.malloc(size))
    ctypes.memset(block, 1, size.value)
    libc.free(block)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(kept, faults)
"""


def counted(**variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    words = [sys.executable, "-W", "error", "-c", COUNT]
    done = subprocess.run(
        words, capture_output=True, text=True, env={**environment, "OMP_NUM_THREADS": "1", **variables}, check=True
    )
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_block_that_was_freed_is_used_again():
    assert counted() == (True, pytest.approx(0, abs=64))


def test_a_choice_of_the_user_stays():
    kept, faults = counted(MALLOC_TRIM_THRESHOLD_="131072")
    assert not kept
    assert faults > 64
