"""What the bits of a result depend on in addition to the program and its input."""

import os
from typing import Any

import torch

from lt_fast import ops
from lt_fast._processor import processor
from lt_fast.training.determinism import CUBLAS_VARIABLE, CUBLAS_WORKSPACE

_CHOSEN_BY_VARIABLES = {
    "oneDNN limit": ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"),
    "oneDNN precision": ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"),
    "MKL reproducibility": ("MKL_CBWR",),
    "MKL instructions": ("MKL_ENABLE_INSTRUCTIONS",),
    "MKL processor": ("MKL_DEBUG_CPU_TYPE",),
}
# These words ask for what is done without them.
_AS_WITHOUT = frozenset({"", "ALL", "DEFAULT", "STRICT", "AUTO"})


def environment(device: torch.device) -> dict[str, Any]:
    """Return what a result's last bits depend on: torch, device, threads, instructions, and switches of libraries."""
    found: dict[str, Any] = {
        "torch": str(torch.__version__),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "torch CPU capability": torch.backends.cpu.get_cpu_capability(),
        "op backend": ops.backend(),
        "op instruction set": ops.instruction_set(),
        "float32 precision": torch.get_float32_matmul_precision(),
        "oneDNN enabled": bool(torch.backends.mkldnn.enabled),
    }
    found |= {name: _asked(variables) for name, variables in _CHOSEN_BY_VARIABLES.items()}
    return found | (_gpu(device) if device.type == "cuda" else {})


def _gpu(device: torch.device) -> dict[str, Any]:
    return {
        "gpu": torch.cuda.get_device_name(device),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "cudnn TF32": torch.backends.cudnn.allow_tf32,
        "cublas workspace": os.environ.get(CUBLAS_VARIABLE, CUBLAS_WORKSPACE),
    }


def _asked(variables: tuple[str, ...]) -> str | None:
    words = next((os.environ[name].strip().upper() for name in variables if name in os.environ), "")
    return None if words in _AS_WITHOUT else words
