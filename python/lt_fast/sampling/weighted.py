"""Weighted draws with torch's signature, for any number of samples."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_fast import _checks
from lt_fast._loaded import is_tensor
from lt_fast.labels import refuse_sampler
from lt_fast.registry import register
from lt_fast.sampling.seekable import fingerprint
from lt_fast.sampling.seekable_index import SeekableSampler


@register("sampler", "weighted")
class WeightedRandomSampler(SeekableSampler):
    """Sample ``i`` with probability ``weights[i] / sum(weights)``: torch's class of that name, resumable, of any size.

    With replacement a draw is one lookup in an alias table: O(1) at any position, 16 bytes per weight, no limit of 2^24
    weights. Without replacement, an epoch consists of the samples with the smallest keys ``E_i / w_i``, ``E_i``
    exponential by (seed, epoch, i), in the order of their keys: the distribution of draws one after the other, each by
    its weight among the samples left. Its first draw, at any position, orders the whole epoch in O(N + n log n),
    because the samples left depend on all earlier draws. The order is cached for the epoch; the state contains the
    position only. If weights depend on the class alone, ``ClassBalancedSampler`` needs no table of them.

    Args:
        weights: ``(N,)`` of any positive scale, sequence, array or tensor; 0 excludes a sample, and so does a
            weight that is 0 in double precision when divided by the largest.
        num_samples: draws in an epoch, over all ranks.
        replacement: whether a sample may repeat within an epoch.
        seed: in [0, 2**64).

    Raises:
        TypeError: if ``weights`` are not numbers, or a torch ``Sampler`` is passed.
        ValueError: if a weight is negative, NaN, infinite or masked, none is positive, or without replacement fewer
            than ``num_samples`` are positive and not negligible compared with the largest.

    Source: Vose 1991 for the alias table; Efraimidis, Spirakis 2006 ("Weighted random sampling with a reservoir") for
    the keys. Draws differ from torch's, whose numbers depend on its generator.

    >>> sampler = WeightedRandomSampler([0.0, 1.0, 3.0], num_samples=8, seed=0)
    >>> list(sampler)
    [2, 2, 2, 2, 2, 1, 2, 2]
    >>> list(WeightedRandomSampler([0.0, 1.0, 3.0], num_samples=2, replacement=False, seed=0))
    [2, 1]
    """

    def __init__(self, weights: Any, num_samples: int, replacement: bool = True, *, seed: int = 0) -> None:
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement must be True or False, got {replacement!r}")
        refuse_sampler(weights)
        numbers = numbers_of("weights", weights)
        super().__init__(
            ("weighted", (numbers, replacement)),
            {"replacement": int(replacement), "weights": fingerprint(numbers)},
            num_samples=num_samples,
            seed=seed,
        )


def numbers_of(name: str, values: Any) -> NDArray[np.float64]:
    """Return ``values``, one-dimensional numbers, as float64 ``(N,)``; errors name the argument ``name``."""
    _checks.refuse_masked(name, values)
    _refuse_order_of_counts(name, values)
    try:
        if is_tensor(values):
            values = values.detach().cpu()
            values = values.double() if values.is_floating_point() else values  # NumPy knows no bfloat16
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be one-dimensional, got entries of different lengths ({error})") from None
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be numbers, got dtype {array.dtype}")
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be one-dimensional with at least one entry, got shape {array.shape}")
    return np.array(array, dtype=np.float64)


def _refuse_order_of_counts(name: str, values: Any) -> None:
    """Raise for a pandas ``Series`` whose index is 0 to N-1 in another order: of samples, or of classes by count."""
    if not (hasattr(type(values), "to_numpy") and hasattr(type(values), "reindex") and np.ndim(values) == 1):
        return
    index = np.asarray(values.index)
    if index.dtype.kind not in "iuf" or not index.size:
        return
    rising = np.arange(index.size)
    if not np.array_equal(index, rising) and np.array_equal(np.sort(index), rising):
        raise ValueError(
            f"{name} must be in the order of the samples, got a Series with the index {index[0]}, {index[1]}, ...; "
            f"pass {name}.to_numpy() if entry i is for sample i, or {name}.sort_index() if its index numbers samples"
        )
