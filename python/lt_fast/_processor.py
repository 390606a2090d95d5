"""Which processor this is."""

from functools import cache
from pathlib import Path

# The instructions that oneDNN and MKL choose their kernels by: two processors of one name may differ in them.
_INSTRUCTIONS = (
    "sse4_1", "avx", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16", "amx_fp16", "asimd", "sve", "sve2", "bf16",
)  # fmt: skip


@cache
def processor() -> str:
    """Return the processor's name and those of its instructions that numerical libraries choose by."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return "unknown"
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return " ".join([fields.get("model name", "unknown"), *(name for name in _INSTRUCTIONS if name in flags)])
