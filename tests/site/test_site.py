"""A small site, built with the real configuration: no warning, links to the API, formulas, and a look in Chromium.

The whole site is built by ``make docs``, which fails at a warning or a broken link; the workflow ``docs.yml`` runs it.
"""

import re
from pathlib import Path

import pytest

import forked
from browser import GET_IT, Browser, find_browser
from extensions.mathml import block

ROOT = Path(__file__).resolve().parents[2]
HOME = """# Home

Use `lt.errors.UsageError`, `DataError`, or `torch.nn.Linear`; [results](results.md#wide), [the page](api/errors.rst),
[a file](../benches/results/sass.csv).
A formula in a line, $m_j = c\\, n_j^{-1/4}$, and one of its own:

$$ -\\log \\frac{e^{z_y + \\log \\pi_y}}{\\sum_{j=1}^{C} e^{z_j + \\log \\pi_j}} $$

![A picture](demo.png)

```
lt-fast train --method mammc --data cifar100-lt --imbalance-ratio 100 --root data --download --set loss.scale=20
```

```{toctree}
results
api/index
project/architecture
project/contributing
project/changelog
project/security
project/code-of-conduct
```
"""
ROW = "| `balanced_softmax_autoaugment` " + "| 100.0 ± 0.0 " * 9 + "| not `a` number |\n"
RESULTS = "# Results\n\n## Wide\n\n" + "| a " * 11 + "|\n" + "| --- " * 11 + "|\n" + ROW * 3


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the built site, and the warnings of the build."""
    folder = tmp_path_factory.mktemp("site")
    source = folder / "source"
    (source / "static").mkdir(parents=True)
    (source / "index.md").write_text(HOME, encoding="utf-8")
    (source / "results.md").write_text(RESULTS, encoding="utf-8")
    (source / "demo.png").write_bytes((ROOT / "docs" / "demo.png").read_bytes())
    options = ["-q", "-c", ROOT / "docs", "-D", "api_modules=errors,mixing", "-d", folder / "trees"]
    built = forked.run(["-m", "sphinx", *map(str, options), str(source), str(folder / "html")], timeout=200)
    assert built.returncode == 0, built.stderr
    return folder / "html", built.stderr


@pytest.fixture(scope="module")
def browser():
    opened = Browser(find_browser())
    yield opened
    opened.close()


def page(site, name):
    return (site[0] / f"{name}.html").read_text(encoding="utf-8")


def test_the_build_has_no_warning(site):
    # Pages of the root link to pages that this small site has not.
    others = [line for line in site[1].splitlines() if "project/" not in line]
    assert others == []


def test_names_in_code_style_are_links(site):
    home = page(site, "index")
    assert 'href="api/errors.html#lt_fast.errors.UsageError"' in home
    assert 'href="api/errors.html#lt_fast.errors.DataError"' in home
    assert home.count("lt_fast.errors.") == home.count('href="api/errors.html#lt_fast.errors.')
    assert '<span class="pre">torch.nn.Linear</span></code>,' not in home.replace(" ", "")


def test_formulas_are_mathml(site):
    home = page(site, "index")
    assert home.count("<math") == 2
    assert "<mfrac>" in home
    assert '<div class="formula">' in home
    assert not re.search("<script[^>]*mathjax", home, re.IGNORECASE)


def test_a_formula_of_several_lines_is_aligned():
    assert '<mtable class="ams-align">' in block(r"a &= b \\ c &= \frac{1}{2}").replace("  ", "")


def test_numbers_of_a_table_do_not_break(site):
    results = page(site, "results")
    assert results.count("100.0\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.0") == 27
    assert "not <code" in results


def test_signatures_name_their_types(site):
    mixing = page(site, "api/mixing")
    assert "ArrayLike" in mixing
    assert "_SupportsArray" not in mixing
    assert "NestedSequence" not in mixing
    assert "Alias for field number" not in mixing
    assert '<section id="lt-fast-mixing">' in mixing


def test_a_file_that_is_no_page_is_a_link_into_the_repository(site):
    assert 'href="https://github.com/lt-fast/lt-fast/blob/main/benches/results/sass.csv"' in page(site, "index")
    assert 'href="architecture.html"' in page(site, "project/contributing")


@pytest.mark.skipif(find_browser() is None, reason=GET_IT)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("name", ["index", "results", "api/mixing", "api/command-line"])
def test_a_page_fits_and_loads_nothing_from_elsewhere(browser, site, name, width, dark):
    browser.open(site[0] / f"{name}.html", width=width, dark=dark)
    assert [request for request in browser.requests if not request.startswith("file:")] == []
    assert browser.messages == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    outside = browser.evaluate(
        f"""((width) => [...document.querySelectorAll("article p, article li, article img, article h1, article dt")]
           .filter((each) => !each.closest(".table-wrapper") && each.getBoundingClientRect().right > width)
           .map((each) => each.tagName + " " + each.textContent.slice(0, 60)))({width})"""
    )
    assert outside == []
    assert browser.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    if name == "index":
        assert browser.evaluate("Math.min(...[...document.querySelectorAll('math')].map((m) => m.clientHeight))") > 8
