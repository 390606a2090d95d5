"""Numbers in cells of tables stay on one line: ``87.7 ± 2.6`` does not break."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

_NUMBERS = re.compile(r"[-+±x%.,\d ]*\d[-+±x%.,\d ]*(?:[a-zA-Z]{1,3}(?:/s)?)?")
_NO_BREAK = "\N{NO-BREAK SPACE}"


def unbroken(text: str) -> str:
    r"""Return a text of numbers, and perhaps a unit, with spaces that do not break; any other text as it is.

    >>> unbroken("87.7 ± 2.6").split(), unbroken("2 ms").split(" "), unbroken("of 2").split(" ")
    (['87.7', '±', '2.6'], ['2\xa0ms'], ['of', '2'])
    """
    return text.replace(" ", _NO_BREAK) if _NUMBERS.fullmatch(text) else text


class UnbrokenNumbers(SphinxPostTransform):
    """Change the text of every cell that is numbers only."""

    default_priority = 10

    def run(self, **_: Any) -> None:
        """Look at every cell of one page."""
        for entry in self.document.findall(nodes.entry):
            for text in list(entry.findall(nodes.Text)):
                changed = unbroken(str(text))
                if changed != text:
                    text.parent.replace(text, nodes.Text(changed))


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the transform."""
    app.add_post_transform(UnbrokenNumbers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
