"""Pages whose code prints: it runs as one program, and prints what its comments say."""

import re
from pathlib import Path

import pytest

import forked

DOCS = Path(__file__).resolve().parent.parent / "docs"
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", flags=re.MULTILINE)


@pytest.mark.parametrize("page", ["multi-label.md", "streams.md"])
def test_a_page_prints_what_it_says(page, tmp_path):
    code = "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL))
    assert len(PRINTED.findall(code)) == len(re.findall(r"^ *print\(", code, flags=re.MULTILINE)) > 0
    result = forked.run(["-W", "error", "-c", code], cwd=tmp_path, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == PRINTED.findall(code)
