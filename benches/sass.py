"""What the CUDA kernels cost, read without a GPU: registers, spills, machine instructions per element in inner loops.

nvcc compiles the kernels of some lengths of rows, and nvdisasm shows their machine code. A loop is known by what it
does: it copies to shared memory, takes maxima, sums exponentials, or stores a gradient of them. The table is
``benches/results/sass.csv``. Its rows ``before`` are of the former kernels, which held a row in registers. These had no
loops: their instructions are counted by source line, with both sides of every branch, and these rows are not renewed.

    python -m benches.sass [--arch 80 90 100]     nvcc and nvdisasm: PATH, NVCC, NVDISASM or the group `cuda`
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches.harness import DOCS, RESULTS, markdown_table, print_table, read_csv, replace_between, write_csv

CSV = "sass.csv"
CSRC = Path(__file__).parent.parent / "csrc"
ARCHITECTURES = (80, 90, 100)
SHOWN = "sm_90"  # in docs/kernels.md
DTYPES = {"float32": ("float", 4), "bfloat16": ("c10::BFloat16", 2), "float16": ("c10::Half", 2)}


@dataclass(frozen=True)
class Kernel:
    """An instance of a kernel's template, but for the type."""

    title: str
    name: str
    lanes: int | None
    parameters: str

    def declared(self, dtype: str) -> str:
        """Return the instance for a type, as C++ declares it."""
        lanes = "" if self.lanes is None else f", {self.lanes}"
        return f"{self.name}<{dtype}{lanes}>({self.parameters.format(type=dtype)})"

    def is_named(self, mangled: str) -> bool:
        """Tell whether a name of the machine code is this kernel's, of whichever type."""
        return self.name in mangled and (self.lanes is None or f"Li{self.lanes}E" in mangled)


STAGED = "Forward<{type}>, Staging"
KERNELS = (  # for rows of about 100, 1,000 and 8,142 float32 columns, and for those longer than shared memory
    Kernel("staged, 8 lanes", "forward_staged", 8, STAGED),
    Kernel("staged, 32 lanes", "forward_staged", 32, STAGED),
    Kernel("staged, 256 lanes", "forward_staged", 256, STAGED),
    Kernel("streamed", "forward_streamed", None, "Forward<{type}>"),
    Kernel("backward, 256 lanes", "backward_rows", 256, "Backward<{type}>"),
)
BATCH = 4  # slots of 16 bytes that a pass loads together: kBatch of slots.h
PHASES = ("copy", "largest", "sum", "gradient")
FLAGS = ("-std=c++17", "-O3", "-DTORCH_TARGET_VERSION=0x020a000000000000ULL", "--expt-relaxed-constexpr", "-cubin")


@dataclass(frozen=True)
class Loop:
    """The instructions of an innermost loop, in order."""

    instructions: tuple[str, ...]

    def count(self, pattern: str) -> int:
        """Return how many instructions begin with the pattern."""
        return sum(re.match(pattern, instruction) is not None for instruction in self.instructions)

    @property
    def phase(self) -> str | None:
        """Which pass over a row this loop is; nothing for the loops of biases, predictions, ends and rests."""
        if self.count("LDGSTS"):
            return "copy"
        vectors = self.count(r"LD[SG]\.(E\.)?128")
        if vectors != BATCH or self.count(r"LDG\.E(?!\.128)"):  # a pass with biases loads those, too
            return None
        if self.count("MUFU.EX2"):
            return "gradient" if self.count(r"STG\.E\.128") else "sum"
        return "largest" if self.count("FMNMX") else None

    def per_element(self, element_size: int) -> float:
        """Return the instructions per element of that many bytes."""
        slots = self.count("LDGSTS") or self.count(r"LD[SG]\.(E\.)?128")
        return len(self.instructions) / (slots * 16 / element_size)


def program(name: str) -> str:
    """Return the path of nvcc or nvdisasm.

    Raises:
        SystemExit: if there is none.
    """
    nvidia = importlib.util.find_spec("nvidia")
    folders = list(nvidia.submodule_search_locations or ()) if nvidia else []
    packaged = [str(found) for folder in folders for found in sorted(Path(folder).glob(f"cu*/bin/{name}"))]
    found = os.environ.get(name.upper()) or shutil.which(name) or next(reversed(packaged), None)
    if found is None:
        raise SystemExit(f"{name} must be in PATH, got none; `pip install nvidia-cuda-{name}` or set {name.upper()}")
    return found


def source(kernels: Sequence[str]) -> str:
    """Return a file that holds these kernels and nothing else."""
    lines = ['#include "mixed_margin/cuda/backward.h"', '#include "mixed_margin/cuda/forward.h"']
    lines += ["namespace lt_fast::cuda {", *(f"template __global__ void {kernel};" for kernel in kernels), "}"]
    return "\n".join(lines)


