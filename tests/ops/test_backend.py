"""Which library computes: forced, missing or lowered, each in a process of its own; and the number of threads."""

import os
import subprocess
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
    monkeypatch.setattr(libraries, "_load_cuda", lambda: None)
    monkeypatch.delenv("LT_FAST_BACKEND", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert libraries._start() == ("cpu", {"cuda": "no GPU can be used"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert libraries._start() == ("cuda", {})
    monkeypatch.setenv("LT_FAST_BACKEND", "cpu")
    assert libraries._start()[0] == "cpu"


@pytest.mark.parametrize(
    ("built_for", "there", "answer"),
    [
        (None, (13,), "this torch is built without CUDA"),
        ("13.0", (), "no CUDA library was built with this installation"),
        ("12.8", (13,), "this torch is built for CUDA 12.8, the op library for CUDA 13"),
        ("12.8", (12,), "loaded lt_fast_cuda12"),
        ("13.0", (12, 13), "loaded lt_fast_cuda13"),
        ("12.8", (12, 13), "loaded lt_fast_cuda12"),
        ("14.1", (12, 13), "loaded lt_fast_cuda13"),
    ],
)
def test_cuda_code_is_not_loaded_under_an_older_cuda(tmp_path, monkeypatch, built_for, there, answer):
    for major in there:
        (tmp_path / f"liblt_fast_cuda{major}.so").touch()
    (tmp_path / "liblt_fast_cpu.so").touch()
    monkeypatch.setattr(libraries, "_FOLDER", tmp_path)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(libraries, "_load", lambda name: f"loaded {name}")
    assert libraries._load_cuda() == answer


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
