"""What the bits of a result depend on in addition to the program and its input."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import torch

from lt_fast import ops
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

# The instructions that oneDNN and MKL choose their kernels by: two processors of one name may differ in them.
_INSTRUCTIONS = (
    "sse4_1", "avx", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16", "amx_fp16", "asimd", "sve", "sve2", "bf16",
)  # fmt: skip


def environment(device: torch.device) -> dict[str, Any]:
    """Return what a result's last bits depend on: torch, device, threads, instructions, and switches of libraries."""
    found: dict[str, Any] = {
        "torch": str(torch.__version__),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "processor": _processor(),
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


@cache
def _processor() -> str:
    """Return the processor's name and those of its instructions that numerical libraries choose by."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return "unknown"
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return " ".join([fields.get("model name", "unknown"), *(name for name in _INSTRUCTIONS if name in flags)])
