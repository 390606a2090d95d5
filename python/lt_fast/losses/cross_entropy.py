"""Cross entropy: the baseline, and with two labels per row the loss of mixup and MAM."""

from typing import Unpack

from lt_fast.counts import CountsLike
from lt_fast.losses.base import Loss, SharedOptions
from lt_fast.registry import register


@register("loss", "cross_entropy")
class CrossEntropyLoss(Loss):
    """Cross entropy against one label per row, or two labels of mixed images.

    Formula: ``-log softmax(logits)[target]``. Equals ``F.cross_entropy(logits, target, weight)`` up to
    ``normalization``, and with two labels the mean of::

        f * weight[a] * CE(logits, a) + (1 - f) * weight[b] * CE(logits, b)

    Args:
        label_smoothing: fraction of each label that is spread evenly over all classes, in [0, 1].
        shared: options of every loss, see ``Loss`` for them, Shape and Raises.

    Source: torch.nn.CrossEntropyLoss; two labels as in facebookresearch/mixup-cifar10, train.py. The weighted plain
    mean of ntucllab/imbalanced-DL, _mamix_drw.py, is ``normalization="batch"``.

    >>> import torch
    >>> criterion = CrossEntropyLoss([500, 50, 5])
    >>> logits, first, second = torch.tensor([[2.0, 0.0, 1.0]]), torch.tensor([0]), torch.tensor([2])
    >>> [round(criterion(logits, *labels).item(), 4) for labels in [(first,), (second,), (first, second, 0.7)]]
    [0.4076, 1.4076, 0.7076]
    """

    def __init__(self, counts: CountsLike, *, label_smoothing: float = 0.0, **shared: Unpack[SharedOptions]) -> None:
        super().__init__(counts, label_smoothing=label_smoothing, **shared)
