"""Which library computes: forced, missing or lowered, each in a process of its own; and the number of threads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import loss_and_gradient, make, needs_library

import forked
from lt_fast import _libraries as libraries
from lt_fast import ops
from lt_fast.errors import UsageError

HERE = Path(__file__).parent
SETS = ("portable", "avx2", "avx512")


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    without = {name: None for name in os.environ if name.startswith("LT_FAST_")}
    return forked.run(["-W", "error", "-c", code], environment={**without, **environment}, cwd=HERE, timeout=120)


SHOW = "from lt_fast import ops; print(ops.backend(), ops.instruction_set())"


def test_names_are_known_ones():
    assert ops.backend() in ("reference", "cpu", "cuda")
    assert ops.instruction_set() in ("reference", *SETS)
    assert (ops.backend() == "reference") == (ops.instruction_set() == "reference")


def test_reference_can_be_forced_and_does_not_warn():
    code = SHOW + "; import torch; ops.mixed_margin_loss(torch.zeros(2, 3), torch.tensor([0, 1]))"
    result = run(code, LT_FAST_BACKEND="reference")
    assert result.stdout.split() == ["reference", "reference"], result.stderr


@needs_library
def test_cpu_can_be_forced():
    result = run(SHOW, LT_FAST_BACKEND="cpu")
    assert result.stdout.split()[0] == "cpu", result.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_cannot_be_forced_without_a_gpu():
    result = run(SHOW, LT_FAST_BACKEND="cuda")
    assert result.returncode == 1
    assert "LT_FAST_BACKEND must name a backend that this installation has, got 'cuda': " in result.stderr


@pytest.mark.parametrize("variable", ["LT_FAST_BACKEND", "LT_FAST_INSTRUCTION_SET"])
def test_unknown_names_are_refused(variable):
    result = run(SHOW, **{variable: "gpu"})
    assert result.returncode == 1
    assert f"{variable} must be one of " in result.stderr
    assert "got 'gpu'" in result.stderr


def test_a_missing_and_a_damaged_library_give_a_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(libraries, "_FOLDER", tmp_path)
    assert libraries._load("lt_fast_cpu") == "liblt_fast_cpu.so was not built with this installation"
    (tmp_path / "liblt_fast_cpu.so").write_bytes(b"no library")
    assert libraries._load("lt_fast_cpu").startswith("liblt_fast_cpu.so does not load: ")


def test_without_a_library_the_reference_is_the_backend_unless_one_is_forced(monkeypatch):
    monkeypatch.setattr(libraries, "_load_cpu", lambda: "it was not built")
    monkeypatch.delenv("LT_FAST_BACKEND", raising=False)
    assert libraries._start() == ("reference", {"cpu": "it was not built", "cuda": "it was not built"})
    for wish in ("cpu", "cuda"):
        monkeypatch.setenv("LT_FAST_BACKEND", wish)
        with pytest.raises(UsageError, match=f"got '{wish}': it was not built; unset it to fall back"):
            libraries._start()


def test_a_library_without_a_gpu_is_not_the_backend(monkeypatch):
    monkeypatch.setattr(libraries, "_load_cpu", lambda: None)
    monkeypatch.setattr(libraries, "_load_cuda", lambda: "no GPU can be used")
    monkeypatch.delenv("LT_FAST_BACKEND", raising=False)
    assert libraries._start() == ("cpu", {"cuda": "no GPU can be used"})
    monkeypatch.setattr(libraries, "_load_cuda", lambda: None)
    assert libraries._start() == ("cuda", {})
    monkeypatch.setenv("LT_FAST_BACKEND", "cpu")
    assert libraries._start()[0] == "cpu"


OTHER_TORCH = "or install a torch for CUDA 12"
DRIVER_575 = (
    "the op library is built for CUDA 13, the NVIDIA driver for CUDA 12.9: update it to 580, "
    "or build lt-fast from its source with nvcc 12"
)


@pytest.mark.parametrize(
    ("built_for", "driver", "there", "answer"),
    [
        (None, None, (13,), "this torch is built without CUDA"),
        ("13.0", (13, 0), (), "no CUDA library was built with this installation"),
        ("12.8", (12, 9), (13,), DRIVER_575),
        ("12.8", (13, 0), (13,), "loaded lt_fast_cuda13"),  # CUDA 12's torch runs on a driver for CUDA 13
        ("12.8", (12, 9), (12, 13), "loaded lt_fast_cuda12"),
        ("13.0", (13, 2), (12, 13), "loaded lt_fast_cuda13"),
        ("13.0", None, (13,), "loaded lt_fast_cuda13"),  # a driver that does not say
        ("14.1", (14, 1), (12, 13), "loaded lt_fast_cuda13"),
    ],
)
def test_the_driver_decides_which_cuda_library_is_loaded(tmp_path, monkeypatch, built_for, driver, there, answer):
    for major in there:
        (tmp_path / f"liblt_fast_cuda{major}.so").touch()
    (tmp_path / "liblt_fast_cpu.so").touch()
    monkeypatch.setattr(libraries, "_FOLDER", tmp_path)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(libraries.cuda_driver, "driver_cuda", lambda: driver)
    monkeypatch.setattr(libraries, "_load", lambda name: f"loaded {name}")
    assert libraries._load_cuda() == answer


@pytest.mark.parametrize(
    ("driver", "answer"),
    [
        (None, "no GPU can be used"),
        ((13, 1), "no GPU can be used"),
        (
            (12, 4),
            f"this torch is built for CUDA 13.0, the NVIDIA driver for CUDA 12.4: update it to 580, {OTHER_TORCH}",
        ),
    ],
)
def test_a_gpu_that_torch_cannot_use_has_a_reason(tmp_path, monkeypatch, driver, answer):
    (tmp_path / "liblt_fast_cuda13.so").touch()
    monkeypatch.setattr(libraries, "_FOLDER", tmp_path)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(libraries.cuda_driver, "driver_cuda", lambda: driver)
    assert libraries._load_cuda() == answer


@needs_library
@pytest.mark.skipif(torch.version.cuda is None, reason="this torch is built without CUDA")
def test_the_cuda_library_loads_without_a_gpu_and_says_what_it_has_code_for():
    code = (
        "import torch; from lt_fast import _libraries as libraries\n"
        "(path,) = libraries._FOLDER.glob('liblt_fast_cuda*.so')\n"
        "assert libraries._load(path.stem.removeprefix('lib')) is None\n"
        "kernel = torch._C._dispatch_has_kernel_for_dispatch_key\n"
        "print(torch.ops.lt_fast.cuda_oldest_gpu(), kernel('lt_fast::mixed_margin_loss', 'CUDA'))\n"
        "libraries.cuda_driver.capabilities = lambda: [(9, 0), (7, 5)]\n"
        "print(libraries._old_gpu())"
    )
    result = run(code)
    first, second = result.stdout.splitlines()
    assert first == "80 True", result.stderr
    assert second == (
        "the op library has code for GPUs of compute capability 8.0 and newer, this one has 7.5: "
        "build lt-fast from its source with LT_FAST_CUDA_ARCHS=75 if your nvcc knows it"
    )


@pytest.mark.parametrize("version", ["2.9.1", "2.6.0+cu124", "1.13.0"])
def test_a_torch_without_the_stable_abi_computes_with_the_reference(monkeypatch, version):
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.delenv("LT_FAST_BACKEND", raising=False)
    reason = f"the op libraries need torch 2.10 or newer, this is {version}: pip install --upgrade torch"
    assert libraries._start() == ("reference", {"cpu": reason, "cuda": reason})


@needs_library
@pytest.mark.parametrize("version", ["2.10.0", "2.10.0a0+b4e4ee8.nv25.12", "3.0.0"])
def test_a_newer_torch_and_a_build_before_its_release_load_the_library(monkeypatch, version):
    monkeypatch.setattr(torch, "__version__", version)
    assert libraries._load_cpu() is None


DRIVER = """
int cuDriverGetVersion(int *version) { *version = 12090; return 0; }
int cuDeviceGetCount(int *count) { *count = COUNTED ? 2 : 0; return COUNTED ? 0 : 3; }  /* 3: not initialized */
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = (attribute - 68) + device; return 0; }
"""


@pytest.mark.parametrize(("counted", "seen"), [(0, []), (1, [[7, 8], [8, 9]])])
def test_the_drivers_own_library_is_asked(tmp_path, counted, seen):
    (tmp_path / "driver.c").write_text(DRIVER)
    compiler = [os.environ.get("CC", "gcc"), "-shared", "-fPIC", f"-DCOUNTED={counted}"]
    subprocess.run([*compiler, tmp_path / "driver.c", "-o", tmp_path / "libcuda.so.1"], check=True)
    code = "from lt_fast import _cuda_driver as driver; print([driver.driver_cuda(), driver.capabilities()])"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    answer = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert json.loads(answer.replace("(", "[").replace(")", "]")) == [[12, 9], seen]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_driver_there_is_no_answer():
    assert libraries.cuda_driver.capabilities() == []


def available_sets() -> tuple[str, ...]:
    best = ops.instruction_set()
    return SETS[: SETS.index(best) + 1] if best in SETS else ()


COMPARE = """
import torch
from cases import distance, loss_and_gradient, make, needs_library
from lt_fast import ops
from lt_fast.ops import reference

