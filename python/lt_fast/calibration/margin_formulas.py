"""The mathematics of margin calibration: class weights, calibrated logits, the loss."""

from typing import Final, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.counts import ClassCounts, CountsLike

Normalization: TypeAlias = Literal["weights", "batch"]

NORMALIZATIONS: Final[tuple[Normalization, ...]] = ("weights", "batch")


def generalized_reweighting(class_counts: CountsLike, gamma: float = 1.2) -> NDArray[np.float64]:
    """Class weights ``U_k = C (1/n_k)^gamma / sum_j (1/n_j)^gamma``, ``(C,)``; they sum to C.

    ``gamma=0`` weighs all classes alike, 1 by inverse frequency. An empty class gets the weight 0.

    Raises:
        TypeError, ValueError: if ``gamma`` is not a finite number >= 0, or the counts are not counts.

    Source: Zhang et al. 2021 (DisAlign), arXiv:2103.16370; Wang et al. 2022 (MARC), arXiv:2112.07225, gamma 1.2;
    code microsoft/robustlearn, marc/loss/GRWLoss.py.

    >>> generalized_reweighting([500, 50, 5], gamma=1.2).round(3).tolist()
    [0.011, 0.177, 2.811]
    >>> generalized_reweighting([500, 50, 5], gamma=0).tolist()
    [1.0, 1.0, 1.0]
    """
    gamma = _checks.number("gamma", gamma, least=0)
    counts = ClassCounts(class_counts).counts.astype(np.float64)
    smallest = counts[counts > 0].min()
    # relative to the rarest class, so that no count and no gamma overflows
    share = np.where(counts > 0, (smallest / np.maximum(counts, 1)) ** gamma, 0.0)
    weights: NDArray[np.float64] = share * (len(share) / share.sum())
    return weights


def margin_calibrated_logits(
    logits: Tensor, omega: Tensor, beta: Tensor, weight_norm: Tensor, *, scale: float = 1.0
) -> Tensor:
    """``scale * (omega * logits + beta * weight_norm)``, per class.

    With ``d_j = (W_j z + b_j) / ||W_j||``, the distance of a feature from the boundary of class j, the calibrated
    distance is ``omega_j d_j + beta_j`` and its logit ``||W_j|| (omega_j d_j + beta_j)``.

    Shape:
        logits ``(N, C)`` float; omega, beta, weight_norm ``(C,)``; returns ``(N, C)``.

    Source: Wang et al. 2022, arXiv:2112.07225; code microsoft/robustlearn, marc/models/MARCClassifier.py (scale 1).

    >>> import torch
    >>> logits, weight_norm = torch.tensor([[2.0, 1.0]]), torch.tensor([1.0, 0.5])
    >>> margin_calibrated_logits(logits, torch.tensor([1.0, 1.0]), torch.tensor([-0.5, 2.0]), weight_norm)
    tensor([[1.5000, 2.0000]])
    """
    return scale * (omega * logits + beta * weight_norm)


def margin_calibration_loss(
    logits: Tensor, target: Tensor, weight: Tensor, *, normalization: Normalization = "weights"
) -> Tensor:
    """Weighted cross entropy of calibrated logits, a scalar.

    ``"weights"`` equals ``F.cross_entropy(logits, target, weight)``: the sum of ``U_y * -log p_y`` over the sum of the
    batch's ``U_y``, as the authors' code has it. ``"batch"`` divides by N, as equation 10 of the MAMMC paper prints
    it. On a batch drawn from the long-tailed set mean ``U_y`` is far below 1, so ``"batch"`` takes smaller steps.

    Raises:
        ValueError: if ``normalization`` is another name.

    >>> import torch
    >>> logits, target, weight = torch.zeros(3, 2), torch.tensor([0, 0, 0]), torch.tensor([0.25, 1.75])
    >>> for normalization in NORMALIZATIONS:
    ...     print(round(margin_calibration_loss(logits, target, weight, normalization=normalization).item(), 4))
    0.6931
    0.1733
    """
    if checked_normalization(normalization) == "weights":
        return F.cross_entropy(logits, target, weight)
    return F.cross_entropy(logits, target, weight, reduction="sum") / len(target)


def checked_normalization(normalization: str) -> Normalization:
    """Return ``normalization``, or raise ``ValueError`` with the nearest known name."""
    _checks.choice("normalization", normalization, NORMALIZATIONS)
    return cast("Normalization", normalization)
