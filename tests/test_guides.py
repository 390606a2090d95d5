"""The guides: their code runs and prints what it says, their commands are taken, and their links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

import forked
from lt_fast.cli.parser import parse

DOCS = Path(__file__).resolve().parent.parent / "docs"
GUIDES = [
    "calibration.md",
    "data.md",
    "losses.md",
    "metrics.md",
    "mixing.md",
    "multi-label.md",
    "recipes.md",
    "start/engineer.md",
    "start/practitioner.md",
    "start/researcher.md",
    "streams.md",
]
PREPARED = {
    "start/practitioner.md": f"""
import sys, warnings
from pathlib import Path

sys.path.insert(0, {str(Path(__file__).parent)!r})
from experiment.photographs import NET, write_photographs
from lt_fast.experiment import resolve, run

options = {{"path": str(write_photographs(Path("photos").absolute())), "groups": "none"}}
write_photographs(Path("new"), seed=1)
small = {{"epochs": 1, "batch_size": 8, "transform.size": 16}}
config = resolve("ce", "photographs", small, model=NET, mode="scratch", data_options=options)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of so few photographs
    run(config, "runs/mammc-photos-resnet50-freeze-0", progress=False)
"""
}
"""What a page takes as given: a run on photographs, by a network that needs no pretrained weights."""

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", flags=re.MULTILINE)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def code_of(page: str) -> str:
    return "\n".join(block for language, block in BLOCK.findall(text_of(page)) if language == "python")


@pytest.mark.parametrize("page", GUIDES)
def test_the_code_of_a_guide_prints_what_it_says(page: str, tmp_path: Path) -> None:
    """In an empty folder, with warnings as errors; "about" allows numbers that differ by a tenth of one, or of 1."""
    code = code_of(page)
    assert len(re.findall(r"^ *print\(", code, flags=re.MULTILINE)) == len(PRINTED.findall(code)) > 0
    result = forked.run(["-W", "error", "-c", PREPARED.get(page, "") + code], cwd=tmp_path, timeout=280)
    assert result.returncode == 0, result.stderr
    printed, said = result.stdout.splitlines(), PRINTED.findall(code)
    assert [_rounded(line, by) for line, by in zip(printed, said, strict=True)] == said


def _rounded(line: str, said: str) -> str:
    """Return ``said`` where it tells numbers of ``line`` approximately, else the line."""
    if not said.startswith("about "):
        return line
    numbers, told = ([float(number) for number in NUMBER.findall(text)] for text in (line, said))
    return said if numbers == pytest.approx(told, rel=0.1, abs=0.1) else line


def commands(page: str) -> list[list[str]]:
    """Return the words of every command on the page, a continued line as one."""
    shown = [block.replace("\\\n", " ") for language, block in BLOCK.findall(text_of(page)) if language != "python"]
    lines = [line for block in shown for line in block.splitlines() if line.startswith("lt-fast ")]
    return [shlex.split(line, comments=True)[1:] for line in lines if "..." not in line]


@pytest.mark.parametrize("words", [words for page in GUIDES for words in commands(page)], ids=" ".join)
def test_a_command_of_a_guide_is_one_that_is_taken(words: list[str]) -> None:
    assert parse(words).name == words[0]


@pytest.mark.parametrize("page", GUIDES)
def test_the_links_of_a_guide_lead_to_a_heading(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text_of(page))
    assert links
    for path, heading in links:
        target = (DOCS / page).parent / path if path else DOCS / page
        assert target.exists(), path
        assert not heading or heading in headings(target.read_text(encoding="utf-8")), f"{path}#{heading}"


def headings(text: str) -> set[str]:
    plain = (re.sub(r"[^\w\s-]", "", line.lower()) for line in re.findall(r"^##+ (.*)$", text, flags=re.MULTILINE))
    return {line.strip().replace(" ", "-") for line in plain}


@pytest.mark.parametrize("page", GUIDES)
def test_a_guide_is_short(page: str) -> None:
    assert 60 <= len(text_of(page).splitlines()) <= 150
