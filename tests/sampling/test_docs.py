"""Every block of docs/samplers.md runs, and prints what stands beside its prints."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "samplers.md").read_text(encoding="utf-8")
SETUP, *EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", flags=re.MULTILINE)


@pytest.mark.filterwarnings("ignore")  # of the frameworks shown; the samplers' own are errors in every other test
@pytest.mark.parametrize(
    "example",
    [pytest.param(text, marks=[pytest.mark.slow] if "lightning" in text else []) for text in EXAMPLES],
    ids=lambda text: text.strip().splitlines()[0][:60],
)
def test_example_runs_and_prints_what_it_says(example, capsys):
    exec(compile(SETUP + example, "docs/samplers.md", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out.splitlines() == PRINTED.findall(example)


def test_every_print_says_what_it_prints():
    for example in EXAMPLES:
        assert len(re.findall(r"^ *print\(", example, flags=re.MULTILINE)) == len(PRINTED.findall(example)) > 0


def test_every_block_is_run():
    assert PAGE.count("```") == 2 * (1 + len(EXAMPLES))


def test_links_lead_to_headings():
    headings = {
        re.sub(r"[^\w\s-]", "", line.lower()).strip().replace(" ", "-")
        for line in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) <= headings
