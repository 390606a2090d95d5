"""The length of a training in steps or images, as epochs: from the class sizes alone, before anything is read."""

import math
from collections.abc import Mapping
from typing import Any

from lt_fast._numbers import integer_option
from lt_fast._text import shown
from lt_fast.datasets.validation import held_out_counts
from lt_fast.errors import UsageError
from lt_fast.experiment.components import component_of

LENGTH = "length"
"""Setting that records the steps or images that the epochs were worked out from."""

UNITS = ("steps", "images")
"""What a length may be given in, in place of epochs."""

_MOST = 10**12


def length_of(given: Mapping[str, Any]) -> dict[str, int]:
    """Return a length as it is recorded: one unit and its number, or nothing.

    Raises:
        UsageError: if there are two, or the number is no integer >= 1.
    """
    found = {unit: integer_option(unit, given[unit], least=1, most=_MOST) for unit in UNITS if unit in given}
    if len(found) > 1:
        raise UsageError(
            f"the length must be given once, got {' and '.join(f'{n} {unit}' for unit, n in found.items())}"
        )
    return found


def training_images(data: str, imbalance_ratio: float, profile: str, validation: float = 0.0) -> int | None:
    """Return how many images a run on ``data`` trains on, or None where that is not known before they are read.

    Args:
        data: name of the data set.
        imbalance_ratio: of the tail.
        profile: of the tail.
        validation: fraction of each class that is held out.

    Raises:
        UsageError: if the data set refuses the tail.
    """
    factory = component_of("data", data)
    counts_of = getattr(factory, "training_counts", None)
    if counts_of is None:  # how many of each class would be held out is not known then
        return None if validation else getattr(factory, "training_images", None)
    try:
        counts = counts_of(imbalance_ratio, profile)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return int(counts.sum() - (held_out_counts(counts, validation).sum() if validation else 0))


def epochs_for(length: Mapping[str, int], batch_size: int, images: int | None, data: str) -> int:
    """Return the number of epochs nearest to a length, at least 1: ``steps * batch_size / images``.

    A step counts as ``batch_size`` images, though the last of an epoch may have less.

    Raises:
        UsageError: if the number of images is not known.
    """
    ((unit, number),) = length.items()
    if images is None:
        raise UsageError(
            f"--{unit} must be left out for {data}, whose number of training images is not known before they are "
            f"read, got {shown(number)}; give --epochs"
        )
    seen = number * batch_size if unit == "steps" else number
    return max(1, math.floor(seen / images + 0.5))


def in_words(length: Mapping[str, int], batch_size: int, images: int) -> str:
    """Return where a number of epochs comes from."""
    ((unit, number),) = length.items()
    of = f"steps of {batch_size} images" if unit == "steps" else "images"
    return f"set by the user: {number:,} {of} are that many passes over {images:,}"
