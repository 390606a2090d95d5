"""Find images that are the same, or look the same, without comparing each with each."""

import base64
from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lt_fast import _checks
from lt_fast._extras import require
from lt_fast.inspection.facts import SMALL_SIDE, Facts

NEAR_DISTANCE = 5
"""Differing bits of 64 up to which two images are near duplicates.

Source: Krawetz 2011, "Looks Like It" (hackerfactor.com), whose hash imagehash computes: "a distance of zero indicates
that it is likely a very similar picture; a distance of 5 means a few things may be different, but they are probably
still close enough to be similar".
"""

NEAR_CORRELATION = 0.95
"""Correlation of the 16 x 16 grey images from which on two images with similar hashes are near duplicates.

Ours. Of 2,062 photographs of hands on one background 24 pairs have hashes within 5 bits, most of them different hands
in the same pose; one pair has a correlation of 0.95 or more. Copies of 250 of the photographs, saved again at JPEG
quality 50, halved, brightened by 20 %, cropped by 2 % on all sides or on one, all have 0.95 or more; their hashes are
within 5 bits for 100, 100, 86, 74 and 88 % of them.
"""

BITS = 64
_MOST_DISTANCE = 16
_BLOCK = 2048  # hashes compared with as many at a time: 4 MB of distances
_PAIRS = 8192  # pairs of small images compared at a time: 16 MB
_LEAST_NORM = 1e-6  # of an image of one grey
_NO_PAIRS = np.zeros((0, 2), np.int64)


def same(keys: Sequence[Hashable | None]) -> list[list[int]]:
    """Return the positions of keys that occur more than once, group by group; None is the same as nothing.

    >>> same(["a", "b", "a", None, None])
    [[0, 2]]
    """
    positions: dict[Hashable, list[int]] = defaultdict(list)
    for at, key in enumerate(keys):
        if key is not None:
            positions[key].append(at)
    return [group for group in positions.values() if len(group) > 1]


def near(
    looks: Sequence[int | None],
    small: Sequence[str],
    *,
    distance: int = NEAR_DISTANCE,
    correlation: float = NEAR_CORRELATION,
) -> list[list[int]]:
    """Return groups of positions that a chain of near duplicates connects.

    Two images are near duplicates if their 64-bit hashes differ in at most ``distance`` bits and their small grey
    images are correlated by at least ``correlation``. Copies that were turned by 90 degrees or mirrored are not found.

    The bits are split into ``distance + 1`` bands. Two hashes that differ in at most ``distance`` bits are equal in one
    band at least, so only images with an equal band are compared: for N images and a distance of 5, 6 times about
    N / 1,500 comparisons an image in place of N.

    Args:
        looks: ``Facts.looks``; None is near to nothing.
        small: ``Facts.small``.
        distance: in [0, 16].
        correlation: in [-1, 1].

    Shape:
        looks and small (N,); returns lists of at least two ascending positions, ordered by their first position.

    Source: Norouzi, Punjani, Fleet 2012, Fast search in Hamming space with multi-index hashing, arXiv:1307.2982.
    """
    distance = _checks.integer("distance", distance, least=0, most=_MOST_DISTANCE)
    known = [at for at, value in enumerate(looks) if value is not None]
    distinct = {(looks[at], small[at]): 0 for at in known}
    distinct = {key: place for place, key in enumerate(distinct)}
    images = _Images.of(list(distinct), distance, correlation)
    edges = [_edges_of_band(images, bits) for bits in _bands(distance + 1)]
    labels = _components(np.concatenate([_NO_PAIRS, *edges]), len(distinct))
    return groups_by([int(labels[distinct[looks[at], small[at]]]) for at in known], known)


def alike(one: Facts, other: Facts, *, distance: int = NEAR_DISTANCE, correlation: float = NEAR_CORRELATION) -> bool:
    """Whether two images are near duplicates; see ``near``."""
    if one.looks is None or other.looks is None or (one.looks ^ other.looks).bit_count() > distance:
        return False
    small = _unit_rows([one.small, other.small])
    return float(small[0] @ small[1]) >= correlation


def groups_by(labels: Sequence[Hashable], positions: Sequence[int] | None = None) -> list[list[int]]:
    """Return the positions of each label that occurs more than once."""
    at = range(len(labels)) if positions is None else positions
    return [[at[place] for place in group] for group in same(labels)]


