"""Guards on the wheel: what lies in it, what its libraries ask of a machine, and that it runs where nothing else is.

The wheel is the one that LT_FAST_WHEEL names, else the newest in dist/ or target/wheels/, else one built here.
"""

import io
import json
import re
import struct
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from tests.packaging.wheels import existing_wheel, installed_in, maturin, outside, sources, sources_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # may build the wheel, from nothing

ROOT = Path(__file__).parents[2]
RUST, CPU, CUDA = "lt_fast/_rust", "lt_fast/_ops/liblt_fast_cpu.so", "lt_fast/_ops/liblt_fast_cuda13.so"
# The Rust module is for every Python from 3.11 on, or for one that is free-threaded: `_rust.abi3.so` is not for those.
FOR_ALL, FOR_ONE = r"-cp311-abi3-", r"-cp(?P<tag>3\d\d)-cp(?P=tag)t-"
C_LIBRARIES = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"}
C_LIBRARIES |= {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
CPP_LIBRARIES = C_LIBRARIES | {"libstdc++.so.6", "libgcc_s.so.1"}
NEEDED = {
    RUST: C_LIBRARIES | {"libgcc_s.so.1"},
    CPU: CPP_LIBRARIES | {"libtorch_cpu.so"},
    CUDA: CPP_LIBRARIES | {"libtorch_cpu.so", "libtorch_cuda.so"},
}
# What a library may ask of the process besides the C and C++ libraries, whose symbols carry versions.
UNVERSIONED = {RUST: r"_?Py\w+", CPU: r"(aoti_)?torch_\w+", CUDA: r"(aoti_)?torch_\w+"}
EXPORTED = {RUST: {"PyInit__rust"}, CPU: set(), CUDA: set()}
BUILD_PATH = re.compile(rb"/(?:home|root|tmp|work|build|Users)/[\w.@+-]+/[\w.@+/-]+")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    if (found := existing_wheel()) is not None:
        return found
    folder = tmp_path_factory.mktemp("wheel")
    maturin("build", "--release", "--locked", "--auditwheel", "skip", "--out", str(folder))
    (built,) = folder.glob("*.whl")
    subprocess.run([sys.executable, ROOT / "scripts/portable-sbom.py", built], check=True)  # as `make wheel` does
    return built


@pytest.fixture(scope="session")
def contents(wheel):
    module = f"{RUST}.abi3.so"
    if one := re.search(FOR_ONE, wheel.name):
        processor = "x86_64" if wheel.stem.endswith("x86_64") else "aarch64"
        module = f"{RUST}.cpython-{one['tag']}t-{processor}-linux-gnu.so"
    with zipfile.ZipFile(wheel) as archive:
        return {RUST if name == module else name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(params=[RUST, CPU, CUDA], ids=["rust", "cpu", "cuda"])
def library(request):
    return request.param


@pytest.fixture
def elf(library, contents, wheel):
    if library == CUDA and not has_cuda(wheel):
        pytest.skip("this wheel is for a processor without a CUDA library")
    return ELFFile(io.BytesIO(contents[library]))


def has_cuda(wheel):
    return wheel.stem.endswith("x86_64")


def dynamic(elf, tag):
    return [entry for entry in elf.get_section_by_name(".dynamic").iter_tags() if entry.entry.d_tag == tag]


def dynamic_symbols(elf):
    """(symbol, whether it carries a library's version) of everything that the loader sees."""
    versions = elf.get_section_by_name(".gnu.version")
    for index, symbol in enumerate(elf.get_section_by_name(".dynsym").iter_symbols()):
        version = versions.get_symbol(index)["ndx"]
        yield symbol, version not in ("VER_NDX_LOCAL", "VER_NDX_GLOBAL")


def test_one_wheel_for_every_python_from_3_11_or_one_that_is_free_threaded(wheel):
    assert re.fullmatch(rf"lt_fast-[\d.]+({FOR_ALL}|{FOR_ONE})[\w.]+\.whl", wheel.name)


def test_it_holds_the_package_and_its_libraries(wheel, contents):
    assert {name for name in contents if ".so" in name} == {CPU} | ({CUDA} if has_cuda(wheel) else set())
    assert RUST in contents
    assert {"lt_fast/py.typed", "lt_fast/_rust.pyi", "lt_fast/ops/reference.py"} <= contents.keys()
    assert sources_in(wheel) == sources()
    assert {f"lt_fast/report/templates/page.{ending}" for ending in ("html", "css", "js")} <= contents.keys()
    tables = {str(path.relative_to(ROOT / "python")) for path in (ROOT / "python" / "lt_fast").rglob("*.csv")}
    assert {"lt_fast/reproduction/published.csv"} <= tables <= contents.keys()
    top = {name.partition("/")[0] for name in contents}
    assert {name for name in top if not name.endswith(".dist-info")} <= {"lt_fast"}
    assert any(name.endswith("licenses/LICENSE") for name in contents)


def test_libraries_need_only_what_is_everywhere_or_comes_with_torch(elf, library):
    needed = {entry.needed for entry in dynamic(elf, "DT_NEEDED")}
    assert needed <= NEEDED[library]
    # Without these entries the loader would not look for torch's symbols at all.
    assert {name for name in NEEDED[library] if name.startswith("libtorch")} <= needed


def test_libraries_are_looked_for_nowhere_special(elf):
    assert not dynamic(elf, "DT_RPATH")
    assert not dynamic(elf, "DT_RUNPATH")


def test_no_symbol_is_newer_than_the_glibc_of_the_name(elf, wheel):
    if (promised := re.search(r"manylinux_2_(\d+)", wheel.name)) is None:
        pytest.skip("this wheel promises nothing but the building machine")
    sections = elf.get_section_by_name(".gnu.version_r").iter_versions()
    asked = [version.name for _, versions in sections for version in versions]
    minors = [int(name.split(".")[1]) for name in asked if name.startswith("GLIBC_2.")]
    assert max(minors) <= int(promised[1])


def test_a_list_names_the_crates_that_were_compiled_in(contents):
    (name,) = [name for name in contents if name.endswith(".dist-info/sboms/lt-fast.cyclonedx.json")]
    listed = json.loads(contents[name])
    assert listed["bomFormat"] == "CycloneDX"
    assert {"lt-fast-core", "numpy", "pyo3"} <= {each["name"] for each in listed["components"]}
    assert not BUILD_PATH.findall(contents[name])


def test_undefined_symbols_are_torchs_stable_abi_or_pythons(elf, library):
    undefined = {
        symbol.name: versioned
        for symbol, versioned in dynamic_symbols(elf)
        if symbol["st_shndx"] == "SHN_UNDEF" and symbol.name and symbol["st_info"]["bind"] != "STB_WEAK"
    }
    assert undefined
    stray = [n for n, versioned in undefined.items() if not versioned and not re.fullmatch(UNVERSIONED[library], n)]
    assert not stray


def test_nothing_is_exported_but_the_modules_entry(elf, library):
    defined = {symbol.name for symbol, _ in dynamic_symbols(elf) if symbol["st_shndx"] != "SHN_UNDEF"}
    assert defined == EXPORTED[library]


@pytest.mark.parametrize("library", [CPU, CUDA])
def test_op_libraries_are_stripped_and_bound_at_load(elf):
    assert elf.get_section_by_name(".symtab") is None
    assert not [section.name for section in elf.iter_sections() if section.name.startswith(".debug")]
    assert dynamic(elf, "DT_FLAGS_1") or dynamic(elf, "DT_BIND_NOW")


@pytest.mark.usefixtures("elf")
def test_no_folder_of_the_building_machine_is_left(library, contents):
    found = {match.decode() for match in BUILD_PATH.findall(contents[library])}
    assert not found
    here = [Path.home(), ROOT, sysconfig.get_path("purelib"), tempfile.gettempdir()]
    assert not [folder for folder in here if f"{folder}/".encode() in contents[library]]


@pytest.mark.parametrize("library", [CUDA])
@pytest.mark.usefixtures("elf")
def test_the_cuda_library_has_machine_code_and_ptx_of_the_newest(contents):
    code = list(_device_code(contents[CUDA]))
    machine = {architecture for kind, architecture in code if kind == "machine"}
    assert {80, 90, 100} <= machine
    assert [architecture for kind, architecture in code if kind == "ptx"] == [max(machine)]


def _device_code(library):
    """(kind, compute capability) of every entry of CUDA's fat binaries."""
    for match in re.finditer(re.escape(struct.pack("<I", 0xBA55ED50)), library):
        _, _, header, size = struct.unpack_from("<IHHQ", library, match.start())
        at = match.start() + header
        end = at + size
        while at < end:
            kind, _, header, size = struct.unpack_from("<HHIQ", library, at)
            (architecture,) = struct.unpack_from("<I", library, at + 28)
            yield {1: "ptx", 2: "machine"}[kind], architecture
            at += header + size


# ---- installed where nothing else is ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def installed(wheel, tmp_path_factory):
    """A Python outside the clone with the wheel; torch and numpy are seen from here, so that nothing is downloaded."""
    return installed_in(tmp_path_factory.mktemp("installed"), wheel)


def run_outside(command, folder):
    return subprocess.run(command, cwd=folder, env=outside(), capture_output=True, text=True, check=False)


EXAMPLE = """
import lt_fast as lt, numpy as np, torch
print(lt.__file__)
print(lt.ops.backend(), lt.ops.instruction_set())
labels = np.repeat(np.arange(3), [90, 9, 1])
sampler = lt.sampling.ClassBalancedBatchSampler(labels, batch_size=20, seed=7)
batches = list(sampler)
print(len(batches) == len(sampler) == 5, np.bincount(labels[np.concatenate(batches)], minlength=3).min() > 20)
logits = torch.zeros(4, 3, requires_grad=True)
loss = lt.losses.LDAMLoss(lt.ClassCounts([90, 9, 1]))(logits, torch.tensor([0, 1, 2, 2]))
loss.backward()
print(bool(loss > 1), bool(logits.grad.abs().sum() > 0))
"""


def test_the_wheel_runs_outside_the_clone(installed, tmp_path):
    finished = run_outside([installed, "-I", "-W", "error", "-c", EXAMPLE], tmp_path)
    assert finished.returncode == 0, finished.stderr
    file, backend, *checks = finished.stdout.splitlines()
    assert Path(file).is_relative_to(installed.parents[1])
    name, instruction_set = backend.split()
    assert name in ("cpu", "cuda")
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    assert instruction_set != "portable" or "avx2" not in flags  # the linker's library once hid what the processor has
    assert checks == ["True True", "True True"]


def test_doctor_finds_nothing_wrong(installed, tmp_path):
    finished = run_outside([installed.parent / "lt-fast", "doctor"], tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "all checks passed" in finished.stdout


# ---- the source distribution -----------------------------------------------------------------------------------------


def test_the_source_distribution_holds_what_a_build_needs_and_nothing_built(tmp_path):
    maturin("sdist", "--out", str(tmp_path))
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*") if path.is_file()}
    crates = {str(path.relative_to(ROOT)) for path in (ROOT / "rust").rglob("*.rs")}
    assert sources | crates <= names
    files = {"Cargo.toml", "Cargo.lock", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    assert {name.partition("/")[0] for name in names if name} == {"csrc", "python", "rust"} | files
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc"))]
