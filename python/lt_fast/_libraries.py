"""Find and load the op libraries of ``lt_fast/_ops``, and say which one is in use.

One library serves every torch from 2.10 on, the first whose stable ABI has all that it needs; an older torch computes
with the reference implementation. The CUDA library contains the runtime of the CUDA that it was built with. It works
next to a torch for another CUDA wherever the driver runs both, so the driver decides, not the release of torch's CUDA.

``LT_FAST_BACKEND`` forces a choice: ``reference`` (plain torch), ``cpu`` or ``cuda``; what cannot be had is then an
error instead of a fallback. ``LT_FAST_INSTRUCTION_SET`` (``avx512``, ``avx2``, ``portable``) lowers the CPU's.
"""

import os
import re
import sys
import warnings
from pathlib import Path
from typing import Literal, TypeAlias

import torch

from lt_fast import _cuda_driver as cuda_driver
from lt_fast.errors import UsageError

Backend: TypeAlias = Literal["reference", "cpu", "cuda"]
InstructionSet: TypeAlias = Literal["avx512", "avx2", "portable", "reference"]

_FOLDER = Path(__file__).parent / "_ops"
_FILE_NAMES = {"darwin": "lib{}.dylib", "win32": "{}.dll"}
# The CUDA library carries the runtime of the release in its name, which the drivers of an older torch may refuse.
_CUDA_NAME = re.compile(r"liblt_fast_cuda(\d+)\.so")
_INSTRUCTION_SETS: tuple[InstructionSet, ...] = ("portable", "avx2", "avx512")
_OLDEST_TORCH = (2, 10)
_DRIVERS = {12: "525", 13: "580"}  # the oldest driver of each CUDA


def _choice(variable: str, allowed: tuple[str, ...]) -> str | None:
    value = os.environ.get(variable) or None
    if value is not None and value not in allowed:
        raise UsageError(f"{variable} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def _load(name: str) -> str | None:
    """Load ``lib<name>.so`` and return None, or the reason why it cannot be had."""
    path = _FOLDER / _FILE_NAMES.get(sys.platform, "lib{}.so").format(name)
    if not path.exists():
        return f"{path.name} was not built with this installation"
    if str(path) in torch.ops.loaded_libraries:
        return None  # a library registers once in a process; this module may be imported again
    try:
        torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError) as error:
        return f"{path.name} does not load: {error}"
    return None


def _load_cpu() -> str | None:
    if _torch_release() < _OLDEST_TORCH:
        needed = "torch {}.{} or newer".format(*_OLDEST_TORCH)
        return f"the op libraries need {needed}, this is {torch.__version__}: pip install --upgrade torch"
    return _load("lt_fast_cpu")


def _torch_release() -> tuple[int, int]:
    """Return the first two numbers of torch's version; a build before a release counts as that release."""
    major, minor = re.findall(r"\d+", torch.__version__)[:2]
    return int(major), int(minor)


def _load_cuda() -> str | None:
    built_for = torch.version.cuda
    if built_for is None:
        return "this torch is built without CUDA"
    names = (_CUDA_NAME.fullmatch(path.name) for path in _FOLDER.glob("*"))
    majors = sorted(int(name[1]) for name in names if name)  # the CUDA releases of the libraries there are
    if not majors:
        return "no CUDA library was built with this installation"
    if not torch.cuda.is_available():
        return _no_gpu(built_for)
    driver = cuda_driver.driver_cuda() or (int(built_for.partition(".")[0]), 0)  # which torch has just worked with
    usable = [major for major in majors if major <= driver[0]]
    if not usable:
        return _old_driver(majors[0], driver)
    return _load(f"lt_fast_cuda{usable[-1]}") or _old_gpu()


def _no_gpu(built_for: str) -> str:
    driver, major = cuda_driver.driver_cuda(), int(built_for.partition(".")[0])
    if driver is None or driver[0] >= major:
        return "no GPU can be used"
    return (
        f"this torch is built for CUDA {built_for}, {_update(driver, major)}, or install a torch for CUDA {driver[0]}"
    )


