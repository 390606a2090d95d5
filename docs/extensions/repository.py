"""Pages of the repository that are not in ``docs/``, and links to files that are no pages.

The Markdown is written to be read in the repository, where a link is relative to its file. On the site, a link to what
is outside ``docs/`` leads to the repository, unless it is a page of the site.
"""

import os
import re
import tomllib
from pathlib import Path, PurePosixPath

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# Files of the root that become pages: name to page.
PAGES = {
    "ARCHITECTURE.md": "project/architecture.md",
    "CHANGELOG.md": "project/changelog.md",
    "CODE_OF_CONDUCT.md": "project/code-of-conduct.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "README.md": "index.md",
    "SECURITY.md": "project/security.md",
}
# A block of code, code in a line, or a link. Only the last has something to replace: its target, and its text, where
# that is the name of a Markdown file.
_TOKENS = re.compile(
    r"(^ *```.*?^ *```$|`[^`\n]+`)|(?P<name>\[[\w./-]+\.md)?\]\((?P<link>[^()\s]+)\)", re.MULTILINE | re.DOTALL
)


def repository_url() -> str:
    """Return the address of the repository, which ``Cargo.toml`` states."""
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    return str(manifest["workspace"]["package"]["repository"])


def links(text: str) -> list[str]:
    """Return the targets of the links and images in a Markdown text, those in code left out."""
    return [found["link"] for found in _TOKENS.finditer(text) if found["link"]]


def on_site(text: str, file: Path, page: PurePosixPath, url: str) -> str:
    """Return ``text`` with its links as the site needs them; a page is called by its title, not by its file.

    Args:
        text: Markdown.
        file: where the text is in the repository: its links are relative to it.
        page: where the page is on the site, relative to ``docs/``.
        url: address of the repository.
    """

    def replaced(found: re.Match[str]) -> str:
        if found["link"] is None:
            return found[0]
        target = _target(found["link"], file, page, url)
        name = found["name"] or ""
        return f"{'[' if name and not target.startswith(url) else name}]({target})"

    return _TOKENS.sub(replaced, text)


def _target(link: str, file: Path, page: PurePosixPath, url: str) -> str:
    path, _, anchor = link.partition("#")
    if not path or ":" in path:
        return link
    wanted = (file.parent / path).resolve()
    if not wanted.exists() or not wanted.is_relative_to(ROOT):
        return link  # which Sphinx then reports
    inside = wanted.relative_to(ROOT).as_posix()
    end = f"#{anchor}" if anchor else ""
    if inside in PAGES:
        return _relative(PAGES[inside], page) + end
    if wanted.is_relative_to(DOCS):
        return _relative(wanted.relative_to(DOCS).as_posix(), page) + end
    return f"{url}/{'tree' if wanted.is_dir() else 'blob'}/main/{inside}{end}"


def _relative(target: str, page: PurePosixPath) -> str:
    return Path(os.path.relpath(target, page.parent)).as_posix()


def write_pages(app: Sphinx) -> None:
    """Write the files of the root into ``docs/project/``, where Sphinx finds them."""
    pages = {}
    for name, place in PAGES.items():
        page = PurePosixPath(place)
        if page.parts[0] == "project":  # the home page has a text of its own
            text = (ROOT / name).read_text(encoding="utf-8")
            pages[page.name] = on_site(text, ROOT / name, page, repository_url())
    write_generated(Path(app.srcdir) / "project", pages)


def write_generated(folder: Path, pages: dict[str, str]) -> None:
    """Write generated pages, and remove those of earlier builds; what is unchanged is not read again."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        file = folder / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def _mend_links(app: Sphinx, docname: str, source: list[str]) -> None:
    if app.env.doc2path(docname).suffix == ".md" and docname.partition("/")[0] != "project":
        source[0] = on_site(source[0], DOCS / f"{docname}.md", PurePosixPath(docname), repository_url())


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages of the root before Sphinx looks for pages, and mend the links of each page as it is read."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", _mend_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
