"""Every block of docs/samplers.md runs and prints what it says; what it replaces exists and is used like that."""

import importlib.util
import multiprocessing
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "samplers.md").read_text(encoding="utf-8")
SETUP, *EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", flags=re.MULTILINE)


def run(example):
    """Run it, and let go of its names: its functions hold them, so its loaders would keep their workers running."""
    names = {"__name__": "example"}
    try:
        exec(compile(SETUP + example, "docs/samplers.md", "exec"), names)
    finally:
        names.clear()


@pytest.mark.filterwarnings("ignore")  # of the frameworks shown; the samplers' own are errors in every other test
@pytest.mark.parametrize(
    "example",
    [pytest.param(text, marks=[pytest.mark.slow] if "lightning" in text else []) for text in EXAMPLES],
    ids=lambda text: text.strip().splitlines()[0][:60],
)
def test_example_runs_and_prints_what_it_says(example, capsys):
    before = set(multiprocessing.active_children())
    run(example)
    assert capsys.readouterr().out.splitlines() == PRINTED.findall(example)
    assert set(multiprocessing.active_children()) == before


def test_every_print_says_what_it_prints():
    for example in EXAMPLES:
        assert len(re.findall(r"^ *print\(", example, flags=re.MULTILINE)) == len(PRINTED.findall(example)) > 0


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * (1 + len(EXAMPLES))


def test_links_lead_to_headings():
    headings = {
        re.sub(r"[^\w\s-]", "", line.lower()).strip().replace(" ", "-")
        for line in re.findall(r"^###? (.*)$", PAGE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= headings


# --- the lines that are replaced --------------------------------------------------------------------------------------

REPLACED = re.compile(r"^# (from ([\w.]+) import (.*))$", flags=re.MULTILINE)
OURS = re.compile(r"^from lt_fast\.sampling import (?:(\w+) as )?(\w+)\n", flags=re.MULTILINE)


def names_replaced():
    """(module, name) of each rival that is installed here."""
    return [
        (module, name)
        for _, module, names in REPLACED.findall(PAGE)
        for name in names.split(", ")
        if importlib.util.find_spec(module.partition(".")[0]) and module.partition(".")[0] not in ("data", "sampler")
    ]


def switched():
    """The examples in which nothing but the import line changes, with the rival's in place of ours."""
    for example in EXAMPLES:
        for line, module, names in REPLACED.findall(example):
            (ours,) = OURS.finditer(example) if len(OURS.findall(example)) == 1 else (None,)
            if ours is not None and ours[2] == names and (module, names) in names_replaced():
                yield pytest.param(OURS.sub(f"{line}\n", example), id=f"{module}.{names}")


def test_the_rivals_that_are_installed_here():
    assert {module.partition(".")[0] for module, _ in names_replaced()} >= {"torch"}
    assert [example.id for example in switched()][:1] == ["torch.utils.data.WeightedRandomSampler"]


@pytest.mark.slow
def test_what_is_replaced_exists():
    """In a process of its own: some of them start threads, or log, when they are imported."""
    lines = [f"from {module} import {name}" for module, name in names_replaced()]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("example", list(switched()))
def test_below_the_import_line_nothing_changes(example, capsys):
    """The same lines run with the rival: what the page calls a change of one import line is one."""
    assert "lt_fast" not in example
    run(example)
    assert len(capsys.readouterr().out.splitlines()) == len(PRINTED.findall(example))