def linked(groups: Sequence[Sequence[int]], size: int) -> NDArray[np.int64]:
    """Return a number for each of ``size`` positions: equal for positions that a chain of groups connects.

    >>> linked([[0, 1], [1, 3]], 4).tolist()
    [0, 0, 1, 0]
    """
    edges = [(group[0], other) for group in groups for other in group[1:]]
    return _components(np.array(edges, dtype=np.int64).reshape(-1, 2), size)


def _bands(count: int) -> list[tuple[int, int]]:
    """Return the lowest bit and the width of each band."""
    ends = [BITS * at // count for at in range(count + 1)]
    return [(start, end - start) for start, end in pairwise(ends)]


class _Images(NamedTuple):
    """What is compared: hashes (M,) uint64, and small images of mean 0 and length 1 (M, 256) float32."""

    hashes: NDArray[np.uint64]
    small: NDArray[np.float32]
    distance: int
    correlation: float

    @classmethod
    def of(cls, keys: Sequence[tuple[int | None, str]], distance: int, correlation: float) -> Self:
        hashes = np.array([value for value, _ in keys], dtype=np.uint64)
        return cls(hashes, _unit_rows([text for _, text in keys]), distance, correlation)

    def near(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the pairs (P, 2) of near duplicates between rows and columns."""
        close = np.bitwise_count(self.hashes[rows][:, None] ^ self.hashes[columns][None, :]) <= self.distance
        row, column = np.nonzero(close)
        pairs = np.stack([rows[row], columns[column]], axis=1)
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        parts = [self._alike(pairs[at : at + _PAIRS]) for at in range(0, len(pairs), _PAIRS)]
        return np.concatenate([_NO_PAIRS, *parts])

    def _alike(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        found = np.einsum("ij,ij->i", self.small[pairs[:, 0]], self.small[pairs[:, 1]])
        similar: NDArray[np.int64] = pairs[found >= self.correlation]
        return similar


def _unit_rows(small: Sequence[str]) -> NDArray[np.float32]:
    """Return small images as rows of mean 0 and length 1."""
    data = b"".join(map(base64.b64decode, small))
    rows = np.frombuffer(data, np.uint8).reshape(len(small), SMALL_SIDE**2).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _LEAST_NORM)
    return rows


def _edges_of_band(images: _Images, bits: tuple[int, int]) -> NDArray[np.int64]:
    """Return pairs that connect all near duplicates with an equal band."""
    start, width = bits
    band = (images.hashes >> np.uint64(start)) & np.uint64((1 << width) - 1)
    order = np.argsort(band, kind="stable")
    ends = np.flatnonzero(np.diff(band[order])) + 1
    edges = [_edges_within(images, members) for members in np.split(order, ends) if len(members) > 1]
    return np.concatenate([_NO_PAIRS, *edges])


def _edges_within(images: _Images, members: NDArray[np.int64]) -> NDArray[np.int64]:
    """Compare each of ascending members with each, block by block; return fewer pairs that connect as much."""
    blocks = np.split(members, range(_BLOCK, len(members), _BLOCK))
    pairs = [_forest(images.near(rows, columns)) for at, rows in enumerate(blocks) for columns in blocks[at:]]
    return np.concatenate(pairs)


def _forest(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return fewer pairs, at most one for each value, that connect what ``pairs`` connect."""
    if len(pairs) < 2:  # noqa: PLR2004
        return pairs
    values, local = np.unique(pairs, return_inverse=True)
    labels = _components(local.reshape(-1, 2), len(values))
    _, first = np.unique(labels, return_index=True)
    heads = values[first][labels]
    edges: NDArray[np.int64] = np.stack([heads, values], axis=1)[heads != values]
    return edges


def _components(edges: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Number the connected components of a graph, in the order of their first members."""
    sparse = require("scipy.sparse", extra="photos", purpose="the search for duplicates")
    graphs = require("scipy.sparse.csgraph", extra="photos", purpose="the search for duplicates")
    graph = sparse.coo_matrix((np.ones(len(edges), np.bool_), (edges[:, 0], edges[:, 1])), shape=(size, size))
    found = graphs.connected_components(graph, directed=False)[1]
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    numbers: NDArray[np.int64] = rank[inverse]
    return numbers
