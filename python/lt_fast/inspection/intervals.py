"""How much a few test images can say. Apart from ``lt_fast.metrics``, which imports torch: seconds and 300 MB."""

from lt_fast import _checks
from lt_fast._wilson import wilson_ends


def half_width_of_recall(images: int, level: float = 0.95) -> float:
    """Half the width of Wilson's interval of a recall of one half, the widest, over ``images`` test images.

    Without an image nothing is known: 1.

    Args:
        images: >= 0.
        level: confidence level in (0, 1).

    Raises:
        TypeError, ValueError: if an argument has the wrong type or is out of range.

    Source: Wilson 1927, Journal of the American Statistical Association 22(158).

    >>> [round(half_width_of_recall(n), 2) for n in (0, 1, 5, 12, 100)]
    [1.0, 0.45, 0.33, 0.25, 0.1]
    """
    n = _checks.integer("images", images, least=0, most=2**53)
    level = _checks.number("level", level, above=0, below=1)
    if n == 0:
        return 1.0
    low, high = wilson_ends(0.5, n, level)
    return float(high - low) / 2
