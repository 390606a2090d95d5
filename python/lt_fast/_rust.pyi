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
