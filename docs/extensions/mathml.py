"""Formulas as MathML, which browsers draw themselves: no script and no font is loaded."""

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx


def inline(formula: str) -> str:
    r"""Return a formula in a line of text as MathML.

    >>> inline("n_k")
    '<math xmlns="http://www.w3.org/1998/Math/MathML">\n  <msub>\n    <mi>n</mi>\n    <mi>k</mi>\n  </msub>\n</math>'
    """
    return str(tex2mathml(formula))


def block(formula: str) -> str:
    r"""Return a formula on lines of its own, which end in two backslashes, in a box that scrolls where it is wide."""
    code = rf"\begin{{aligned}}{formula}\end{{aligned}}" if r"\\" in formula else formula
    return f'<div class="formula">{tex2mathml(code, as_block=True)}</div>\n'


def _visit_inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(inline(node.astext()))
    raise nodes.SkipNode


def _visit_block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(block(node.astext()))
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
