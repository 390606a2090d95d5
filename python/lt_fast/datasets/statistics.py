"""Mean and standard deviation of each channel, in units of ``pixel / 255``."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lt_fast.datasets.image_set import image_array

ChannelStats: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]

CIFAR10_STATS: ChannelStats = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
"""Mean and std that LDAM-DRW and most long-tailed code use, for CIFAR-10 and CIFAR-100 alike.

The standard deviations are means over the images' own ones; over all pixels of CIFAR-10 they are 0.2470, 0.2435 and
0.2616.
"""

CIFAR100_STATS: ChannelStats = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
"""Mean and std over all pixels of CIFAR-100's training set."""

DIGITS_STATS: ChannelStats = ((0.2873,), (0.3539,))
"""Mean and std over all pixels of scikit-learn's digits, scaled as ``digits_lt`` does."""

_CHUNK = 1024  # images counted at a time: bincount needs eight bytes per pixel


def channel_stats(images: NDArray[np.uint8]) -> ChannelStats:
    """Return the mean and the standard deviation of every channel over all pixels of all images.

    Equals ``(images / 255).mean((0, 1, 2))`` and ``.std((0, 1, 2))``, without rounding on the way: the pixels are
    counted by value, so the result does not depend on the order of the images. O(pixels).

    Shape:
        images (N, H, W, Ch) uint8, N >= 1; returns two tuples of Ch floats, in units of ``pixel / 255``.

    Raises:
        TypeError: if the images are not uint8.
        ValueError: if there is none, or they have not four dimensions.

    >>> images = np.array([0, 255], dtype=np.uint8).reshape(2, 1, 1, 1)
    >>> channel_stats(images)
    ((0.5,), (0.5,))
    """
    array = image_array(images)
    if len(array) == 0:
        raise ValueError("images must hold at least one image, got none")
    pairs = [_mean_and_std(_histogram(array[..., channel])) for channel in range(array.shape[-1])]
    return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)


def _histogram(channel: NDArray[np.uint8]) -> list[int]:
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(channel), _CHUNK):
        counts += np.bincount(channel[start : start + _CHUNK].reshape(-1), minlength=256)
    counted: list[int] = counts.tolist()
    return counted


def _mean_and_std(histogram: list[int]) -> tuple[float, float]:
    total = sum(histogram)
    first = sum(value * count for value, count in enumerate(histogram))
    second = sum(value * value * count for value, count in enumerate(histogram))
    variance = (total * second - first * first) / (total * total)  # integers until here: nothing cancels
    return float(first / total / 255), float(variance**0.5 / 255)
