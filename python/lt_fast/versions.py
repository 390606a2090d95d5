"""What a bug report needs: versions, the op library and instruction set in use, the processor, the GPU."""

import importlib.metadata
import os
import platform
import re
import sys
import sysconfig
from pathlib import Path
from typing import Any

_PACKAGES = ("lt-fast", "torch", "numpy", "torchvision", "timm", "scikit-learn", "safetensors", "matplotlib", "tqdm")
_DRIVER_FILE = Path("/proc/driver/nvidia/version")
# Settings from outside that change what is computed, or how fast.
_VARIABLES = re.compile(r"LT_FAST_\w+|(OMP|MKL|OPENBLAS)_NUM_THREADS|CUDA_VISIBLE_DEVICES|PYTHON_GIL")


def versions() -> dict[str, Any]:
    """Return versions of Python, the platform and every package that lt-fast can use, the op backend and the GPU.

    >>> sorted(versions())[:3], versions()["lt-fast"] is not None
    (['gpu', 'lt-fast', 'matplotlib'], True)
    """
    found: dict[str, Any] = {"python": sys.version.split()[0], "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found | _with_torch()


def torch_or_reason() -> tuple[Any, str | None]:
    """Return torch, or None and why it cannot be imported.

    >>> torch_or_reason()[1] is None
    True
    """
    try:
        import torch  # noqa: PLC0415  (keeps `import lt_fast.versions` cheap for the command line's --help)
    except Exception as error:  # noqa: BLE001  (a library that does not load raises OSError, or a type of torch's own)
        return None, f"{type(error).__name__}: {' '.join(str(error).split())}"
    return torch, None


def _with_torch() -> dict[str, Any]:
    """Return what only torch can tell; None for all of it where torch cannot be imported."""
    torch, reason = torch_or_reason()
    names = ("torch cuda", "gpu", "threads", "op backend", "op instruction set", "op not served")
    if reason is not None:
        return {**dict.fromkeys(names), "op not served": f"torch cannot be imported ({reason})"}
    from lt_fast import _libraries  # noqa: PLC0415

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    told = (torch.version.cuda, gpu, torch.get_num_threads(), _libraries.backend(), _libraries.instruction_set())
    return dict(zip(names, (*told, "; ".join(_not_served(_libraries.MISSING)) or None), strict=True))


def machine() -> dict[str, Any]:
    """Return what else decides whether an installation works: processor, C library, builds, GPUs, driver, settings.

    >>> sorted(machine())[:4]
    ['c library', 'gpu driver', 'gpus', 'processor']
    """
    from lt_fast._processor import processor  # noqa: PLC0415

    torch, reason = torch_or_reason()

    set_variables = [f"{name}={value}" for name, value in sorted(os.environ.items()) if _VARIABLES.fullmatch(name)]
    return {
        "processor": f"{os.cpu_count()} x {processor()}",
        "c library": " ".join(platform.libc_ver()).strip() or None,
        "python build": f"{platform.python_implementation()}, {_gil()}",
        "torch build": f"{torch.__version__}, {str(torch.version.git_version)[:8]}" if reason is None else None,
        "gpus": _gpus(),
        "gpu driver": _driver(),
        "settings": " ".join(set_variables) or None,
    }


def show_versions() -> None:
    """Print ``versions()`` and ``machine()``, one line each: paste it into a bug report.

    >>> import contextlib, io
    >>> with contextlib.redirect_stdout(io.StringIO()) as printed:
    ...     show_versions()
    >>> [line.split()[0] for line in printed.getvalue().splitlines()][:4]
    ['python', 'platform', 'lt-fast', 'torch']
    """
    for name, value in (versions() | machine()).items():
        print(f"{name:>20}  {value if value is not None else 'not installed' if name in _PACKAGES else 'none'}")  # noqa: T201


def _not_served(missing: dict[str, str]) -> list[str]:
    """Return one line for each reason, with the devices that it holds for."""
    devices: dict[str, list[str]] = {}
    for device, reason in missing.items():
        devices.setdefault(reason, []).append(device)
    return [f"{', '.join(names)}: {reason}" for reason, names in devices.items()]


def _gil() -> str:
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "with the GIL"
    return "free-threaded, the GIL is " + ("on" if sys._is_gil_enabled() else "off")  # type: ignore[attr-defined]  # noqa: SLF001


def _gpus() -> str | None:
    from lt_fast._cuda_driver import capabilities  # noqa: PLC0415

    numbers = [f"{major}.{minor}" for major, minor in capabilities()]
    return f"{len(numbers)} of compute capability {', '.join(sorted(set(numbers)))}" if numbers else None


def _driver() -> str | None:
    """Return the NVIDIA driver's version, where Linux tells it, and the newest CUDA that it runs."""
    from lt_fast._cuda_driver import driver_cuda  # noqa: PLC0415

    runs = driver_cuda()
    if runs is None:
        return None
    text = _DRIVER_FILE.read_text(encoding="utf-8", errors="replace") if _DRIVER_FILE.exists() else ""
    version = re.search(r"\b\d{3}(\.\d+)+\b", text)
    return f"{version[0] if version else 'unknown version'}, runs CUDA {runs[0]}.{runs[1]}"
