"""Names to objects, imported when asked for; an unknown name is answered with the nearest known one."""

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from lt_fast.errors import UsageError


def nearest(name: str, known: list[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to ``name``, or an empty string."""
    folded = {candidate.lower().replace("-", "_"): candidate for candidate in known}
    match = difflib.get_close_matches(name.lower().replace("-", "_"), folded, n=1, cutoff=0.5)
    return f"; did you mean {folded[match[0]]!r}?" if match else ""


class Registry(Mapping[str, Any]):
    """A read-only mapping from a name to ``"module:attribute"``, resolved on access.

    Args:
        kind: what the names stand for, in the singular: it opens the error message.
        entries: name to ``"package.module:attribute"``.

    >>> rooms = Registry("room", {"errors": "lt_fast.errors:UsageError"})
    >>> rooms["errors"].__name__
    'UsageError'
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Any:
        if name not in self._entries:
            known = sorted(self._entries)
            message = f"{self.kind} must be one of {', '.join(known)}, got {name!r}{nearest(name, known)}"
            raise UsageError(message)
        module, _, attribute = self._entries[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
