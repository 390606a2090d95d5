"""What to do with a set of photographs: which classes are too small to measure, and how to train."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lt_fast.inspection.intervals import half_width_of_recall

TEST_SHARE = 0.2
"""Share of each class that a split takes for the test set."""

WIDEST = 0.25
"""Half width of the 95 % interval of a recall above which a class is too small to measure.

Ours: with more, a recall of 50 % cannot be told from 75 %. It takes 12 test images.
"""

_FOLDS = 5
FREEZE_BELOW = 50
FREEZE_BELOW_IN_ALL = 5_000
SCRATCH_FROM = 20_000
SCRATCH_SIDE = 64


class Advice(NamedTuple):
    """What to do.

    Attributes:
        mode: ``freeze``, ``finetune`` or ``scratch``.
        why: the rule that chose it, in one sentence.
        too_small: class number to the half width of its recall's interval with a fifth of it as test images (1 where
            that is no image at all).
        folds: number of folds, 0 for one split: with folds every photograph is tested once.
        testable: photographs or groups that can be tested while their class keeps another one to train on.
    """

    mode: str
    why: str
    too_small: Mapping[int, float]
    folds: int
    testable: int


def advise(counts: NDArray[np.int64], sides: Sequence[int], testable: int) -> Advice:
    """Return the advice for classes of these sizes.

    The mode, by rules of thumb (ours, not measured):

    - ``scratch``: 20,000 photographs or more whose shorter side is 64 pixels or less in the middle: networks that were
      trained at 224 pixels see little of them, and there are enough for a small network of their own.
    - ``freeze``: fewer than 5,000 photographs, or a class of middle size has fewer than 50: the features of the
      pretrained network stay, and the head is trained on them, in seconds. More weights would fit these few by heart.
    - ``finetune``: all others.

    A class is too small to measure where a fifth of it gives a recall with an interval of more than 25 points to either
    side; then five folds are advised, which test every photograph once, or as many as there are groups to test.

    Args:
        counts: (C,) readable photographs of each class.
        sides: the shorter side of each photograph, in pixels.
        testable: photographs or groups of classes that have two or more of them.
    """
    present = counts[counts > 0]
    mode, why = _mode(present, sides)
    widths = {at: half_width_of_recall(images_tested(int(n))) for at, n in enumerate(counts) if n > 0}
    too_small = {at: width for at, width in widths.items() if width > WIDEST}
    folds = min(_FOLDS, testable) if too_small and testable > 1 else 0
    return Advice(mode, why, too_small, folds, testable)


def images_tested(count: int) -> int:
    """Return how many of a class's photographs a split takes for the test set: a fifth, and one is left to train on."""
    return min(max(1, int(TEST_SHARE * count + 0.5)), count - 1)


def _mode(present: NDArray[np.int64], sides: Sequence[int]) -> tuple[str, str]:
    total, middle = int(present.sum()), float(np.median(present)) if present.size else 0.0
    side = float(np.median(sides)) if len(sides) else 0.0
    if total >= SCRATCH_FROM and side <= SCRATCH_SIDE:
        return "scratch", f"{total} photographs with a shorter side of {side:g} pixels"
    if total < FREEZE_BELOW_IN_ALL:
        return "freeze", f"{total} photographs are fewer than {FREEZE_BELOW_IN_ALL}"
    if middle < FREEZE_BELOW:
        return "freeze", f"half of the classes have fewer than {FREEZE_BELOW} photographs"
    return "finetune", f"{total} photographs, and half of the classes have {middle:g} or more"
