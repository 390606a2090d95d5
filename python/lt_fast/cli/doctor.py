"""``lt-fast doctor``: what is installed, and whether it computes the right thing on this machine."""

import argparse
import importlib.metadata
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lt_fast.cli.output import Output

SUMMARY = "check the installation: versions, the op against its reference implementation, the sampler's draws, the GPU"

_TOLERANCE = 2e-6  # relative, float32: rounding alone reaches about 5e-7
_SAMPLE_SHAPES = ((64, 10), (33, 101), (16, 1000))
_WEAKEST_P_VALUE = 1e-4
_NORMAL_QUANTILE = 3.719  # of 1 - 1e-4
_TORCH = re.compile(r"torch\s*\(?==\s*([\d.]+)")
_REINSTALL = "install both in one command: pip install --upgrade torch torchvision"


class Check(NamedTuple):
    """One finding: what was looked at, whether it is right, and the words."""

    name: str
    passed: bool
    detail: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``lt-fast doctor`` has no arguments of its own."""


def run(_arguments: argparse.Namespace, output: Output) -> int:
    """Run every check; 0 if all passed, else 1."""
    from lt_fast.versions import machine, versions  # noqa: PLC0415

    found = versions() | machine()
    for name, value in found.items():
        output.say(f"{name:>20}  {value if value is not None else '-'}")
    output.say()
    checks = [_guarded(name, check) for name, check in _checks()]
    for check in checks:
        output.say(f"{'ok' if check.passed else 'FAILED':>20}  {check.name}: {check.detail}")
    failed = [check.name for check in checks if not check.passed]
    output.say(
        f"\n{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}" if failed else "\nall checks passed"
    )
    output.result({"passed": not failed, "versions": found, "checks": [check._asdict() for check in checks]})
    return 1 if failed else 0


def _checks() -> Iterator[tuple[str, Callable[[], str]]]:
    from lt_fast.versions import torch_or_reason  # noqa: PLC0415

    torch, reason = torch_or_reason()
    if reason is not None:  # samplers and counts work without it
        yield "torch can be imported", lambda: _refuse_lacking(reason)
        yield "class-balanced draws", _chi_square
        yield "draws repeat", _draws_repeat
        yield "optional packages", _extras
        return
    yield "op equals its reference (CPU)", lambda: _compare("cpu")
    yield "op speed (CPU)", lambda: _speed("cpu")
    yield "class-balanced draws", _chi_square
    yield "draws repeat", _draws_repeat
    yield "needed packages", _needed
    yield "optional packages", _extras
    yield "torchvision fits torch", _torchvision
    if torch.cuda.is_available():
        yield "op equals its reference (GPU)", lambda: _compare("cuda")
        yield "op speed (GPU)", lambda: _speed("cuda")


def _refuse_lacking(reason: str) -> str:
    raise ImportError(
        f"{reason}; samplers and counts work without torch, all else needs it: pip install torch torchvision "
        "(docs/installing.md: which torch)"
    )


def _guarded(name: str, check: Callable[[], str]) -> Check:
    # A check that raises is a finding, whatever it raised: the rest must still be looked at.
    try:
        return Check(name, passed=True, detail=check())
    except Exception as error:
        if os.environ.get("LT_FAST_DEBUG") == "1":
            raise
        return Check(name, passed=False, detail=f"{type(error).__name__}: {error}")


def _compare(device: str) -> str:
    from lt_fast import ops  # noqa: PLC0415
    from lt_fast.ops import reference  # noqa: PLC0415

    worst = 0.0
    for shape in _SAMPLE_SHAPES:
        logits, target = _inputs(shape, device)
        for options in _variants(shape, device):
            found = _loss_and_gradient(ops.mixed_margin_loss, logits, target, options)
            doubled = {name: _as_double(value) for name, value in options.items()}
            exact = _loss_and_gradient(reference.mixed_margin_loss, _as_double(logits), target, doubled)
            worst = max(worst, *map(_distance, found, exact))
    _require_within_tolerance("float32", worst)
    for dtype in ("float16", "bfloat16"):
        _require_within_tolerance(dtype, _half(dtype, device))
    return (
        f"{ops.backend()} backend, largest relative difference {worst:.1e} of loss and gradient; "
        "float16 and bfloat16 rounded once; predictions equal"
    )


def _require_within_tolerance(dtype_name: str, worst: float) -> None:
    if not worst <= _TOLERANCE:  # NaN fails too
        raise ArithmeticError(
            f"relative difference {worst:.1e} for {dtype_name} logits, allowed {_TOLERANCE:.0e}; "
            "set LT_FAST_BACKEND=reference"
        )


def _half(dtype_name: str, device: str) -> float:
    """Relative difference of loss and gradient for half logits, beyond the one rounding of the gradient."""
    import torch  # noqa: PLC0415

    from lt_fast import ops  # noqa: PLC0415
    from lt_fast.ops import reference  # noqa: PLC0415

    shape = _SAMPLE_SHAPES[1]
    logits, target = _inputs(shape, device)
    half, options = logits.to(getattr(torch, dtype_name)), list(_variants(shape, device))[1]
    doubled = {name: _as_double(value) for name, value in options.items()}
    loss, gradient = _loss_and_gradient(ops.mixed_margin_loss, half, target, options)
    exact_loss, exact_gradient = _loss_and_gradient(reference.mixed_margin_loss, _as_double(half), target, doubled)
    _, prediction = ops.mixed_margin_loss(half, target, return_prediction=True, **options)
    if not torch.equal(prediction, half.argmax(1)):
        raise ArithmeticError(f"predictions of {dtype_name} logits differ from argmax; set LT_FAST_BACKEND=reference")
    rounding = torch.finfo(half.dtype).eps / 2
    return max(_distance(loss, exact_loss), _distance(gradient, exact_gradient) - rounding)


def _variants(shape: tuple[int, int], device: str) -> Iterator[dict[str, Any]]:
    import torch  # noqa: PLC0415

    rows, classes = shape
    ramp = torch.linspace(0.05, 1.0, classes, device=device)
    generator = torch.Generator().manual_seed(rows)
    other = torch.randint(classes, (rows,), generator=generator).to(device)
    lam = torch.rand(rows, generator=generator).to(device)
    counts = torch.linspace(500, 5, classes, device=device).long()
    mixed = {"target_b": other, "lam": lam}
    maximum = {"margin_rule": "maximum", "max_margin": 1.29, "gamma": 1.528, "scale": 19.0}
    yield {}
    yield {"margin": ramp / 2, "scale": 30.0, "weight": ramp, "normalization": "weights"}
    yield {**mixed, "label_rule": "mam", "class_counts": counts, "normalization": "batch"}
    yield {**mixed, "bias": ramp.log(), "weight": ramp, "normalization": "batch"}
    yield {**mixed, "label_rule": "unimix", "class_counts": counts, "weight": ramp, "margin": ramp / 2, **maximum}
    yield {**mixed, "label_rule": "remix", "class_counts": counts, "label_smoothing": 0.1, "focal_gamma": 2.0}
    yield {**mixed, "label_rule": "cp_mix", "class_counts": counts, "sample_weight": lam, "reduction": "sum"}


def _inputs(shape: tuple[int, int], device: str) -> tuple[Any, Any]:
    import torch  # noqa: PLC0415

    generator = torch.Generator().manual_seed(sum(shape))
    logits = torch.randn(shape, generator=generator)
    return logits.to(device), torch.randint(shape[1], (shape[0],), generator=generator).to(device)


def _loss_and_gradient(loss: Callable[..., Any], logits: Any, target: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    import torch  # noqa: PLC0415

    leaf = logits.detach().requires_grad_()
    value = loss(leaf, target, **options)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def _as_double(value: Any) -> Any:
    import torch  # noqa: PLC0415

    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _distance(found: Any, exact: Any) -> float:
    difference = (found.double() - exact.double()).abs().max()
    return float(difference / exact.double().abs().max())


def _speed(device: str) -> str:
    from lt_fast import ops  # noqa: PLC0415
    from lt_fast.ops import reference  # noqa: PLC0415

    shape = (256, 1000)
    logits, target = _inputs(shape, device)
    options = list(_variants(shape, device))[2]
    times = {
        name: _best(lambda loss=loss: _loss_and_gradient(loss, logits, target, options), device)  # type: ignore[misc]
        for name, loss in (("op", ops.mixed_margin_loss), ("reference", reference.mixed_margin_loss))
    }
    ratio = times["reference"] / times["op"]
    done = f"{shape[0]} x {shape[1]} mixed loss and gradient in {1e6 * times['op']:.0f} us"
    served = ops.backend() in (device, "cuda")
    return f"{done}, {ratio:.1f} times the reference's speed" if served else f"{done}, by the reference implementation"


def _best(work: Callable[[], Any], device: str, repeats: int = 20) -> float:
    import torch  # noqa: PLC0415

    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def _chi_square() -> str:
    import numpy as np  # noqa: PLC0415

    from lt_fast import sampling  # noqa: PLC0415

    counts = np.array([500, 158, 50, 16, 5])
    labels = np.repeat(np.arange(len(counts)), counts)
    options: dict[str, Any] = {"within_class": "replace", "output": "numpy", "seed": 0}
    sampler = sampling.ClassBalancedBatchSampler(labels, batch_size=100, num_batches=1000, **options)
    drawn = np.bincount(labels[np.concatenate(list(sampler))], minlength=len(counts))
    expected = drawn.sum() / len(counts)
    statistic, freedom = float(((drawn - expected) ** 2 / expected).sum()), len(counts) - 1
    # Wilson and Hilferty 1931: the cube root of chi-square over its freedom is nearly normal.
    deviation = ((statistic / freedom) ** (1 / 3) - 1 + 2 / (9 * freedom)) / (2 / (9 * freedom)) ** 0.5
    words = f"chi-square {statistic:.1f} with {freedom} degrees of freedom over {drawn.sum()} draws"
    if deviation > _NORMAL_QUANTILE:
        raise ArithmeticError(f"{words}: p < {_WEAKEST_P_VALUE:g}, the classes are not drawn alike")
    return words


def _draws_repeat() -> str:
    from lt_fast import sampling  # noqa: PLC0415

    sampler = sampling.ShuffledBatchSampler(1000, batch_size=10, seed=7)
    first = list(sampler)
    sampler.set_epoch(0)  # a finished epoch has moved it on
    if first != list(sampler) or sorted(sum(first, [])) != list(range(1000)):  # noqa: RUF017  (100 short lists)
        raise ArithmeticError("an epoch is not a permutation, or differs when drawn again")
    sampler.set_epoch(0)
    if sampler[42] != first[42]:
        raise ArithmeticError("batch 42 fetched alone differs from batch 42 of the epoch")
    return "an epoch is a permutation, the same when drawn again, and batch 42 alone is batch 42 of the epoch"


_FROM_SOURCE = "unknown: this lt-fast is used from its source, without an installation"


def _needed() -> str:
    """Compare NumPy and torch with the oldest releases that the package names; pip does, but not with ``--no-deps``."""
    from lt_fast._extras import always_lacking  # noqa: PLC0415

    try:
        lacking = always_lacking()
    except importlib.metadata.PackageNotFoundError:
        return _FROM_SOURCE
    if lacking:
        raise RuntimeError(f"{', '.join(lacking)}; run: pip install --upgrade numpy torch torchvision")
    return "NumPy and torch are new enough"


def _extras() -> str:
    from lt_fast._extras import shortfalls  # noqa: PLC0415

    # Found by their metadata: to import scikit-learn and torchvision takes longer than everything else here.
    try:
        found = shortfalls()
    except importlib.metadata.PackageNotFoundError:
        return _FROM_SOURCE
    parts = [f"{extra}: {', '.join(lacking)}" for extra, lacking in found.items() if lacking]
    if not parts:
        return "all installed"
    first = parts[0].partition(":")[0]
    return f"{'; '.join(parts)}; what needs one says so; all of an extra: pip install 'lt-fast[{first}]'"


def _torchvision() -> str:
    """Compare the two by their metadata: a torchvision for another torch fails when it is imported, in odd words."""
    import torch  # noqa: PLC0415

    try:
        distribution = importlib.metadata.distribution("torchvision")
    except importlib.metadata.PackageNotFoundError:
        return "torchvision is not installed"
    wanted = next((found[1] for line in distribution.requires or [] if (found := _TORCH.match(line))), None)
    release, _, build = str(torch.__version__).partition("+")
    if wanted is not None and wanted != release:
        raise RuntimeError(f"torchvision {distribution.version} needs torch {wanted}, this is {release}; {_REINSTALL}")
    # The installed metadata can lack the build; torchvision's own file has it.
    text = (Path(str(distribution.locate_file("torchvision"))) / "version.py").read_text(encoding="utf-8")
    theirs = re.search(r"__version__ = '[^'+]*\+(\w+)'", text)
    if build and theirs and theirs[1] not in (build, "cpu"):
        raise RuntimeError(f"torchvision is built for {theirs[1]}, torch for {build}; {_REINSTALL}")
    return f"torchvision {distribution.version} and torch {torch.__version__}"