def compiled(kernels: Sequence[str], architecture: int, folder: Path) -> tuple[str, str]:
    """Return the machine code of the kernels and what the assembler says of their resources."""
    torch = importlib.util.find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    file, cubin = folder / "kernels.cu", folder / "kernels.cubin"
    file.write_text(source(kernels), encoding="utf-8")
    command = [program("nvcc"), *FLAGS, "-Xptxas=-v", f"-gencode=arch=compute_{architecture},code=sm_{architecture}"]
    command += [f"-I{CSRC}", "-isystem", str(Path(torch.origin).parent / "include"), str(file), "-o", str(cubin)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return subprocess.run([program("nvdisasm"), "-c", cubin], check=True, capture_output=True, text=True).stdout, said


def resources(said: str) -> dict[str, dict[str, int]]:
    """Return registers, spilled bytes and static shared memory of each kernel, by its mangled name."""
    found = {}
    for part in said.split("Compiling entry function '")[1:]:
        name = part.partition("'")[0]
        numbers = {
            "registers": r"Used (\d+) registers",
            "spilled bytes": r"(\d+) bytes spill stores",
            "shared bytes": r"(\d+) bytes smem",
        }
        matches = {label: re.search(pattern, part) for label, pattern in numbers.items()}
        found[name] = {label: int(match[1]) if match else 0 for label, match in matches.items()}
    return found


def functions(code: str) -> dict[str, list[str]]:
    """Return the lines of each kernel: instructions without their addresses, and labels."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in code.splitlines():
        if line.startswith(".text."):
            lines = found.setdefault(line.removeprefix(".text.").rstrip(":"), [])
        elif match := re.match(r"(\.L_x_\d+):|\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line):
            lines.append(match[1] or match[2])
    return found


def loops(lines: Sequence[str]) -> Iterator[Loop]:
    """Yield the innermost loops: from a label to the branch back to it, with no such branch between."""
    places: dict[str, int] = {}
    begin_of_last = -1
    for place, line in enumerate(lines):
        if line.startswith(".L_x_"):
            places[line] = place
        elif (match := re.search(r"BRA.*`\((\.L_x_\d+)\)", line)) and places.get(match[1], -1) > begin_of_last:
            begin_of_last = places[match[1]]
            body = [part for part in lines[begin_of_last : place + 1] if not part.startswith(".L_x_")]
            yield Loop(tuple(re.sub(r"^@!?U?P\w+\s+", "", part) for part in body))


def phases(lines: Sequence[str], element_size: int) -> dict[str, float]:
    """Return the instructions per element of each pass that the kernel has."""
    found: dict[str, float] = {}
    for loop in loops(lines):
        if loop.phase is not None:
            cost = loop.per_element(element_size)
            found[loop.phase] = min(cost, found.get(loop.phase, cost))
    return found


def rows(architecture: int) -> Iterator[dict[str, Any]]:
    """Yield a line for each kernel and type."""
    for dtype, (name, size) in DTYPES.items():
        with tempfile.TemporaryDirectory() as folder:
            code, said = compiled([kernel.declared(name) for kernel in KERNELS], architecture, Path(folder))
        of_code, of_resources = functions(code), resources(said)
        for kernel in KERNELS:
            (mangled,) = (found for found in of_code if kernel.is_named(found))
            cost = phases(of_code[mangled], size)
            yield row(architecture, dtype, kernel.title, of_resources[mangled], cost)


def row(arch: int, dtype: str, kernel: str, used: Mapping[str, int], cost: Mapping[str, float]) -> dict[str, Any]:
    shown = {phase: round(cost[phase], 2) if phase in cost else None for phase in PHASES}
    total = round(sum(cost.values()), 2)
    return {"code": "now", "arch": f"sm_{arch}", "kernel": kernel, "dtype": dtype, **used, **shown, "total": total}


def versions() -> str:
    """Return the releases of both programs, in one line."""
    said = (subprocess.run([program(name), "--version"], check=True, capture_output=True, text=True).stdout
            for name in ("nvcc", "nvdisasm"))  # fmt: skip
    found = (re.search(r"release [\d.]+, V([\d.]+)", text) for text in said)
    return " ".join(f"{name} {match[1]}" for name, match in zip(("nvcc", "nvdisasm"), found, strict=True) if match)


def table() -> str:
    """Return the lines of one architecture as Markdown, with the releases of the programs."""
    about, lines = read_csv(CSV)
    shown = [line for line in lines if line["arch"] == SHOWN]
    hidden = ("arch", "shared bytes")
    cells = [{name: value or None for name, value in line.items() if name not in hidden} for line in shown]
    return f"{markdown_table(cells)}\n\nRead with: {about}."


def main(arguments: Sequence[str] = ()) -> None:
    """Compile, read, print the table, write the CSV and the table of docs/kernels.md."""
    parser = argparse.ArgumentParser(prog="python -m benches.sass", description=__doc__)
    parser.add_argument("--arch", type=int, nargs="+", default=ARCHITECTURES, help="compute capabilities, as 90")
    options = parser.parse_args(list(arguments))
    before = [row for row in read_csv(CSV)[1] if row["code"] == "before"] if (RESULTS / CSV).exists() else []
    now = [row for architecture in options.arch for row in rows(architecture)]
    print_table(now)
    if tuple(options.arch) == ARCHITECTURES:
        write_csv(CSV, [*before, *now], about=versions())
        replace_between(DOCS / "kernels.md", "sass", table())


if __name__ == "__main__":
    main(sys.argv[1:])
