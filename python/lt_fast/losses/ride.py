"""RIDE: an LDAM loss for each expert, and a term that keeps the experts apart."""

from typing import Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lt_fast._checks import number
from lt_fast._tensors import arithmetic_dtype
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.losses.base import Lam, Loss, SharedOptions, Vector
from lt_fast.losses.experts import experts_of
from lt_fast.losses.ldam import ldam_margins
from lt_fast.registry import register


def class_temperatures(
    class_counts: CountsLike, *, temperature: float = 1.0, spread: float = 0.05, empty: EmptyPolicy = "error"
) -> Vector:
    """Temperature of each class, (C,) float64: ``temperature`` for the largest, less for rarer ones.

    Formula: ``temperature * u / max(u)`` with ``u = spread * C * prior + 1 - spread``.

    Args:
        class_counts: training samples per class.
        temperature: of the largest class, finite, > 0.
        spread: in [0, 1); 0 gives all classes the same.
        empty: ``"ignore"`` gives a class without samples the value of the rarest other one.

    Raises:
        TypeError, ValueError: if a number is out of range, or a class is empty.

    Source: Wang et al. 2021 (RIDE), arXiv:2010.01809, equation 4; code frank-xwang/RIDE-LongTailRecognition,
    model/loss.py, RIDELoss, ``reweight_factor``, which has the division by the maximum.

    >>> class_temperatures([500, 50, 5], temperature=1.0, spread=0.05).round(3).tolist()
    [1.0, 0.888, 0.877]
    """
    counts = ClassCounts(class_counts).require_no_empty(empty).counts
    temperature, spread = number("temperature", temperature, above=0), number("spread", spread, least=0, below=1)
    present = counts > 0
    prior = np.maximum(counts, counts[present].min()) / counts.sum()
    share = spread * np.count_nonzero(present) * prior + 1 - spread
    return np.asarray(temperature * share / share.max())


@register("loss", "ride")
class RIDELoss(Loss):
    """The LDAM loss of every expert, less a multiple of its distance from the mean of all experts.

    Formula: with s the scale, z_e the cosines of expert e, z their mean, T_c a temperature per class and T its mean::

        sum_e LDAM(z_e, target) - diversity * T ** 2 * KL(softmax(s * z / T_c) || softmax(s * z_e / T_c))

    Equals ``sum(LDAMLoss(counts)(logits[:, e], target) for e in ...)`` for ``diversity=0``. The mean z is held constant
    in the second term, which is averaged over the rows. ``T_c`` is ``temperature``, and with class weights that of
    ``class_temperatures``: under deferred re-weighting both set in together. One expert has no distance, so for logits
    (N, C) this is ``LDAMLoss``.

    Args:
        diversity: weight of the distance, finite, >= 0.
        temperature: finite, > 0.
        spread: of ``class_temperatures``, in [0, 1).
        max_margin: as of ``LDAMLoss``.
        scale: as of ``LDAMLoss``.
        shared: options of every loss, see ``Loss`` for them, Shape and Raises; logits (N, E, C) are those of E experts.

    Example:
        >>> criterion = RIDELoss([500, 50, 5], diversity=0.45)
        >>> alike = torch.tensor([[[0.5, 0.1, 0.0]] * 3])  # the cosines of one image, by 3 experts in 3 classes
        >>> apart = torch.tensor([[[0.5, 0.1, 0.0], [0.5, 0.0, 0.1], [0.5, 0.05, 0.05]]])
        >>> target = torch.tensor([0])
        >>> round(criterion(alike, target).item(), 4), round(criterion(apart, target).item(), 4)
        (0.0022, 0.0018)

    Source: Wang et al. 2021 (RIDE), arXiv:2010.01809, equations 2 to 4; code frank-xwang/RIDE-LongTailRecognition,
    model/loss.py, RIDELoss, with ``additional_diversity_factor`` the negative of ``diversity`` and ``reweight_factor``
    as ``spread``. Differs from that code: ``diversity=0`` leaves the term out, where the code then trains the mean of
    the experts; the scale is here and not in the network; two labels per row.
    """

    of_experts = True

    def __init__(
        self,
        counts: CountsLike,
        *,
        diversity: float = 0.45,
        temperature: float = 1.0,
        spread: float = 0.05,
        max_margin: float = 0.5,
        scale: float = 30.0,
        **shared: Unpack[SharedOptions],
    ) -> None:
        temperatures = class_temperatures(counts, temperature=temperature, spread=spread, empty="ignore")
        if shared.get("weight") is None:
            temperatures = np.full_like(temperatures, temperature)
        margin = ldam_margins(counts, max_margin=max_margin, empty="ignore")
        vectors = {"temperature": temperatures}
        super().__init__(counts, margin=margin, scale=scale, vectors=vectors, **shared)
        self.diversity = number("diversity", diversity, least=0)

    def forward(self, logits: Tensor, target_a: Tensor, target_b: Tensor | None = None, lam: Lam = None) -> Tensor:
        """Return the loss of the logits of all experts, (N, E, C), or of one, (N, C)."""
        own = self.vectors.for_logits(logits)
        every = experts_of(logits, "RIDELoss")
        given = self._rows(every[0], target_a, target_b, lam)
        first, *others = (self._margin_loss(own["rows"], given.of(each)) for each in every)
        loss: Tensor = sum(others, start=first)
        if len(every) > 1 and self.diversity:
            distances = self._distances(every, own["temperature"])
            counted = distances if given.counted is None else distances * given.counted
            loss = loss - self.diversity * self._reduced(counted)
        self._first.look(every[0], self.vectors)
        return loss

    def _distances(self, every: tuple[Tensor, ...], temperature: Tensor) -> Tensor:
        """Return each row's distance of the experts from their mean, summed over the experts, (N,)."""
        scores = self.options.scale * torch.stack(every, dim=1).to(arithmetic_dtype(every[0])) / temperature
        mean = scores.detach().mean(dim=1, keepdim=True).log_softmax(dim=2).expand_as(scores)
        each = F.kl_div(scores.log_softmax(dim=2), mean, reduction="none", log_target=True)
        return temperature.mean() ** 2 * each.sum(dim=(1, 2))

    def _reduced(self, rows: Tensor) -> Tensor:
        if self.options.reduction == "none":
            return rows
        total = rows.sum()
        return total if self.options.reduction == "sum" else total / max(len(rows), 1)
