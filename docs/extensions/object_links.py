"""Names in code style become links: ``lt.losses.LDAMLoss`` in a page or a docstring leads to its entry in the API.

Pages and docstrings stay plain: they name things as a user types them, and no role is needed.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

# A dotted name, and perhaps the arguments of a call.
_NAME = re.compile(r"((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)(?:\(.*\))?", re.DOTALL)
# Names that libraries next to this one have, too: only with a package before them are they ours.
_OF_OTHERS = {"CutMix", "Mixup", "WeightedRandomSampler"}
_NOT_IN = (nodes.reference, nodes.title, addnodes.desc_signature, addnodes.compact_paragraph)


def spellings(name: str) -> Iterator[str]:
    """Yield how text may write the full name of an object.

    >>> list(spellings("lt_fast.losses.LDAMLoss"))
    ['lt_fast.losses.LDAMLoss', 'lt.losses.LDAMLoss', 'losses.LDAMLoss', 'LDAMLoss']
    """
    package, *rest = name.split(".")
    if package != "lt_fast" or not rest:
        return  # the package alone is named like one of its recipes
    yield name
    yield ".".join(["lt", *rest])
    while len(rest) > 1:
        yield ".".join(rest)
        rest = rest[1:]
    if rest[0].lower() != rest[0] and rest[0] not in _OF_OTHERS:  # a word of small letters alone may mean anything
        yield rest[0]


class ObjectLinks(SphinxPostTransform):
    """Turn literals that name an object of the API into links."""

    default_priority = 20

    def run(self, **_: Any) -> None:
        """Look at every literal of one page."""
        objects = self._objects()
        for literal in list(self.document.findall(nodes.literal)):
            found = _NAME.fullmatch(literal.astext())
            entry = objects.get(found[1]) if found else None
            if entry is not None and not _inside(literal):
                literal.replace_self(self._link(entry, literal))

    def _objects(self) -> dict[str, Any]:
        """Return how objects are written, to their entries; a spelling of two objects is none."""
        domain = self.env.domains["py"]
        cached: dict[str, Any] | None = getattr(self.env, "lt_fast_spellings", None)
        if cached is None:
            meant = defaultdict(dict)
            for name, entry in domain.data["objects"].items():
                for spelling in spellings(name):
                    meant[spelling][entry.docname, entry.node_id] = entry
            cached = {spelling: next(iter(of.values())) for spelling, of in meant.items() if len(of) == 1}
            self.env.lt_fast_spellings = cached
        return cached

    def _link(self, entry: Any, literal: nodes.literal) -> nodes.reference:
        builder = self.app.builder
        return make_refnode(builder, self.env.docname, entry.docname, entry.node_id, literal.deepcopy())


def _inside(literal: nodes.literal) -> bool:
    parent = literal.parent
    while parent is not None:
        if isinstance(parent, _NOT_IN):
            return True
        parent = parent.parent
    return False


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the transform."""
    app.add_post_transform(ObjectLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
