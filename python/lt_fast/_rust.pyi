"""Types of the Rust module: pure functions of their arguments, errors as Python exceptions.

Calls that take long release the interpreter's lock and handle signals every 50 ms: what a handler raises ends the call.
If another thread changes an array meanwhile, the result is a function of the values read, or a ValueError. A lack of
memory is a MemoryError, and a bug of the module a RuntimeError that begins with "a fault of lt-fast".
"""

from collections.abc import Sequence
from typing import Self

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
STREAM_LABEL_NOISE: int
STREAM_CONFUSION_PAIR: int
STREAM_POLICY: int

def uniform(seed: int, stream: int, epoch: int, start: int, n: int) -> NDArray[np.float64]:
    """Draws ``start .. start + n`` of the stream, doubles in [0, 1); ``(n,)``. Integers in [0, 2**64)."""

def beta(alpha: float, beta: float, seed: int, stream: int, epoch: int, start: int, n: int) -> NDArray[np.float64]:
    """Draws ``start .. start + n`` of Beta(alpha, beta), in [0, 1]; ``(n,)``. ``alpha``, ``beta`` finite and > 0."""

def permutation(n: int, seed: int, stream: int, epoch: int) -> NDArray[np.int64]:
    """Return a keyed permutation of ``range(n)``."""

def integers(indices: NDArray[np.int64]) -> list[int]:
    """Return ``indices.tolist()``, faster: small integers are created once per process and cached."""

def long_tailed_counts(largest: int, num_classes: int, imbalance_ratio: float, profile: str) -> NDArray[np.int64]:
    """Counts of a long-tailed set, ``(num_classes,)``, largest first; ``profile`` is "exp", "step" or "pareto"."""

