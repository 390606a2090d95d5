"""The README's examples run as they stand, in the order in which they stand."""

import re
from pathlib import Path

import pytest

import forked
from lt_fast.registry import RECIPES

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_readme_has_a_sampler_and_a_loss_example() -> None:
    assert len(EXAMPLES) >= 2
    assert any("BatchSampler" in example for example in EXAMPLES)
    assert any("Loss" in example for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.strip().splitlines()[0][:40])
def test_readme_example_runs(example: str, tmp_path: Path) -> None:
    """In a process of its own and an empty folder, with warnings as errors."""
    result = forked.run(["-W", "error", "-c", example], cwd=tmp_path, timeout=120)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.strip().splitlines()[0][:40])
def test_readme_example_is_short(example: str) -> None:
    assert len(example.strip().splitlines()) <= 15


@pytest.mark.parametrize("example", [text for text in EXAMPLES if "loss.backward()" in text])
def test_the_loss_example_prints_a_usual_loss(example: str) -> None:
    """A finite loss of the size of ``scale``, ten times in one process, whose memory is full of other numbers."""
    dirty = "import torch\nfor n in (3, 16, 48):\n    torch.full((n, 16), float('nan'))\n"
    code = f"for _ in range(10):\n    exec({dirty + example!r})"
    result = forked.run(["-W", "error", "-c", code], timeout=120)
    assert result.returncode == 0, result.stderr
    losses = [float(line.split()[0]) for line in result.stdout.splitlines()]
    assert len(losses) == 10
    assert all(1 < loss < 60 for loss in losses), losses


METHODS = ROOT / "docs" / "methods"
NEED_FILES = {"large-scale.md"}  # of data sets that nobody may pass on
FAMILIES = sorted(page.name for page in METHODS.glob("*.md") if page.name != "README.md")
RUNNABLE = [name for name in FAMILIES if name not in NEED_FILES]


def test_every_page_and_every_recipe_of_methods_is_in_the_index() -> None:
    index = (METHODS / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == set(FAMILIES)
    assert "methods/README.md" in (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    text = index + "".join((METHODS / name).read_text(encoding="utf-8") for name in FAMILIES)
    assert not [name for name in RECIPES if f"`{name}`" not in text]


PAGES = ["batches.md", "faq.md", "index.md", "methods.md", *(f"methods/{name}" for name in RUNNABLE)]


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    result = forked.run(["-W", "error", "-c", "\n".join(blocks)], cwd=tmp_path, timeout=120)
    assert result.returncode == 0, result.stderr
