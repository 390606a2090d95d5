"""``lt-fast doctor``: what a bug report needs, in little time, and what does not fit together."""

import importlib.metadata
import json
import re
import subprocess
import sys
import sysconfig

import pytest
import torch

from lt_fast import _extras, versions
from lt_fast.cli import doctor

CODE = """
import json, sys
from lt_fast.cli import main
status = main(["doctor", "--json"])
json.dump([status, sorted(sys.modules)], sys.stderr)
"""


@pytest.fixture(scope="module")
def answer():
    """What the command says in an interpreter of its own, and the modules that it has imported."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout), *json.loads(done.stderr.splitlines()[-1])


def test_nothing_is_imported_that_takes_longer_than_the_checks(answer):
    _, status, modules = answer
    assert status == 0
    assert "torch" in modules
    assert not {"sklearn", "torchvision", "matplotlib", "pandas", "torch._dynamo", "scipy"} & set(modules)


def test_a_report_has_the_machine_and_the_builds(answer):
    found = answer[0]["versions"]
    assert {"processor", "c library", "python build", "torch build", "gpus", "gpu driver", "settings"} <= set(found)
    assert found["torch build"].startswith(f"{torch.__version__}, ")
    assert found["processor"].split()[1] == "x"
    free_threaded = sysconfig.get_config_var("Py_GIL_DISABLED")
    assert found["python build"] == f"CPython, {'free-threaded, the GIL is off' if free_threaded else 'with the GIL'}"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("ModuleNotFoundError(\"No module named 'torch'\", name='torch')", "No module named 'torch'"),
        ("ValueError('libcublas.so not found')", "libcublas.so not found"),
    ],
)
def test_without_torch_the_rest_is_checked(raised, said, tmp_path):
    """As where it is not installed, or is one whose libraries do not load."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(f"raise {raised}\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom lt_fast.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, "doctor", "--json"], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert {check["name"]: check["passed"] for check in found["checks"]} == {
        "torch can be imported": False,
        "class-balanced draws": True,
        "draws repeat": True,
        "optional packages": True,
    }
    assert said in found["checks"][0]["detail"]
    assert "pip install torch" in found["checks"][0]["detail"]
    assert found["versions"]["torch build"] is None
    if "ModuleNotFound" in raised:
        words = ["train", "--data", "digits-lt", "--method", "ce"]
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(
            "lt-fast: torch is not installed: pip install torch torchvision; `lt-fast doctor`"
        )


def test_settings_from_outside_are_in_it(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("LT_FAST_BACKEND", "cpu")
    assert versions.machine()["settings"].startswith("LT_FAST_BACKEND=cpu")
    assert "OMP_NUM_THREADS=3" in versions.machine()["settings"].split()


def test_a_driver_is_told_with_the_cuda_that_it_runs(monkeypatch, tmp_path):
    from lt_fast import _cuda_driver

    monkeypatch.setattr(_cuda_driver, "driver_cuda", lambda: (13, 0))
    monkeypatch.setattr(versions, "_DRIVER_FILE", tmp_path / "version")
    assert versions.machine()["gpu driver"] == "unknown version, runs CUDA 13.0"
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
    )
    assert versions.machine()["gpu driver"] == "580.65.06, runs CUDA 13.0"
    monkeypatch.setattr(_cuda_driver, "capabilities", lambda: [(9, 0), (8, 0), (9, 0)])
    assert versions.machine()["gpus"] == "3 of compute capability 8.0, 9.0"


def test_one_reason_for_two_devices_is_told_once():
    missing = {"cpu": "it was not built", "cuda": "it was not built"}
    assert versions._not_served(missing) == ["cpu, cuda: it was not built"]
    assert versions._not_served({"cuda": "no GPU can be used"}) == ["cuda: no GPU can be used"]


REQUIRES = [
    "numpy>=2",
    "tqdm>=4.66 ; extra == 'train'",
    "hypothesis>=99.1 ; extra == 'train'",
    'no-such-package>=1 ; extra == "photos"',
    "numpy ; extra == 'compare'",
]


def test_what_an_extra_lacks_is_found_without_an_import(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: REQUIRES)
    version = importlib.metadata.version("hypothesis")
    old = f"hypothesis {version} is older than 99.1"
    assert _extras.shortfalls() == {"train": [old], "photos": ["no no-such-package"], "compare": []}
    lacks = f"train: {old}; photos: no no-such-package"
    assert doctor._extras() == (f"{lacks}; what needs one says so; all of an extra: pip install 'lt-fast[train]'")


def test_a_torch_older_than_the_package_names_fails(monkeypatch):
    assert doctor._needed() == "NumPy and torch are new enough"
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["numpy>=2", "torch>=99.1", *REQUIRES[1:]])
    version = importlib.metadata.version("torch")
    with pytest.raises(RuntimeError, match=f"^torch {re.escape(version)} is older than 99.1; run: pip install --up"):
        doctor._needed()


@pytest.mark.parametrize(
    ("version", "oldest", "older"),
    [
        ("2.10.0", "2.9", False),
        ("2.9.1", "2.10", True),
        ("1.5", "1.5.0", False),
        ("4.0rc1", "4", False),
        ("", "1", True),
    ],
)
def test_versions_are_compared_as_numbers(version, oldest, older):
    assert (_extras._numbers(version) < _extras._numbers(oldest)) is older


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ("9.9.0+cu130", r"torchvision \S+ needs torch \d+\.\d+\.\d+, this is 9.9.0; install both in one command"),
        ("{}+cu999", r"torchvision is built for \w+, torch for cu999; install both in one command: pip install"),
    ],
)
def test_a_torchvision_for_another_torch_is_found(monkeypatch, found, words):
    monkeypatch.setattr(torch, "__version__", found.format(torch.__version__.partition("+")[0]))
    with pytest.raises(RuntimeError, match=words):
        doctor._torchvision()


def test_the_two_of_this_environment_fit():
    assert doctor._torchvision().startswith("torchvision ")
