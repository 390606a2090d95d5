"""Types of the Rust module: pure functions of their arguments, errors as Python exceptions."""

import numpy as np
from numpy.typing import NDArray

STREAM_SAMPLER: int
STREAM_CLASS_ORDER: int
STREAM_WITHIN_CLASS: int
STREAM_AUGMENT: int
STREAM_PARTNER: int
STREAM_MIX: int
STREAM_INIT: int
STREAM_SUBSET: int

def uniform(seed: int, stream: int, epoch: int, start: int, n: int) -> NDArray[np.float64]:
    """Draws ``start .. start + n`` of the stream, doubles in [0, 1); ``(n,)``. Integers in [0, 2**64)."""

def beta(alpha: float, beta: float, seed: int, stream: int, epoch: int, start: int, n: int) -> NDArray[np.float64]:
    """Draws ``start .. start + n`` of Beta(alpha, beta), in [0, 1]; ``(n,)``. ``alpha``, ``beta`` finite and > 0."""

def permutation(n: int, seed: int, stream: int, epoch: int) -> NDArray[np.int64]:
    """Return a keyed permutation of ``range(n)``."""

def long_tailed_counts(largest: int, num_classes: int, imbalance_ratio: float, profile: str) -> NDArray[np.int64]:
    """Counts of a long-tailed set, ``(num_classes,)``, largest first; ``profile`` is "exp", "step" or "pareto"."""

def class_sizes(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Samples a class, ``(C,)``; refuses negative labels and classes without samples."""

def long_tailed_indices(
    labels: NDArray[np.int64],
    counts: NDArray[np.int64],
    seed: int,
    method: str,
) -> NDArray[np.int64]:
    """Positions of the kept samples, ``(sum(counts),)``, class after class; ``method`` is "ldam" or "counter"."""

def placements(seed: int, epoch: int, start: int, n: int, crop_padding: int, flip: bool) -> NDArray[np.int64]:
    """Rows ``(dy, dx, flip)`` for global positions ``start .. start + n``; ``(n, 3)``."""

def fill_batch(
    images: NDArray[np.uint8],
    indices: NDArray[np.int64],
    placements: NDArray[np.int64],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    pairs: tuple[NDArray[np.int64], NDArray[np.float32]] | None,
    out: NDArray[np.float32],
) -> None:
    """Gather, crop, flip, normalise and mix images ``(N, H, W, Ch)`` into ``out (B, Ch, H, W)``.

    ``pairs`` holds each image's partner, a position in the batch, and the factor of the first image. All arrays dense.
    """
