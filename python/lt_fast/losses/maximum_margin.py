"""Maximum-Margin (MM) loss: the margin of a sample follows from its own scores; MM-LDAM widens it for rare classes."""

from typing import Any, Unpack

from lt_fast.counts import CountsLike
from lt_fast.losses.base import Loss, SharedOptions
from lt_fast.losses.ldam import ldam_margins
from lt_fast.registry import register

LDAM_MARGIN = 0.5
"""LDAM margin of the rarest class that MM-LDAM subtracts from the offset; fixed in the authors' code."""


@register("loss", "maximum_margin")
class MaximumMarginLoss(Loss):
    """Maximum-Margin loss: a small margin for correct samples, a larger one for wrong ones, most at the boundary.

    Formula: ``-log softmax(scale * (logits - one_hot(target) * margin))[target]``. Equals
    ``F.cross_entropy(scale * (logits - one_hot(target) * margin), target, weight)`` up to ``normalization``, with the
    sample's margin from its gap, ``gap = logits[y] - max_{j != y} logits[j]``, as a constant for the gradient::

        margin = exp(-gap - gamma * m)  if gap > 0,    exp(gap - m)  if gap < 0,    0  if gap = 0

    where the offset m is ``max_margin``, or for MM-LDAM ``max_margin - ldam_margins(class_counts)[y]``, so that a rarer
    class has a smaller offset and a larger margin. Plain MM uses the class sizes only through ``weight`` (DRW).

    Args:
        max_margin: offset in the exponent, finite, >= 0; a *larger* value gives a smaller margin, below ``exp(-m)``.
        gamma: multiplies the offset of correct samples, finite, >= 0; above 1 wrong samples have more margin.
        scale: multiplies the logits, which are cosines, > 0.
        ldam: MM-LDAM.
        compat: ``"batch_first_label"`` repeats a defect of the authors' code, with which the published figures were
            made, see Source; for comparison only. In a recipe ``--set loss.compat=batch_first_label``.
        shared: options of every loss, see ``Loss`` for them, Shape and Raises.

    Source: Kang, Vu and Yoo 2021, arXiv:2206.05380; code ihaeyong/Maximum-Margin-LDAM, losses.py HMMLoss. The defaults
    are its README's for CIFAR-100 at ratio 100; the authors tuned all three per data set. Differs from that code, which
    takes the own score of *every* row from the column of the batch's first label, and includes a 0 in the own column
    when it looks for the largest other: here each row has its own label, as the paper's text says, and the own column
    is left out. ``compat="batch_first_label"`` has the code's form, in which the published figures were computed: it
    is in the code of the submission (68bfd2d), before and after. With it a row's loss depends on its batch.

    >>> import torch
    >>> criterion = MaximumMarginLoss([500, 50, 5], scale=19, reduction="none")
    >>> cosines = torch.tensor([[0.7, 0.4, 0.2], [0.5, 0.4, 0.2], [0.4, 0.5, 0.2]])
    >>> criterion(cosines, torch.tensor([0, 0, 0]))  # certain, close to the boundary, wrong
    tensor([0.0240, 0.9847, 6.6371])
    """

    def __init__(
        self, counts: CountsLike, *, max_margin: float = 1.29, gamma: float = 1.528, scale: float = 19.0,
        ldam: bool = False, compat: str | None = None, **shared: Unpack[SharedOptions],
    ) -> None:  # fmt: skip
        margin = ldam_margins(counts, max_margin=LDAM_MARGIN, empty="ignore") if ldam else None
        own: dict[str, Any] = {"max_margin": max_margin, "gamma": gamma, "scale": scale, "compat": compat}
        super().__init__(counts, margin=margin, margin_rule="maximum", **own, **shared)