def class_sizes(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Samples per class, ``(C,)``; refuses negative labels and classes without samples."""

def long_tailed_indices(
    labels: NDArray[np.int64],
    counts: NDArray[np.int64],
    seed: int,
    method: str,
) -> NDArray[np.int64]:
    """Positions of the kept samples, ``(sum(counts),)``, class after class; ``method`` is "ldam" or "counter"."""

def parse_image_list(content: bytes, /) -> tuple[bytes, NDArray[np.int64], NDArray[np.int64]]:
    """Read lines of ``path label``: all paths in one UTF-8 string, where each ends, ``(N,)``, and the labels, ``(N,)``.

    Raises:
        ValueError: naming the first line that is neither.
    """

def placements(positions: NDArray[np.int64], cropping: tuple[int, int, int, int, bool]) -> NDArray[np.int64]:
    """Rows ``(dy, dx, flip)`` for samples at ``positions``; ``(n, 3)``.

    ``cropping`` is (seed, epoch, view, padding, flip).
    """

def fill_batch(
    images: NDArray[np.uint8],
    index: NDArray[np.int64],
    positions: NDArray[np.int64],
    cropping: tuple[int, int, int, int, bool],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    mix: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.int32] | None] | None,
    out: NDArray[np.float32 | np.uint16],
    augmentation: Augmentation | None = None,
    dtype: str = "float32",
    channels_last: bool = False,
) -> None:
    """Gather, crop, flip, augment, normalise and mix images ``(N, H, W, Ch)`` into ``out (B, Ch, H, W)``.

    ``mix`` contains the partners (rows of the images), their positions, the coefficients of the first images, and boxes
    ``(B, 4)`` to paste or None to blend. Images, boxes and ``out`` must be contiguous; ``out`` must be writeable, and
    no other call may write to it at the same time. It holds float32, or uint16 as the bits of ``dtype`` "bfloat16" or
    "float16"; ``channels_last`` means ``(B, H, W, Ch)``. Raises IndexError for an index out of range, ValueError for
    everything else that does not fit.
    """

def augmented(
    images: NDArray[np.uint8],
    positions: NDArray[np.int64],
    augmentation: Augmentation,
    seed: int,
    epoch: int,
    view: int,
) -> NDArray[np.uint8]:
    """Images ``(N, H, W, Ch)`` changed by a policy alone, each by the draws of its position."""

class Augmentation:
    """What may happen to an image after it is cropped and flipped: see ``lt_fast.data.policies``; immutable.

    ``fill`` in [0, 255] is shown where an operation has no pixel; ``cutout`` is the side of a black square, 0 for none.
    """

    def __new__(
        cls,
        stages: Sequence[tuple[float, bool, Sequence[Sequence[tuple[str, float, Sequence[float], bool]]]]],
        fill: int,
        cutout: int,
    ) -> Self: ...

class Draws:
    """Sample indices as a pure function of (epoch, position); immutable. Batches are numbered over all ranks."""

    @property
    def draws_per_epoch(self) -> int: ...
    def array(self, epoch: int, first: int, step: int, count: int, batch_size: int) -> NDArray[np.int64]:
        """Draws of batches ``first, first + step, ...``, ``count`` of them, one after the other; flat.

        Raises:
            IndexError: if a batch is beyond the epoch.
            ValueError: if ``step`` or ``batch_size`` is 0, or there are more than 2**63 draws before.
        """

    def lists(self, epoch: int, first: int, step: int, count: int, batch_size: int) -> list[list[int]]:
        """Return the same, a list for each batch."""

def shuffled(n: int, draws_per_epoch: int, seed: int) -> Draws:
    """Passes over ``range(n)``, each in its own keyed order; ValueError for ``n`` 0 or above 2**63."""

def class_balanced(
    labels: NDArray[np.uint32], class_probs: NDArray[np.float64], cycle: bool, draws_per_epoch: int, seed: int
) -> Draws:
    """Draw a class by ``class_probs (C,)``, then a sample of it: all before any repeats (``cycle``), or independently.

    Raises:
        ValueError: if a label has no probability; if a probability is negative or not finite, all are 0, or a class
            without samples has one; with ``cycle``, if one is below 2**-24 of their sum.
    """

def confusion_pairs(
    labels: NDArray[np.uint32],
    num_classes: int,
    temperature: float,
    uniform_fraction: float,
    draws_per_epoch: int,
    seed: int,
    target: NDArray[np.int64],
    predicted: NDArray[np.int64],
    weight: NDArray[np.float64],
) -> Draws:
    """Draw ``2 n`` is a sample of any class, draw ``2 n + 1`` one of a class that it was predicted as.

    The weights are cells: ``target``, ``predicted`` and ``weight``, each ``(cells,)``.

    Raises:
        ValueError: if a label or a cell is out of range, a weight is negative or not finite, fewer than two
            classes have samples, ``temperature`` is not positive and finite, ``uniform_fraction`` not in [0, 1].
    """

class ConfusionCounts:
    """Counts of (target, predicted) pairs: a table up to 2,000 classes, sparse rows above. Thread-safe."""

    def __init__(self, num_classes: int) -> None: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def total(self) -> int:
        """Pairs counted."""

    @property
    def nbytes(self) -> int:
        """Bytes that the cells occupy."""

    def update(self, target: NDArray[np.int64], predicted: NDArray[np.int64]) -> None:
        """Count one pair per row; ValueError if a class is out of range or the total reaches 2**63."""

    def merge(self, target: NDArray[np.int64], predicted: NDArray[np.int64], count: NDArray[np.int64]) -> None:
        """Add counts; ValueError as ``update``, or if a count is negative, and then nothing is added."""

    def entries(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return target, predicted and count of the cells that are not 0, sorted."""

    def matrix(self) -> NDArray[np.int64]:
        """All cells, ``(C, C)``, target by row."""

def stratified(
    labels: NDArray[np.uint32], class_probs: NDArray[np.float64], batch_size: int, draws_per_epoch: int, seed: int
) -> Draws:
    """Batches with ``batch_size * class_probs`` of each class, rounded down or up; all samples before any repeats.

    Raises:
        ValueError: as ``class_balanced``.
    """

def weighted(weights: NDArray[np.float64], replacement: bool, draws_per_epoch: int, seed: int) -> Draws:
    """Samples by weight ``(N,)``, with or without replacement within an epoch.

    Raises:
        ValueError: if a weight is negative or not finite, none is positive, or too few are without replacement.
    """

def repeat_factor(repeat_factors: NDArray[np.float64], draws_per_epoch: int, seed: int) -> Draws:
    """Shuffled epochs with draws of each sample by its factor ``(N,)``, scaled to the epoch, rounded down or up.

    Raises:
        ValueError: if a factor is negative or not finite, or the sum of the factors is 0 or too large.
    """

def m_per_class(
    labels: NDArray[np.uint32], num_classes: int, m: int, classes_per_batch: int, draws_per_epoch: int, seed: int
) -> Draws:
    """``m`` samples of each of ``classes_per_batch`` distinct classes, batch after batch.

    Raises:
        ValueError: if a label or a number is out of its range.
    """

def multilabel(
    indptr: NDArray[np.int64],
    indices: NDArray[np.uint32],
    class_probs: NDArray[np.float64],
    cycle: bool,
    draws_per_epoch: int,
    seed: int,
) -> Draws:
    """As ``class_balanced``, over samples with any number of labels in compressed rows.

    Raises:
        ValueError: as ``class_balanced``, or if the rows are damaged.
    """

def least_sampled(
    indptr: NDArray[np.int64], indices: NDArray[np.uint32], num_classes: int, draws_per_epoch: int, seed: int
) -> Draws:
    """Return draws of the class shown least in the epoch; a seek makes all earlier draws.

    Raises:
        ValueError: if the rows are damaged or contain no label.
    """
