"""What a bug report needs: versions, the op library and instruction set in use, the GPU."""

import importlib.metadata
import platform
import sys
from typing import Any

_PACKAGES = ("lt-fast", "torch", "numpy", "torchvision", "timm", "scikit-learn", "safetensors", "matplotlib", "tqdm")


def versions() -> dict[str, Any]:
    """Return versions of Python, the platform and every package that lt-fast can use, the op backend and the GPU.

    >>> sorted(versions())[:3], versions()["lt-fast"] is not None
    (['gpu', 'lt-fast', 'matplotlib'], True)
    """
    import torch  # noqa: PLC0415  (keeps `import lt_fast.versions` cheap for the command line's --help)

    from lt_fast import _libraries  # noqa: PLC0415

    found: dict[str, Any] = {"python": sys.version.split()[0], "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    found["torch cuda"] = torch.version.cuda
    found["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    found["threads"] = torch.get_num_threads()
    found["op backend"] = _libraries.backend()
    found["op instruction set"] = _libraries.instruction_set()
    missing = [f"{device}: {reason}" for device, reason in _libraries.MISSING.items()]
    found["op not served"] = "; ".join(missing) or None
    return found


def show_versions() -> None:
    """Print ``versions()``, one line each: paste it into a bug report.

    >>> import contextlib, io
    >>> with contextlib.redirect_stdout(io.StringIO()) as printed:
    ...     show_versions()
    >>> [line.split()[0] for line in printed.getvalue().splitlines()][:4]
    ['python', 'platform', 'lt-fast', 'torch']
    """
    for name, value in versions().items():
        print(f"{name:>20}  {value if value is not None else 'not installed' if name in _PACKAGES else 'none'}")  # noqa: T201
