"""CONTRIBUTING.md's list for a Rust routine is followed in a copy of the repository, and what it makes is called."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import lt_fast

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Adding a Rust routine")[1].split("\n## ")[0]
BLOCKS = [
    (path, textwrap.dedent(code))
    for path, code in re.findall(
        r"`((?:rust|python|fuzz)/\S+)`(?:(?!`(?:rust|python|fuzz)/).)*?```[a-z]+\n(.*?)\n *```", TEXT, re.DOTALL
    )
]
NEW = ("rust/core/src/label_bounds.rs", "rust/bindings/src/label_bounds.rs")
BUILT = ROOT / "target" / "contributing"  # kept: what is not of this repository is compiled once
CALLS = """
import ast
import inspect
from pathlib import Path

import numpy as np

import lt_fast
from fuzz.bindings import targets
from fuzz.values import plausible
from lt_fast._rust import labels_above

assert labels_above(np.array([3, 0, 2, 2]), 1) == labels_above(np.array([3, 9, 0, 9, 2, 9, 2, 9])[::2], 1) == 3
try:
    labels_above(np.array([0, -1]), 1)
except ValueError as error:
    assert str(error) == "labels must be >= 0, got -1 at position 1"
(target,) = [target for target in targets() if target.name == "labels_above"]
assert all(plausible(target.name, name) for name in target.parameters)
stub = ast.parse((Path(lt_fast.__file__).parent / "_rust.pyi").read_text())
(types,) = [each for each in stub.body if getattr(each, "name", "") == "labels_above"]
assert [each.arg for each in types.args.args] == list(inspect.signature(labels_above).parameters) == target.parameters
"""


def carry_out(folder, *command):
    environment = {**os.environ, "PYTHONPATH": str(folder / "python"), "OMP_NUM_THREADS": "1"}
    environment |= {"CARGO_TARGET_DIR": str(BUILT), "CARGO_INCREMENTAL": "0", "CARGO_PROFILE_DEV_DEBUG": "0"}
    environment |= {"PYO3_PYTHON": sys.executable, "RUSTFLAGS": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def follow(folder):
    for path, code in BLOCKS:
        file = folder / path
        file.write_text(f"{code}\n" if path in NEW else with_addition(file.read_text(), code))


def with_addition(text, code):
    """Put a block into a text that has its first line."""
    (found,) = re.findall(rf"^( *){re.escape(code.splitlines()[0])}\n", text, re.MULTILINE)
    first, block = (textwrap.indent(part, found) for part in (f"{code.splitlines()[0]}\n", f"{code}\n"))
    return text.replace(first, block)


@pytest.fixture
def copy(tmp_path):
    """The repository's build files and Rust code, with new times so that cargo compiles them, and the Python part."""
    for name in ("Cargo.toml", "Cargo.lock"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("rust", "fuzz"):
        shutil.copytree(ROOT / name, tmp_path / name, copy_function=shutil.copy)
    leave = shutil.ignore_patterns("_rust*")
    shutil.copytree(Path(lt_fast.__file__).parent, tmp_path / "python/lt_fast", copy_function=os.symlink, ignore=leave)
    shutil.copy(ROOT / "python/lt_fast/_rust.pyi", tmp_path / "python/lt_fast")
    return tmp_path


def test_the_list_has_two_files_and_additions_to_four():
    assert {path for path, _ in BLOCKS if not (ROOT / path).exists()} == set(NEW)
    assert sorted({path for path, _ in BLOCKS} - set(NEW)) == [
        "fuzz/values.py", "python/lt_fast/_rust.pyi", "rust/bindings/src/lib.rs", "rust/core/src/lib.rs",
    ]  # fmt: skip
    assert len(BLOCKS) == 7


@pytest.mark.slow
@pytest.mark.timeout(1200)  # one minute of a processor; the first time, when crates are compiled, on a busy machine
def test_the_routine_is_tested_built_called_and_fuzzed(copy):
    follow(copy)
    carry_out(copy, "cargo", "fmt", "--all", "--check")
    tested = carry_out(copy, "cargo", "test", "--locked", "-p", "lt-fast-core", "--lib", "--", "label_bounds")
    assert "2 passed" in tested
    carry_out(copy, "cargo", "build", "--locked", "-p", "lt-fast")
    shutil.copy(BUILT / "debug" / "lib_rust.so", copy / "python/lt_fast/_rust.abi3.so")
    carry_out(copy, sys.executable, "-c", CALLS)
    fuzzed = carry_out(copy, sys.executable, "-m", "fuzz.bindings", "--seconds", "0")
    assert re.search(r"^labels_above: [1-9]\d* values", fuzzed, re.MULTILINE)
