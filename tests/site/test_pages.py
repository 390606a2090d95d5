"""The index has every page, the API pages every public name, and the page on citing every recipe."""

import importlib
import re
from pathlib import Path

import pytest

import lt_fast
from extensions import api_pages, signatures
from extensions.repository import PAGES
from lt_fast.cli.parser import COMMANDS
from lt_fast.registry import RECIPES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MODULES = [*api_pages.PACKAGES, *api_pages.MODULES]


def entries_of_index():
    trees = re.findall(r"```{toctree}\n(.*?)```", (DOCS / "index.md").read_text(encoding="utf-8"), re.DOTALL)
    return [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]


def test_the_index_has_every_page_once():
    written = {file.relative_to(DOCS).with_suffix("").as_posix() for file in DOCS.glob("**/*.md")}
    written = {name for name in written if name.partition("/")[0] not in ("api", "project")}
    generated = {"api/index", *(page.removesuffix(".md") for page in PAGES.values())}
    assert sorted(entries_of_index()) == sorted((written | generated) - {"index"})


@pytest.mark.parametrize("name", MODULES)
def test_a_page_of_the_api_has_every_public_name(name):
    page = api_pages.page_of(name)
    documented = re.findall(r"^\.\. (?:autoclass|autofunction|py:data):: lt_fast\.[\w.]*?(\w+)$", page, re.MULTILINE)
    assert sorted(documented) == sorted(api_pages.public_names(importlib.import_module(f"lt_fast.{name}")))
    assert page.count("   * - :py:obj:") == len(documented) > 0


def test_a_class_is_shown_with_its_constructor():
    """A sampler has a ``__new__`` that takes anything, and a protocol is not made at all."""
    shown = signatures.of_class(lt_fast.sampling.ClassBalancedSampler, "(*data, **settings)")
    assert shown.startswith("(labels: ~typing.Any, *, q: float = 0.0")
    assert signatures.of_class(lt_fast.data.Planner, "(*args, **kwargs)") == ""
    for own in (lt_fast.losses.LDAMLoss, lt_fast.methods.StepOutput, lt_fast.errors.UsageError):
        assert signatures.of_class(own, "(as found)") == "(as found)"


def test_members_that_a_page_shows_include_those_of_bases_without_one():
    members = api_pages._members(lt_fast.calibration.TemperatureScaling)
    assert members[0] == "temperature"
    assert {"fit", "transform", "apply", "save", "load", "state_dict"} < set(members)
    assert api_pages._members(lt_fast.losses.LDAMLoss) == []  # a loss inherits from `Loss`, which has an entry


def test_the_api_is_what_the_package_says():
    on_top = re.findall(r"^\.\. auto\w+:: lt_fast\.(\w+)$", api_pages.top_page(), re.MULTILINE)
    assert sorted([*api_pages.PACKAGES, *on_top]) == sorted(lt_fast.__all__)
    assert all(f":doc:`lt_fast.{name} <{name}>`" in api_pages.index(MODULES) for name in MODULES)


def test_the_page_of_the_command_line_has_every_command():
    page = api_pages.command_page()
    assert all(f"\nlt-fast {name}\n-----" in page for name in COMMANDS)
    assert "--imbalance-ratio R" in page


def test_citing_names_every_recipe_with_its_paper():
    text = (DOCS / "citing.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    papers = {name: row for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    assert set(papers) == set(RECIPES)
    for name, recipe in RECIPES.items():
        assert f" | {recipe.paper.title}" in papers[name]
        assert recipe.paper.arxiv in papers[name]


def test_citing_agrees_with_the_citation_file():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    text = (DOCS / "citing.md").read_text(encoding="utf-8").replace("{", "").replace("}", "")
    assert re.search(r'^title: "(.*)"$', citation, re.MULTILINE)[1] in text
    assert re.search(r"^authors:\n  - name: (.*)$", citation, re.MULTILINE)[1] in text
    assert re.search(r"^license: (.*)$", citation, re.MULTILINE)[1] in text


def test_docstrings_have_no_markdown_table():
    """On the pages of the API they would be lines of bars."""
    files = [file for file in (ROOT / "python" / "lt_fast").rglob("*.py") if "| --- |" in file.read_text("utf-8")]
    assert [file.name for file in files if re.search(r"^ +\| --- \|", file.read_text("utf-8"), re.MULTILINE)] == []
