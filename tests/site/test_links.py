"""Links in the Markdown of the repository lead somewhere, anchors included, and become right ones on the site."""

import re
from pathlib import Path, PurePosixPath

import pytest

from extensions.link_check import broken_links
from extensions.repository import links, on_site

ROOT = Path(__file__).resolve().parents[2]
GENERATED = {ROOT / "docs" / "api", ROOT / "docs" / "project"}
FILES = sorted(
    file
    for folder, pattern in ((ROOT, "*.md"), (ROOT / "docs", "**/*.md"), (ROOT / "examples", "**/*.md"))
    for file in folder.glob(pattern)
    if not GENERATED & set(file.parents)
)
CODE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
URL = "https://example.org/repository"


def anchors(file):
    """The anchors of the headings of a Markdown file, as the repository's host and the site make them."""
    headings = re.findall(r"^#+ +(.*?) *$", CODE.sub("", file.read_text(encoding="utf-8")), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)|`", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def faults(file):
    for link in links(file.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        if not target.exists():
            yield f"{link}: no such file"
        elif anchor and anchor not in anchors(target):
            yield f"{link}: no such heading"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(file):
    assert list(faults(file)) == []


def test_a_broken_link_is_noticed(tmp_path):
    page = tmp_path / "a.md"
    page.write_text("# A `b` [c](a.md)\n\n[x](a.md#a-b-c) [y](a.md#b) ![z](z.png) [w](https://w.org)\n")
    assert list(faults(page)) == ["a.md#b: no such heading", "z.png: no such file"]


def test_links_in_code_are_none():
    text = "[a](b.md) `[c](d.md)`\n\n```python\nmakers[name](counts)\n```\n\n![e](f.png)\n"
    assert links(text) == ["b.md", "f.png"]


@pytest.mark.parametrize(
    ("link", "on_the_site"),
    [
        ("samplers.md#epochs", "../samplers.md#epochs"),
        ("methods/README.md", "../methods/README.md"),
        ("demo.png", "../demo.png"),
        ("../CONTRIBUTING.md", "contributing.md"),
        ("../README.md", "../index.md"),
        ("../benches/results/sass.csv", f"{URL}/blob/main/benches/results/sass.csv"),
        ("../benches", f"{URL}/tree/main/benches"),
        ("missing.md", "missing.md"),
        ("#here", "#here"),
        ("https://a.org/b.md", "https://a.org/b.md"),
    ],
)
def test_links_on_the_site(link, on_the_site):
    file, page = ROOT / "docs" / "speed.md", PurePosixPath("project/any.md")
    assert on_site(f"see [it]({link}).", file, page, URL) == f"see [it]({on_the_site})."


def test_pages_are_called_by_their_titles_on_the_site():
    file, page = ROOT / "docs" / "methods" / "mixing.md", PurePosixPath("methods/mixing.md")
    text = (
        "[margins.md](margins.md#a), [speed](../speed.md), [../scale.md](../scale.md), [a.md](../../examples/README.md)"
    )
    there = f"[](margins.md#a), [speed](../speed.md), [](../scale.md), [a.md]({URL}/blob/main/examples/README.md)"
    assert on_site(text, file, page, URL) == there


def test_what_leads_nowhere_on_the_site_is_listed(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.html").write_text(
        '<h1 id="top">a</h1><a href="sub/b.html#c"></a><a href="sub/b.html?v=1#d"></a><a href="#top"></a>'
        '<a href="https://w.org"></a><img src="x.png"><script src="https://w.org/s.js"></script>'
    )
    (tmp_path / "sub" / "b.html").write_text('<p id="c"><a href="../a.html#top"></a><a href="b.html#z"></a>')
    assert broken_links(tmp_path) == [
        "a.html: no such anchor: sub/b.html?v=1#d",
        "a.html: no such file: x.png",
        "a.html: loaded from elsewhere: https://w.org/s.js",
        "sub/b.html: no such anchor: b.html#z",
    ]