rules = [
    {"margin": True, "scale": 30.0}, {"bias": True, "label_smoothing": 0.1, "weight": True},
    {"maximum": True, "scale": 19.0, "label_rule": "mam"}, {"focal_gamma": 2.0, "label_rule": "remix"},
]
worst = 0.0
for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
    for classes in (2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 31, 33, 100, 365, 1000):
        for at, rule in enumerate(rules):
            case = make(19, classes, seed=classes + at, reduction=("mean", "none")[at % 2], **rule)
            logits, options = case.arguments(dtype)
            exact_logits, exact_options = case.exact(dtype)
            loss, gradient = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, options)
            plain = reference.mixed_margin_loss
            exact, exact_gradient = loss_and_gradient(plain, exact_logits, case.target, exact_options)
            limit = 1e-12 if dtype == torch.float64 else 3e-6
            assert distance(loss, exact) < limit, (dtype, classes, rule, distance(loss, exact))
            limit = max(limit, 0.51 * torch.finfo(dtype).eps)
            assert distance(gradient, exact_gradient) < limit, (dtype, classes, rule)
            _, prediction = ops.mixed_margin_loss(logits, case.target, return_prediction=True, **options)
            assert torch.equal(prediction, logits.argmax(1)), (dtype, classes, rule)
print(ops.instruction_set())
"""


@pytest.mark.slow
@needs_library
@pytest.mark.parametrize("name", SETS)
def test_every_instruction_set_agrees_with_the_reference(name):
    result = run(COMPARE, LT_FAST_INSTRUCTION_SET=name)
    if name in available_sets():
        assert result.stdout.split() == [name], result.stderr[-2000:]
    else:
        assert "LT_FAST_INSTRUCTION_SET must be one that this processor has" in result.stderr


@needs_library
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("classes", [10, 100, 1000, 9000])
def test_the_number_of_threads_changes_no_bit(dtype, reduction, classes):
    case = make(40_000 // classes + 37, classes, margin=True, weight=True, scale=30.0, reduction=reduction)
    logits, options = case.arguments(dtype)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            loss, prediction = ops.mixed_margin_loss(logits, case.target, return_prediction=True, **options)
            _, gradient = loss_and_gradient(ops.mixed_margin_loss, logits, case.target, options)
            results.append((loss.detach(), gradient, prediction))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_library
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_loss_is_the_same_with_and_without_its_gradient(dtype):
    case = make(33, 101, margin=True, weight=True, scale=30.0)
    logits, options = case.arguments(dtype)
    with_gradient = ops.mixed_margin_loss(logits, case.target, **options)
    assert torch.equal(ops.mixed_margin_loss(logits.detach(), case.target, **options), with_gradient.detach())


@needs_library
def test_the_processors_rounding_modes_are_given_back():
    tiny = torch.full((4,), 1e-40)
    case = make(300, 200)
    logits, options = case.arguments(torch.float32)
    ops.mixed_margin_loss(logits, case.target, **options).backward()
    assert bool((tiny * 1.0 > 0).all())
