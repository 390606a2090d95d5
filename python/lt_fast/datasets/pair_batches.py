"""``PairBatches``: images mixed from pairs that a sampler chose, each batch a pure function of (seed, epoch, step)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast.datasets.batches import Factor, ImageBatch, ImageBatches, PositionedBatchSampler


class PairBatches(ImageBatches):
    """Batches of mixtures ``lam * x_i + (1 - lam) * x_j`` of the pairs (i, j) that a sampler draws.

    Both images are cropped, flipped and normalised as ``ImageBatches`` says, each by its own place among the
    ``2 * pairs`` images of the batch.

    Args:
        images: (N, H, W, Ch) uint8.
        labels: (N,) whole numbers.
        pair_sampler: a batch sampler whose batches are rows (i, j), or the same end to end: ``i0, j0, i1, j1, ...``;
            ``lt_fast.sampling.ConfusionPairBatchSampler``, or a sequence of such arrays.
        lam: ``(epoch, step, pairs) -> (pairs,)`` or one number: factor of the first image of each pair.
        mean: of every channel, in units of ``pixel / 255``.
        std: of every channel, in the same units, > 0.
        crop_padding: width of the black border that crops may reach into.
        flip: mirror left and right with probability 1/2.
        dtype: ``"float32"`` or ``"bfloat16"``.
        seed: key of crops and flips; other than that of plain batches trained beside these, so that the two do not
            share them.

    Shape:
        yields ``(x, y_a, y_b, lam)``: x (pairs, Ch, H, W); y_a, y_b (pairs,) int64, labels of first and second image;
        lam (pairs,) float32, the factor of the first *image*.

    Raises:
        TypeError, ValueError, IndexError: as ``ImageBatches``; ValueError also for a batch with half a pair.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: ArrayLike,
        pair_sampler: PositionedBatchSampler | Sequence[ArrayLike],
        *,
        lam: Factor,
        mean: Sequence[float],
        std: Sequence[float],
        crop_padding: int = 4,
        flip: bool = True,
        dtype: str = "float32",
        seed: int = 0,
    ) -> None:
        if isinstance(pair_sampler, Sequence):
            pair_sampler = [np.reshape(rows, -1) for rows in pair_sampler]
        super().__init__(
            images,
            labels,
            pair_sampler,
            mean=mean,
            std=std,
            crop_padding=crop_padding,
            flip=flip,
            partner=_other_of_the_pair,
            lam=lambda epoch, step, size: _for_both(lam(epoch, step, size // 2), size // 2),
            dtype=dtype,
            seed=seed,
        )

    def _batch(self, epoch: int, step: int, indices: NDArray[np.int64]) -> ImageBatch:
        # The pass mixes j with i, too; those rows are left behind.
        x, y_a, y_b, lam = super()._batch(epoch, step, indices)
        assert y_b is not None
        assert lam is not None
        return x[0::2], y_a[0::2], y_b[0::2], lam[0::2]

    def _checked(self, indices: Any) -> NDArray[np.int64]:
        array = super()._checked(np.reshape(indices, -1))
        if len(array) % 2:
            raise ValueError(f"pair_sampler must give rows (i, j), got {len(array)} indices: half a pair is left over")
        return array


def _other_of_the_pair(epoch: int, step: int, labels: NDArray[np.int64]) -> NDArray[np.int64]:  # noqa: ARG001  (a partner's signature)
    return np.arange(len(labels)) ^ 1


def _for_both(lam: ArrayLike, pairs: int) -> NDArray[np.float32]:
    """Give the factor of each pair's first image to both of its rows."""
    factors = np.asarray(lam, dtype=np.float32)
    if factors.shape not in ((), (pairs,)):
        raise ValueError(f"lam must give one value a pair, ({pairs},), got shape {factors.shape}")
    return np.repeat(np.broadcast_to(factors, pairs), 2)
