"""Repeat-factor sampling: repeat samples of rare classes."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast import _checks
from lt_fast.labels import integers, refuse_sampler
from lt_fast.registry import register
from lt_fast.sampling.class_balanced import numbered
from lt_fast.sampling.seekable import fingerprint
from lt_fast.sampling.seekable_index import SeekableSampler
from lt_fast.sampling.weighted import numbers_of


@register("sampler", "repeat_factor")
class RepeatFactorSampler(SeekableSampler):
    """Shuffled epochs with ``repeat_factors[i]`` draws of sample ``i`` on average, rounded down or up at random.

    Every epoch has ``round(sum(repeat_factors))`` draws: ``len`` is exact and the same on every rank. Seeking
    costs O(1) on average at any position for more than 65,536 draws per epoch; shorter epochs are shuffled in memory.

    Args:
        repeat_factors: ``(N,)``, >= 0, as ``repeat_factors`` gives them.
        seed: in [0, 2**64).

    Raises:
        TypeError: if ``repeat_factors`` are not numbers, or a torch ``Sampler`` is passed.
        ValueError: if a factor is negative, NaN or infinite, or an epoch would have no draw, or 2^32.

    Source: Gupta et al. 2019 (LVIS), arXiv:1908.03195, section 3.3; ``RepeatFactorTrainingSampler`` of
        facebookresearch/detectron2. Differs from that code: the fractions are rounded together (systematic sampling:
        one random offset per epoch against the cumulative factors), not one by one, so that the length of an epoch is
        constant; the factors are scaled by at most half a draw per epoch so that their sum is an integer.

    >>> labels = np.repeat([0, 1], [98, 2])
    >>> sampler = RepeatFactorSampler(repeat_factors(labels, threshold=0.18), seed=0)
    >>> len(sampler), np.bincount(labels[sampler.epoch_indices(0)])
    (104, array([98,  6]))
    """

    def __init__(self, repeat_factors: Any, *, seed: int = 0) -> None:
        refuse_sampler(repeat_factors)
        factors = numbers_of("repeat_factors", repeat_factors)
        wrong = np.flatnonzero(~(np.isfinite(factors) & (factors >= 0)))
        if wrong.size:
            at = int(wrong[0])
            raise ValueError(f"repeat_factors must be finite and >= 0, got {factors[at]} at position {at}")
        with np.errstate(over="ignore"):
            total = float(factors.sum())
        if not 0.5 <= total < (1 << 32) - 1:  # noqa: PLR2004  (half a draw rounds up)
            raise ValueError(f"repeat_factors must add up to at least one draw and less than 2**32, got {total}")
        super().__init__(
            ("repeat_factor", (factors,)),
            {"repeat_factors": fingerprint(factors)},
            num_samples=math.floor(total + 0.5),
            seed=seed,
        )


def repeat_factors(labels: Any, threshold: float, *, sqrt: bool = True) -> NDArray[np.float64]:
    """Return ``max(1, sqrt(threshold / f_c))`` for every sample, ``f_c`` the frequency of its class.

    Args:
        labels: one class per sample, or a data set, as ``labels_of`` takes; or ``(indptr, indices)``, compressed rows
            of labels: a sample then has the largest factor of its labels, 1 without any. A label that repeats within a
            sample, as that of several objects in an image, counts once.
        threshold: frequency, in (0, 1], below which a class is repeated; LVIS uses 0.001.
        sqrt: ``False`` leaves the root out.

    Shape:
        returns (N,) float64, >= 1.

    Raises:
        TypeError: if labels are neither integers nor strings, or ``threshold`` is not a number.
        ValueError: if ``threshold`` is not in (0, 1], the rows are damaged, or a label is negative.

    Source: Gupta et al. 2019 (LVIS), arXiv:1908.03195, section 3.3; ``repeat_factors_from_category_frequency`` of
        facebookresearch/detectron2.

    >>> repeat_factors([0, 0, 0, 0, 0, 0, 0, 1], threshold=0.5)  # sqrt(0.5 / 0.125) for the class of one in eight
    array([1., 1., 1., 1., 1., 1., 1., 2.])
    """
    threshold = _checks.number("threshold", threshold, above=0, most=1, hint="; it is the frequency of a class")
    if isinstance(labels, tuple) and len(labels) == 2 and np.ndim(labels[0]) == 1:  # noqa: PLR2004  (indptr, indices)
        indptr, indices = (integers(name, part) for name, part in zip(("indptr", "indices"), labels, strict=True))
        if indptr.size < 2 or indptr[0] != 0 or indptr[-1] != indices.size or (np.diff(indptr) < 0).any():  # noqa: PLR2004
            raise ValueError(f"indptr must rise from 0 to the number of indices ({indices.size})")
        _checks.labels_in_range("indices", indices, _checks.MAX_CLASSES)
        return _of_rows(indptr, indices, threshold, sqrt=sqrt)
    ids, counts = numbered(labels)
    return _of_classes(counts.counts, len(ids), threshold, sqrt=sqrt)[ids]


def _of_rows(
    indptr: NDArray[np.int64], labels: NDArray[np.int64], threshold: float, *, sqrt: bool
) -> NDArray[np.float64]:
    """Return the largest factor of each sample's labels."""
    factors = np.ones(indptr.size - 1)
    samples = np.repeat(np.arange(factors.size), np.diff(indptr))
    distinct = np.unique(samples * _checks.MAX_CLASSES + labels) % _checks.MAX_CLASSES
    by_class = _of_classes(np.bincount(distinct), factors.size, threshold, sqrt=sqrt)
    np.maximum.at(factors, samples, by_class[labels])
    return factors


def _of_classes(counts: NDArray[np.int64], samples: int, threshold: float, *, sqrt: bool) -> NDArray[np.float64]:
    ratio = threshold * samples / np.maximum(counts, 1)
    factors: NDArray[np.float64] = np.maximum(1.0, np.sqrt(ratio) if sqrt else ratio)
    return factors
