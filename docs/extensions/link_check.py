"""After the build every link inside the site is followed, to anchors and pictures too; nothing comes from a network."""

from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

_LOGGER = logging.getLogger(__name__)
_LINKS = {"a": "href", "img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src"}
_ELSEWHERE = ("http://", "https://", "//", "mailto:")


class Page(NamedTuple):
    """What a page has that can be linked to, and what it links to: pairs of a tag and an address."""

    anchors: frozenset[str]
    links: tuple[tuple[str, str], ...]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name == "id":
                self.anchors.add(value)
            elif value and name == _LINKS.get(tag) and not value.startswith("data:"):
                self.links.append((tag, value))


def read_page(file: Path) -> Page:
    """Return anchors and links of an HTML file."""
    reader = _Reader()
    reader.feed(file.read_text(encoding="utf-8"))
    return Page(frozenset(reader.anchors), tuple(reader.links))


def broken_links(folder: Path) -> list[str]:
    """Return a line for each link of the site in ``folder`` that leads nowhere, or loads something from elsewhere."""
    pages = {file: read_page(file) for file in sorted(folder.resolve().rglob("*.html"))}
    return [
        f"{file.relative_to(folder.resolve())}: {fault}: {link}"
        for file, page in pages.items()
        for tag, link in page.links
        if (fault := _fault(tag, link, file, pages))
    ]


def _fault(tag: str, link: str, file: Path, pages: dict[Path, Page]) -> str:
    if link.startswith(_ELSEWHERE):
        return "" if tag == "a" else "loaded from elsewhere"
    address = urlsplit(link)
    target = (file.parent / unquote(address.path)).resolve() if address.path else file
    if not target.is_file():
        return "no such file"
    if address.fragment and target in pages and unquote(address.fragment) not in pages[target].anchors:
        return "no such anchor"
    return ""


def _check(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.name == "html":
        for line in broken_links(Path(app.outdir)):
            _LOGGER.warning("%s", line, type="link")


def setup(app: Sphinx) -> dict[str, bool]:
    """Check once all pages are written."""
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
