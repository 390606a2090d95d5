"""``Paths``: many file names in one block of memory."""

import hashlib
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Paths(Sequence[str]):
    """Strings concatenated in one ``bytes`` object, decoded on access; immutable.

    Reads like a tuple of strings. A tuple has one object per path, and a forked loader's worker that reads it writes
    every object's reference count, so that each worker ends with a copy of all of them; here two objects are shared.

    Args:
        paths: the strings.

    Raises:
        ValueError: if one has no UTF-8 form (a file name of other bytes).

    >>> paths = Paths(["a/1.jpg", "b/1.jpg"])
    >>> paths[1], len(paths), list(paths.take([1, 0]))
    ('b/1.jpg', 2, ['b/1.jpg', 'a/1.jpg'])
    """

    __slots__ = ("_ends", "_text")

    def __init__(self, paths: Iterable[str] = ()) -> None:
        encoded = [_encoded(path) for path in paths]
        self._text = b"".join(encoded)
        self._ends = np.cumsum([len(path) for path in encoded], dtype=np.int64)

    @classmethod
    def from_block(cls, text: bytes, ends: NDArray[np.int64]) -> Self:
        """Make paths from UTF-8 ``text`` and the end of each path in it, ``(N,)`` ascending."""
        paths = cls()
        paths._text, paths._ends = text, ends
        return paths

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Paths": ...
    def __getitem__(self, index: int | slice) -> "str | Paths":
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        at = operator.index(index)
        if not -len(self) <= at < len(self):
            raise IndexError(f"index must lie in [{-len(self)}, {len(self)}), got {at}")
        at %= len(self)
        start = int(self._ends[at - 1]) if at else 0
        return self._text[start : int(self._ends[at])].decode()

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends.tolist():
            yield self._text[start:end].decode()
            start = end

    def take(self, indices: ArrayLike) -> "Paths":
        """Return the paths at ``indices``, in that order; O(number of indices)."""
        return Paths(self[at] for at in np.asarray(indices, dtype=np.int64).tolist())

    def sha256(self) -> str:
        """Return the SHA-256 of the paths' ends (little-endian int64) and their bytes."""
        digest = hashlib.sha256(np.ascontiguousarray(self._ends, dtype="<i8").data)
        digest.update(self._text)
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Paths):
            return NotImplemented
        return self._text == other._text and np.array_equal(self._ends, other._ends)

    def __hash__(self) -> int:
        return hash((self._text, len(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Paths.from_block, (self._text, self._ends)

    def __repr__(self) -> str:
        return f"Paths({len(self)}: {', '.join(map(repr, self[:3]))}{', ...' if len(self) > 3 else ''})"  # noqa: PLR2004


def _encoded(path: str) -> bytes:
    try:
        return path.encode()
    except UnicodeEncodeError:
        raise ValueError(f"paths must be UTF-8, got {path!r}; rename the file") from None
