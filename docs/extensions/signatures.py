"""Signatures as they are written in the source: aliases of types by their names, classes by their constructors."""

import re
from typing import Any

from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.util.inspect import signature as signature_of
from sphinx.util.inspect import stringify_signature
from sphinx.util.typing import stringify_annotation

_ARRAY_LIKE = stringify_annotation(ArrayLike, "smart")
_ARRAY = re.compile(r"~?numpy\.ndarray\[tuple\[~?typing\.Any, \.\.\.\], ~?numpy\.dtype\[([^\[\]]+)\]\]")


def readable(text: str) -> str:
    """Return a signature or a return type with ``ArrayLike`` and ``NDArray[...]`` in place of their definitions."""
    return _ARRAY.sub(r"NDArray[\1]", text.replace(_ARRAY_LIKE, "ArrayLike"))


def of_class(value: type, found: str | None) -> str | None:
    """Return the signature of a class: none for a protocol; ``__init__``'s where it is defined below ``__new__``.

    Autodoc takes that of ``__new__`` wherever it is defined, which for all samplers is ``(*data, **settings)``.
    """
    if getattr(value, "_is_protocol", False):
        return ""
    makes, fills = (next(base for base in value.__mro__ if name in vars(base)) for name in ("__new__", "__init__"))
    if not makes.__module__.startswith("lt_fast.") or fills not in value.__mro__[: value.__mro__.index(makes)]:
        return found
    own = signature_of(value.__init__, bound_method=True)  # type: ignore[misc]
    return stringify_signature(own, show_return_annotation=False, unqualified_typehints=True)


def _process(
    _app: Sphinx, what: str, _name: str, value: Any, _options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    signature = of_class(value, signature) if what == "class" else signature
    return signature and readable(signature), returned and readable(returned)


def setup(app: Sphinx) -> dict[str, bool]:
    """Change the signatures that autodoc has found."""
    app.connect("autodoc-process-signature", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
