"""Augment features without sampling: what the expected loss of shifted and blurred features adds to the logits."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lt_fast import _checks

SumOverRanks = Callable[[Tensor], Tensor]


def augmented_logits(
    logits: Tensor, weight: Tensor, target: Tensor, shift: Tensor, covariance: Tensor, *, alpha: float, beta: float
) -> Tensor:
    """Return the logits whose cross entropy bounds the expected one of augmented features.

    Features of class y are augmented by normal noise of mean ``alpha * shift[y]`` and covariance ``beta *
    covariance[y]``. With w_k the row of class k in ``weight``, the logit of class k of a row with label y is::

        logits_k + alpha * (w_k - w_y) . shift_y + beta / 2 * (w_k - w_y)^T covariance_y (w_k - w_y)

    so that the own logit stays and the others grow: ``F.cross_entropy`` of these logits needs no sampled feature.

    Args:
        logits: (N, C), of a linear classifier.
        weight: (C, D), its weight; it gets a gradient of every term.
        target: (N,) int64 labels in [0, C).
        shift: (C, D), mean of the noise of each class.
        covariance: (C, D, D), of the noise of each class; or (C, D), its diagonal where features vary independently.
        alpha: strength of the shift.
        beta: strength of the covariance.

    Returns:
        (N, C). Memory O(K * C * D) with K the classes in the batch; time O(K * C * D^2), or O(K * C * D).

    Raises:
        ValueError: if a shape does not fit the others.

    Source: ISDA, Wang et al. 2019, arXiv:1909.12220, a bound of the expected cross entropy; with the shift RISDA,
    Chen et al. 2022, arXiv:2112.07928; code xiaohua-chen/RISDA, loss.py, and with the diagonal alone
    RISDA_ImageNet_AAAI/ISDA_imagenet.py.

    >>> logits, weight = torch.zeros(1, 2), torch.eye(2)
    >>> shift, covariance = torch.tensor([[0.0, 3.0], [0.0, 0.0]]), torch.eye(2).expand(2, 2, 2)
    >>> augmented_logits(logits, weight, torch.tensor([0]), shift, covariance, alpha=1.0, beta=0.5)
    tensor([[0.0000, 3.5000]])
    """
    num_classes, width = weight.shape
    _refuse_other("logits", logits, (len(target), num_classes))
    _refuse_other("shift", shift, (num_classes, width))
    _refuse_other("covariance", covariance, (num_classes, width, width)[: max(covariance.ndim, 2)])
    present, place = torch.unique(target, return_inverse=True)
    difference = weight[None] - weight[present][:, None]
    of_present = covariance[present]
    turned = difference @ of_present if covariance.ndim == 3 else difference * of_present[:, None]  # noqa: PLR2004
    spread = (turned * difference).sum(2)
    moved = (difference @ shift[present][:, :, None])[:, :, 0]
    return logits + (alpha * moved + beta / 2 * spread)[place]


class ClassMoments(nn.Module):
    """Running mean and covariance of the features of each class, over all rows that ``update`` has been given.

    After any number of updates they equal ``features[target == c].mean(0)`` and the covariance with divisor n of all
    rows so far. The buffers are C * D * (D + 1) floats: 1.7 MB for 100 classes and the 64 features of ResNet-32, 1.7 GB
    for 100 classes and the 2,048 features of ResNet-50, 16.8 GB for 1,000 classes; with ``diagonal`` they are
    2 * C * D, 16.4 MB for 1,000 classes.

    Args:
        num_classes: C.
        width: D.
        diagonal: keep the variance of each feature alone.

    Attributes:
        count: (C,) rows of each class.
        mean: (C, D), 0 for a class without rows.
        covariance: (C, D, D), 0 for a class without rows; (C, D) with ``diagonal``.

    Source: code xiaohua-chen/RISDA, EstimatorCV in loss.py and, with the diagonal alone, in
    RISDA_ImageNet_AAAI/ISDA_imagenet.py, after ISDA, arXiv:1909.12220. Differs from that code: a step takes memory of
    C * D^2 instead of N * C * D.

    >>> moments = ClassMoments(num_classes=2, width=1, diagonal=True)
    >>> moments.update(torch.tensor([[1.0], [5.0]]), torch.tensor([0, 1]))
    >>> moments.update(torch.tensor([[3.0]]), torch.tensor([0]))
    >>> moments.count.tolist(), moments.mean.tolist(), moments.covariance.tolist()
    ([2.0, 1.0], [[2.0], [5.0]], [[1.0], [0.0]])
    """

    count: Tensor
    mean: Tensor
    covariance: Tensor

    def __init__(self, num_classes: int, width: int, *, diagonal: bool = False) -> None:
        super().__init__()
        _checks.num_classes(num_classes)
        _checks.integer("width", width, least=1)
        self.diagonal = diagonal
        self.register_buffer("count", torch.zeros(num_classes))
        self.register_buffer("mean", torch.zeros(num_classes, width))
        self.register_buffer(
            "covariance", torch.zeros((num_classes, width) if diagonal else (num_classes, width, width))
        )

    @torch.no_grad()
    def update(self, features: Tensor, target: Tensor, sum_over_ranks: SumOverRanks = lambda own: own) -> None:
        """Add the rows of a batch.

        Args:
            features: (N, D); N may be 0.
            target: (N,) int64.
            sum_over_ranks: returns the sum of a tensor over all ranks, as ``Ranks.sum`` does.

        Raises:
            ValueError: if the width is another one.
        """
        _refuse_other("features", features, (len(target), self.mean.shape[1]))
        features = features.to(self.mean.dtype)
        chosen = nn.functional.one_hot(target, len(self.mean)).to(features.dtype)
        count = sum_over_ranks(chosen.sum(0))
        mean = sum_over_ranks(chosen.T @ features) / count.clamp(min=1)[:, None]
        each = (slice(None), *[None] * (self.covariance.ndim - 1))
        spread = sum_over_ranks(self._squares(features - mean[target], target)) / count.clamp(min=1)[each]
        share = count / (count + self.count).clamp(min=1)
        apart = mean - self.mean
        between = apart**2 if self.diagonal else apart[:, :, None] * apart[:, None]
        self.covariance.lerp_(spread, share[each]).add_((share * (1 - share))[each] * between)
        self.mean.lerp_(mean, share[:, None])
        self.count += count

    def _squares(self, centred: Tensor, target: Tensor) -> Tensor:
        """Return the sums of products (C, D, D), class by class: (N, D, D) would take more memory."""
        if self.diagonal:
            return nn.functional.one_hot(target, len(self.mean)).to(centred.dtype).T @ centred**2
        squares = torch.zeros_like(self.covariance)
        for label in torch.unique(target).tolist():
            rows = centred[target == label]
            squares[label] = rows.T @ rows
        return squares


def _refuse_other(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
