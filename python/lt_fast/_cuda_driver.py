"""What the NVIDIA driver of this machine says of itself, asked without a context on a GPU.

Torch tells of a GPU by making a context on it, which takes time and hundreds of megabytes there: too much for an
import. The driver's own library answers two questions without: which CUDA it is made for, and, once torch has counted
the GPUs, what they are.
"""

import ctypes
import sys
from typing import TypeAlias

Release: TypeAlias = tuple[int, int]

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


def driver_cuda() -> Release | None:
    """Return the newest CUDA that the driver runs, such as ``(13, 0)``; None without a driver."""
    driver = _driver()
    version = None if driver is None else _asked(driver, "cuDriverGetVersion")
    return None if not version else (version // 1000, version % 1000 // 10)


def capabilities() -> list[Release]:
    """Return the compute capability of each GPU that the process sees; empty while nothing has counted them."""
    driver = _driver()
    count = None if driver is None else _asked(driver, "cuDeviceGetCount")
    if driver is None or not count:
        return []
    found = []
    for device in range(count):
        parts = [
            _asked(driver, "cuDeviceGetAttribute", attribute, device)
            for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR)
        ]
        found += [(major, minor) for major, minor in [parts] if major is not None and minor is not None]
    return found


def _driver() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError:
        return None


def _asked(driver: ctypes.CDLL, function: str, *arguments: int) -> int | None:
    """Return the integer that ``function`` writes to its first argument; None if it reports an error."""
    answer = ctypes.c_int(0)
    status = getattr(driver, function)(ctypes.byref(answer), *arguments)
    return answer.value if status == 0 else None