def _old_driver(major: int, driver: tuple[int, int]) -> str:
    built = f"the op library is built for CUDA {major}"
    return f"{built}, {_update(driver, major)}, or build lt-fast from its source with nvcc {driver[0]}"


def _update(driver: tuple[int, int], major: int) -> str:
    newer = _DRIVERS.get(major, "a newer one")
    return f"the NVIDIA driver for CUDA {driver[0]}.{driver[1]}: update it to {newer}"


def _old_gpu() -> str | None:
    """Return which GPU the loaded library has no code for, or None."""
    oldest = divmod(torch.ops.lt_fast.cuda_oldest_gpu(), 10)
    too_old = [capability for capability in cuda_driver.capabilities() if capability < oldest]
    if not too_old:
        return None
    needed, found = ("{}.{}".format(*capability) for capability in (oldest, min(too_old)))
    return (
        f"the op library has code for GPUs of compute capability {needed} and newer, this one has {found}: "
        f"build lt-fast from its source with LT_FAST_CUDA_ARCHS={found.replace('.', '')} if your nvcc knows it"
    )


def _forced(wish: str, reason: str) -> UsageError:
    return UsageError(
        f"LT_FAST_BACKEND must name a backend that this installation has, got {wish!r}: {reason}; unset it to fall back"
    )


def _start() -> tuple[Backend, dict[str, str]]:
    """Load what there is and return the backend, with the reasons for what is missing."""
    wish = _choice("LT_FAST_BACKEND", ("reference", "cpu", "cuda"))
    if wish == "reference":
        return "reference", {}
    if (reason := _load_cpu()) is not None:
        if wish is not None:
            raise _forced(wish, reason)
        return "reference", {"cpu": reason, "cuda": reason}
    if wish == "cpu":
        return "cpu", {"cuda": "LT_FAST_BACKEND=cpu excludes it"}
    reason = _load_cuda()
    if reason is None:
        return "cuda", {}
    if wish == "cuda":
        raise _forced(wish, reason)
    return "cpu", {"cuda": reason}


FORCED = os.environ.get("LT_FAST_BACKEND") or None
BACKEND, MISSING = _start()
_warned: set[str] = set()


def _instruction_set() -> InstructionSet:
    wish = _choice("LT_FAST_INSTRUCTION_SET", tuple(map(str, _INSTRUCTION_SETS)))
    if BACKEND == "reference":
        return "reference"
    found: InstructionSet = _INSTRUCTION_SETS[torch.ops.lt_fast.cpu_instruction_set()]
    if wish is not None and found != wish:
        raise UsageError(
            f"LT_FAST_INSTRUCTION_SET must be one that this processor has, got {wish!r}; its best is {found!r}"
        )
    return found


_SET = _instruction_set()


def backend() -> Backend:
    """Return what computes the op: ``"cuda"`` (with ``"cpu"`` for CPU tensors), ``"cpu"`` or ``"reference"``.

    >>> backend() in ("cuda", "cpu", "reference")
    True
    """
    return BACKEND


def instruction_set() -> InstructionSet:
    """Return the CPU kernels in use: ``"avx512"``, ``"avx2"`` or ``"portable"``, ``"reference"`` without library.

    ``"portable"`` is what the compiler makes for any processor of the platform: NEON on aarch64, SSE2 on x86-64.

    >>> instruction_set() in ("avx512", "avx2", "portable", "reference")
    True
    """
    return _SET


def has_kernel(device: str) -> bool:
    """Return whether a library serves tensors of ``device``; warn once where the reference implementation replaces it.

    Raises:
        UsageError: if ``LT_FAST_BACKEND`` forces a library that does not serve this device.
    """
    if device == BACKEND or (BACKEND == "cuda" and device == "cpu"):
        return True
    if FORCED in ("cpu", "cuda"):
        raise UsageError(f"logits must be on a device that LT_FAST_BACKEND={FORCED} serves, got {device!r}")
    if FORCED is None and device not in _warned and not torch.compiler.is_compiling():
        _warned.add(device)
        reason = MISSING.get(device, f"there is none for {device!r} tensors")
        message = f"the fused op is not in use for {device!r} tensors, plain torch computes it, several times slower: "
        warnings.warn(message + reason, RuntimeWarning, stacklevel=3)
    return False
