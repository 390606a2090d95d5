"""Class sizes of a long-tailed data set."""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lt_fast import _checks, _rust

Profile: TypeAlias = Literal["exp", "step", "pareto"]


def long_tailed_counts(
    largest: int,
    num_classes: int,
    *,
    imbalance_ratio: float,
    profile: Profile | str = "exp",
) -> NDArray[np.int64]:
    """Return the counts of a long-tailed set, largest class first.

    With ``f = 1 / imbalance_ratio``, ``C = num_classes`` and c = 0, ..., C - 1::

        exp     int(largest * f ** (c / (C - 1.0)))
        step    largest for c < C // 2, int(largest * f) for the rest
        pareto  round(smallest + (largest - smallest) * q(c) / q(0)),
                smallest = largest * f,  q(c) = (C / (c + 1)) ** (1 / 5.412667) - 1

    ``exp`` and ``step`` are LDAM-DRW's in every rounding: for ratios that divide badly in floats the smallest class may
    lose one sample (147 by 49 is 2, not 3). ``pareto`` is the quantile function of a Lomax distribution. Its shape is
    fitted: 1,000 classes from 1,280 down to 5 sum to 115,846, as ImageNet-LT does, and 1.5 % of the images are in
    another class than in its list. ImageNet-LT's authors name a power of 6, which here would give 121,937 images, and
    published no code for the draw. Places-LT, drawn with the same power, is much steeper: pass its counts themselves.

    Args:
        largest: samples of the largest class, >= 1.
        num_classes: C, from 1 to 2**24.
        imbalance_ratio: largest over smallest class, >= 1 and at most ``largest``.
        profile: the shape of the tail.

    Shape:
        returns (C,) int64.

    Raises:
        TypeError: if ``largest`` or ``num_classes`` is not an integer, or ``imbalance_ratio`` not a number.
        ValueError: if a value is out of its range, or a class would be empty.

    Source: Cao et al. 2019, arXiv:1906.07413; code kaidic/LDAM-DRW, imbalance_cifar.py (exp, step). Liu et al. 2019,
    arXiv:1904.05160, and its list ImageNet_LT_train.txt (pareto). Differs from LDAM-DRW: takes the ratio, not its
    inverse ``imb_factor``; a product that falls an ulp short of 1 keeps one sample instead of none.

    >>> long_tailed_counts(5000, 10, imbalance_ratio=100).tolist()
    [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    """
    return _rust.long_tailed_counts(
        _checks.integer("largest", largest, least=1, most=2**63 - 1),
        _checks.num_classes(num_classes),
        _checks.real_number("imbalance_ratio", imbalance_ratio),
        str(profile),
    )
