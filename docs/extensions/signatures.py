"""Signatures as they are written in the source: aliases of types by their names, not by what they stand for."""

import re
from typing import Any

from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

_ARRAY_LIKE = stringify_annotation(ArrayLike, "smart")
_ARRAY = re.compile(r"~?numpy\.ndarray\[tuple\[~?typing\.Any, \.\.\.\], ~?numpy\.dtype\[([^\[\]]+)\]\]")


def readable(text: str) -> str:
    """Return a signature or a return type with ``ArrayLike`` and ``NDArray[...]`` in place of their definitions."""
    return _ARRAY.sub(r"NDArray[\1]", text.replace(_ARRAY_LIKE, "ArrayLike"))


def _process(
    _app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    return signature and readable(signature), returned and readable(returned)


def setup(app: Sphinx) -> dict[str, bool]:
    """Change the signatures that autodoc has found."""
    app.connect("autodoc-process-signature", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
