"""What the pages name in passing is there: names of the package, files of the repository, benches, commands."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from lt_fast.cli.parser import parse
from lt_fast.registry import REGISTRIES

ROOT = Path(__file__).resolve().parents[2]
BENCHES = {file.stem for file in (ROOT / "benches").iterdir()}
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += [page for page in ROOT.glob("docs/**/*.md") if page.relative_to(ROOT).parts[1] not in ("api", "project")]
NAME = re.compile(r"(?<![\w./-])(?:lt_fast|lt)((?:\.[A-Za-z_]\w*)+)")
FILE = re.compile(r"`((?:tests|benches|csrc|rust|scripts|fuzz|examples|python)/[\w./-]+)`")
BENCH = re.compile(r"python -m benches[. ]([a-z]\w*)")
BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
GONE = {"upgrading.md": {"training.DeferredReweighting"}}  # names of 0.1
TO_BE_WRITTEN = {
    "CONTRIBUTING.md": {"python/lt_fast/losses/inverse_margin.py", "python/lt_fast/recipes/inverse_margin.py"}
}
TO_BE_WRITTEN["CONTRIBUTING.md"] |= {f"rust/{crate}/src/label_bounds.rs" for crate in ("core", "bindings")}


def exists(dotted: str) -> bool:
    parts = dotted.split(".")
    found = importlib.import_module("lt_fast")
    for at, part in enumerate(parts):
        if not hasattr(found, part):
            try:
                importlib.import_module(".".join(["lt_fast", *parts[: at + 1]]))
            except ImportError:
                return False
        found = getattr(found, part)
    return True


def commands(page: Path) -> list[str]:
    shown = [block.replace("\\\n", " ") for block in BLOCK.findall(page.read_text(encoding="utf-8"))]
    lines = [line for block in shown for line in block.splitlines() if line.startswith("lt-fast ")]
    return [line for line in lines if not re.search(r"\.\.\.|<TAB>| > |^lt-fast [\d.]+$", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    groups = {registry.group.removeprefix("lt_fast.") for registry in REGISTRIES.values()}
    names = {name[1:] for name in NAME.findall(text)} - groups - GONE.get(page.name, set())
    files = set(FILE.findall(text)) - TO_BE_WRITTEN.get(page.name, set())
    assert sorted(name for name in names if not exists(name)) == []
    assert sorted(file for file in files if not (ROOT / file).exists()) == []
    assert sorted(name for name in BENCH.findall(text) if name not in BENCHES) == []


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_a_command_of_a_page_is_one_that_is_taken(page: Path) -> None:
    for line in commands(page):
        words = shlex.split(line, comments=True)[1:]
        if words[0] != "--version":
            assert parse(words).name == words[0], line
