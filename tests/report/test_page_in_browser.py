"""The page in a real Chromium: nothing loaded, nothing cut off, readable in both themes, also on paper."""

import pytest

from browser import GET_IT, Browser, find_browser
from lt_fast.report.page import write_page
from made_runs import EVIL, in_memory, made_run, photographs

pytestmark = pytest.mark.skipif(find_browser() is None, reason=GET_IT)

# The lowest ratio of the luminances of text and what is behind it (WCAG 2, 1.4.3), over all visible text.
CONTRAST = """
(() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  const over = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
    return layers;
  };
  let worst = [99, ""];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.getClientRects().length || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const layers = behind(element);
    const pair = [over(layers), over([...layers, element.closest("svg") ? style.fill : style.color])].map(luminance);
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < worst[0]) worst = [ratio, `${element.tagName} ${element.className.baseVal ?? element.className}`];
  }
  return worst;
})()
"""
# Elements whose box reaches out of the window, other than inside a box that scrolls.
OUTSIDE = """
((width) => [...document.querySelectorAll("body *")]
  .filter((each) => !each.closest(".scroll, svg") && each.getBoundingClientRect().right > width + 0.5)
  .map((each) => each.tagName + "." + each.className))
"""
CUT = """
[...document.querySelectorAll("h1, h2, h3, p, li, figcaption")]
  .filter((each) => each.scrollWidth > each.clientWidth + 1).map((each) => each.textContent.slice(0, 60))
"""


@pytest.fixture(scope="module")
def browser():
    opened = Browser(find_browser())
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages of a run with pictures, and of one with hostile names."""
    folder = tmp_path_factory.mktemp("pages")
    names = ["oak leaf", "beech leaf", "<img src=x onerror=alert(1)>", "moss"]
    config, data, rows = photographs(folder, names, [120, 30, 8, 2], [20, 12, 6, 6])
    hostile = in_memory(EVIL, [200] * 2 + [9] * 8, [9] * 10)
    return {
        "pictures": write_page(made_run(folder / "pictures", data, right=0.4, config=config, images=rows)),
        "hostile": write_page(made_run(folder / "hostile", hostile)),
    }


@pytest.mark.parametrize("name", ["pictures", "hostile"])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_loads_and_can_be_read(browser, pages, name, dark, width):
    page = pages[name]
    browser.open(page.path, width=width, dark=dark)
    assert (browser.requests, browser.messages) == ([], [])
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(f"{OUTSIDE}({width})") == []
    assert browser.evaluate(CUT) == []
    images = browser.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth > 0)")
    assert all(images)
    assert bool(images) == (page.pictures > 0)
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 27)" if dark else "rgb(246, 247, 249)")
    ratio, where = browser.evaluate(CONTRAST)
    assert ratio >= 4.5, where


def test_the_smallest_text_can_be_read_on_a_telephone(browser, pages):
    browser.open(pages["pictures"].path, width=400)
    sizes = browser.evaluate(
        """[...document.querySelectorAll("svg text")].filter((each) => each.textContent.trim())
           .map((each) => each.getBoundingClientRect()).map((box) => Math.min(box.width, box.height))"""
    )
    assert sizes
    assert min(size for size in sizes if size > 7.5) >= 8  # single digits are narrower than high
    assert browser.evaluate("Math.min(...[...document.querySelectorAll('p, td, li')].map("
                            "(each) => parseFloat(getComputedStyle(each).fontSize)))") >= 12  # fmt: skip


def test_a_heading_sorts_the_table(browser, pages):
    browser.open(pages["pictures"].path)
    recall = "[...document.querySelectorAll('table.sortable tbody tr')].map((row) => +row.cells[1].dataset.value)"
    names = "[...document.querySelectorAll('table.sortable tbody tr')].map((row) => row.cells[0].textContent)"
    before = browser.evaluate(recall)
    browser.evaluate("document.querySelectorAll('table.sortable th [role=button]')[1].click()")
    assert browser.evaluate(recall) == sorted(before)
    browser.evaluate("document.querySelectorAll('table.sortable th [role=button]')[1].click()")
    assert browser.evaluate(recall) == sorted(before, reverse=True)
    browser.evaluate("document.querySelectorAll('table.sortable th [role=button]')[0].click()")
    assert browser.evaluate(names) == ["<img src=x onerror=alert(1)>", "beech leaf", "moss", "oak leaf"]


def test_the_page_prints(browser, pages, tmp_path):
    browser.open(pages["pictures"].path, dark=True)
    browser.print_pdf(tmp_path / "a.pdf")
    data = (tmp_path / "a.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert 3 <= data.count(b"/Type /Page\n") <= 14


def test_what_a_page_loads_is_noticed(browser, tmp_path):
    file = tmp_path / "a.html"
    file.write_text(
        '<body><img src="http://127.0.0.1:9/a.png"><script>console.error("no")</script><p style="width:900px">a'
    )
    browser.open(file, width=400)
    assert browser.requests == ["http://127.0.0.1:9/a.png"]
    assert any("no" in message for message in browser.messages)
    assert browser.evaluate(f"{OUTSIDE}(400)") == ["P."]
