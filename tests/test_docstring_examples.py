"""The examples in docstrings: every public class and function has one, and each prints what it says."""

import contextlib
import doctest
import importlib
import importlib.util
import inspect
import io
import pkgutil
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import lt_fast
from lt_fast.experiment import resolve, run, run_name

ROOT = Path(lt_fast.__file__).parent
ALONE = ("batch", "counts", "ranks", "registry", "versions")
"""Public modules outside of a package: what they define is public."""


def packages():
    """The names below ``lt_fast`` of every public package and module."""
    found = pkgutil.walk_packages([str(ROOT)], "lt_fast.")
    names = (module.name.removeprefix("lt_fast.") for module in found if module.ispkg)
    return sorted([*ALONE, *(name for name in names if not any(part.startswith("_") for part in name.split(".")))])


def public(package):
    """Every public class and function of a package, or of a module outside of one, by name."""
    module = importlib.import_module(f"lt_fast.{package}")
    if package in ALONE:
        members = {name: member for name, member in vars(module).items() if not name.startswith("_")}
        members = {name: each for name, each in members.items() if getattr(each, "__module__", "") == module.__name__}
    else:
        members = {name: getattr(module, name) for name in getattr(module, "__all__", [])}
    return {name: each for name, each in members.items() if inspect.isclass(each) or inspect.isroutine(each)}


def lacks(name, documented):
    """What the docstring of a callable lacks: an example that uses it by its name and prints a result; None if not."""
    every = doctest.DocTestParser().get_examples(documented.__doc__ or "")
    examples = [example for example in every if doctest.SKIP not in example.options]
    if not any(name in example.source for example in examples):
        return f"{name} has no example that names it"
    if not any(example.want for example in examples):
        return f"the example of {name} prints nothing"
    return None


@pytest.mark.parametrize("package", packages())
def test_every_public_callable_has_an_example(package):
    assert [lack for name, each in public(package).items() if (lack := lacks(name, each))] == []


def test_the_walk_finds_what_a_user_imports():
    assert {"losses", "sampling", "reproduction.figures", "counts"} <= set(packages())
    assert {"LDAMLoss", "ldam_margins"} <= set(public("losses"))
    assert {"Batch", "BatchPlan", "MixPlan"} == set(public("batch"))


def test_an_example_has_to_name_what_it_explains_and_to_print():
    def example():
        """Example of something else.

        >>> sum([1, 2])
        3
        """

    assert lacks("example", example) == "example has no example that names it"
    example.__doc__ = ">>> value = example()"
    assert lacks("example", example) == "the example of example prints nothing"
    assert lacks("sum", sum) == "sum has no example that names it"
    example.__doc__ = ">>> example()  # doctest: +SKIP\n3"
    assert lacks("example", example) == "example has no example that names it"
    example.__doc__ = ">>> example()\n3"
    assert lacks("example", example) is None


def modules():
    """Every module with an example, found in the source text, so that listing them imports nothing."""
    files = (path for path in sorted(ROOT.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8"))
    parts = (path.relative_to(ROOT.parent).with_suffix("").parts for path in files)
    return [".".join(each[:-1] if each[-1] == "__init__" else each) for each in parts]


def generators():
    """The states of the global random generators."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002  (what must not have been used)
    return random.getstate(), (name, keys.tolist(), *rest), torch.get_rng_state().tolist()


EPOCH = {"epochs": 1, "validation": 0.2}
RUNS = {"ce-0": "ce", "mammc-0": "mammc"}
SWEEP = "sweep"
RATES = (0.05, 0.1)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Runs of one epoch on Digits-LT, by the names under which examples read them, and those of a sweep."""
    folder = tmp_path_factory.mktemp("examples") / "runs"
    for name, method in RUNS.items():
        run(resolve(method, "digits-lt", EPOCH), folder / name, progress=False)
    for rate in RATES:
        config = resolve("ce", "digits-lt", {**EPOCH, "learning_rate": rate})
        run(config, folder / SWEEP / run_name(config), progress=False)
    return folder


@pytest.fixture
def _apart(tmp_path, monkeypatch):
    """One thread for torch, and nothing is written into the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def reads_runs(module):
    """Whether an example of the module reads one of ``RUNS``, or of the sweep."""
    text = Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")
    return any(f"runs/{name}" in text for name in (*RUNS, SWEEP))


def run_examples(module, folder, runs=None):
    """Run all examples of a module, each docstring in a folder of its own."""
    report, runner = io.StringIO(), doctest.DocTestRunner(verbose=False)
    for number, test in enumerate(doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))):
        if test.examples:
            place = folder / str(number)
            place.mkdir(parents=True)
            if runs is not None and "runs/" in test.docstring:
                shutil.copytree(runs, place / "runs")
            with contextlib.chdir(place):
                runner.run(test, out=report.write)
    assert runner.tries
    if runner.failures:
        pytest.fail(report.getvalue(), pytrace=False)


@pytest.mark.usefixtures("_apart")
@pytest.mark.parametrize("module", modules())
def test_examples_print_what_they_say(module, tmp_path, request):
    runs = request.getfixturevalue("runs") if reads_runs(module) else None
    before = generators()
    run_examples(module, tmp_path / "first", runs)
    if generators() != before:  # a library may draw when it is imported, as rich does: once
        before = generators()
        run_examples(module, tmp_path / "second", runs)
    assert generators() == before
