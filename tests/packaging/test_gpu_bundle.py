"""The folder that measures lt-fast on a machine with a GPU: that it is whole, and its parts on the CPU."""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from benches import cuda

import forked

ROOT = Path(__file__).parents[2]
WHEEL = "lt_fast-0.2.0-cp311-abi3-linux_x86_64.whl"


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem.replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("lt_fast-0.2.0.dist-info/METADATA", "Name: lt-fast\n")
    loaded(ROOT / "scripts" / "gpu-bundle.py").build(folder / "out", folder / WHEEL)
    return folder / "out"


@pytest.fixture(scope="module")
def data(bundle):
    """Four classes of noise as the bundle's data."""
    draw, labels = np.random.default_rng(0), {"train": np.repeat(np.arange(4), [20, 10, 5, 3])}
    labels["test"] = np.repeat(np.arange(4), 3)
    arrays = {f"{part}_labels": values for part, values in labels.items()}
    for part, values in labels.items():
        arrays[f"{part}_images"] = draw.integers(0, 256, (len(values), 32, 32, 3), np.uint8)
    (bundle / "data").mkdir()
    np.savez(bundle / "data" / "cifar100-lt.npz", classes=np.array(list("abcd")), **arrays)
    return bundle / "data"


def test_every_file_of_the_bundle_is_there_and_parses(bundle):
    files = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert {"README.md", "run.sh", "benches/cuda.py", "benches/training.py", f"wheels/{WHEEL}"} <= files
    assert {"tests/ops/test_cuda.py", "tests/training/test_step_cuda.py"} <= files
    for path in bundle.rglob("*.py"):
        compile(path.read_text(encoding="utf-8"), path, "exec")
    run = bundle / "run.sh"
    assert run.stat().st_mode & 0o111
    assert subprocess.run(["sh", "-n", run], check=False).returncode == 0
    refused = subprocess.run([run, "benches"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr == "step must be one of doctor, tests, bench, loops, train, summary, got benches\n"


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.14"])
def test_its_packages_are_locked_with_hashes(python):
    script = loaded(ROOT / "scripts" / "gpu-bundle.py")
    text = script.locked(script.PACKAGES, python)
    assert [line.partition("==")[0] for line in text.splitlines() if "==" in line] == list(script.PACKAGES)
    assert all("--hash=sha256:" in block for block in text.split("==")[1:])
    assert ";" not in text


def test_only_packages_that_are_missing_are_installed(bundle, tmp_path):
    install = loaded(bundle / "install.py")
    names = [WHEEL, "PyTest-9.0.0-py3-none-any.whl", "not_there-1.0-py3-none-any.whl"]
    for name in names:
        (tmp_path / name).touch()
    assert {path.name for path in install.wanted(tmp_path)} == {WHEEL, "not_there-1.0-py3-none-any.whl"}


def test_a_training_on_the_packed_data(bundle, data, tmp_path):
    trainings = loaded(bundle / "trainings.py")
    options = argparse.Namespace(data=data, out=tmp_path, device="cpu")
    words = "ce:1:0:batch_size=38,learning_rate=0.01"
    done = forked.run(trainings.command(words, options), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = trainings.result(trainings.folder_of(words, options))
    assert found["epochs"] == 1
    assert 0 <= found["top1"] <= 1
    assert trainings.reason("{\nlt-fast: root must be given\n}") == "lt-fast: root must be given"


def test_trainings_that_the_time_does_not_allow_are_named(bundle, tmp_path):
    trainings = loaded(bundle / "trainings.py")
    assert trainings.run(argparse.Namespace(trainings=["ce:0:0", "mc:0:1"], seconds=0, width=2, out=tmp_path)) == 2
    lines = [json.loads(line) for line in (tmp_path / "trainings.jsonl").read_text().splitlines()]
    assert lines == [{"training": name, "failed": "not begun: the time is up"} for name in ("ce:0:0", "mc:0:1")]


def test_the_bench_and_its_summary(bundle, tmp_path, capsys):
    table = tmp_path / "cuda.csv"
    words = ["--device", "cpu", "--shapes", "8x10", "--dtypes", "float32", "bfloat16", "--no-compile", "--csv"]
    cuda.main([*words, str(table)])
    (tmp_path / "ncu.txt").write_text("  forward_staged\n    dram__throughput.avg   %     88.1\n")
    (tmp_path / "tests.txt").write_text("FAILED test_cuda.py::test_a - assert 1\n1 failed, 2 passed in 1.0s\n")
    (tmp_path / "trainings.jsonl").write_text('{"training": "ce:0:0", "failed": "stopped: the time is up"}\n')
    capsys.readouterr()
    loaded(bundle / "summary.py").main(tmp_path)
    page = capsys.readouterr().out
    assert "| float32 | 8x10 | " in page
    assert "| bfloat16 | 8x10 | " in page
    assert "- dram__throughput.avg % 88.1" in page
    assert "1 failed, 2 passed in 1.0s" in page
    assert "| ce:0:0 | - | - | stopped: the time is up | - | - |" in page
    assert "## Checks\n\nnot run" in page
    assert "## Steps\n\nfloat32: not run" in page


def test_the_loops_of_training_and_their_summary(bundle, tmp_path, capsys, monkeypatch):
    from benches import training

    monkeypatch.setattr(training, "network", lambda _: training.FewPixels())
    monkeypatch.setattr(training, "SMALL_STEPS", 3)
    training.main(["--rounds", "1", "--steps", "2", "--csv", str(tmp_path / "training.csv")])
    capsys.readouterr()
    lines = list(loaded(bundle / "summary.py").loops(tmp_path))
    assert [line.split(" | ")[1] for line in lines if line.startswith("| ResNet-32")] == [
        "bare PyTorch", "in the manner of timm", "Lightning", "lt-fast", "lt-fast, one worker",
    ]  # fmt: skip
    assert lines[-1] == "bfloat16: not run"


def test_its_tests_are_collected_where_the_bundle_lies(bundle):
    places = [str(bundle / "tests"), str(bundle), str(ROOT / "python")]
    words = ["-m", "pytest", "tests/training/test_step_cuda.py", "-c", "/dev/null", "--rootdir=.", "-q"]
    words += ["-p", "no:cacheprovider", "--import-mode=importlib"]
    done = forked.run(words, cwd=bundle, environment={"PYTHONPATH": os.pathsep.join(places)})
    assert "error" not in done.stdout, done.stdout
    assert re.search(r"\d+ (skipped|passed)", done.stdout)
