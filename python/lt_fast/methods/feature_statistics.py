"""Mean and variance of each class's features over a training, and which classes are near each other."""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lt_fast._extras import require


class FeatureStatistics(nn.Module):
    """Moving averages of the mean and the variance of each class's features.

    Args:
        num_classes: C.
        width: D.
        decay: weight of a batch, in [0, 1]; the first batch with the class has the weight 1.

    Attributes:
        mean: (C, D) float32.
        variance: (C, D) float32.
        seen: (C,) bool, classes of which there has been an image.

    Source: code yuhangzang/FASA, fasa/fasa_bbox_head.py, fa_update_push: the variance of a batch with n images of the
    class is divided by n - 1, and is 0 for one image.
    """

    mean: Tensor
    variance: Tensor
    seen: Tensor

    def __init__(self, num_classes: int, width: int, *, decay: float) -> None:
        super().__init__()
        self._decay = decay
        self.register_buffer("mean", torch.zeros(num_classes, width))
        self.register_buffer("variance", torch.zeros(num_classes, width))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))

    @torch.no_grad()
    def update(self, features: Tensor, target: Tensor) -> None:
        """Move the classes of a batch; features (N, D) float32, target (N,) int64."""
        counts = torch.zeros_like(self.mean[:, :1]).index_add_(0, target, torch.ones_like(features[:, :1]))
        mean = torch.zeros_like(self.mean).index_add_(0, target, features) / counts.clamp(min=1)
        squares = torch.zeros_like(self.mean).index_add_(0, target, (features - mean[target]).square())
        variance = squares / (counts - 1).clamp(min=1)
        share = torch.where(self.seen[:, None], self._decay, 1.0) * (counts > 0)
        self.mean.lerp_(mean, share.to(mean))
        self.variance.lerp_(variance, share.to(mean))
        self.seen.logical_or_(counts[:, 0] > 0)


def feature_clusters(means: NDArray[np.float32], *, far_together: bool = False) -> NDArray[np.int64]:
    """Return the number of each class's cluster, ``(C,)``, by affinity propagation between mean features ``(C, D)``.

    The similarity of two classes is the negative squared distance of their means. Where affinity propagation finds no
    clusters, every class is one.

    Args:
        means: of the classes.
        far_together: take the squared distance itself as the similarity, as FASA's code does.

    Raises:
        MissingExtraError: if scikit-learn is not installed.

    Source: Frey and Dueck 2007, by ``sklearn.cluster.AffinityPropagation(random_state=1)``.
    """
    wide = means.astype(np.float64)
    squares = (wide**2).sum(1)
    distance = squares[:, None] - 2 * wide @ wide.T + squares[None, :]
    cluster = require("sklearn.cluster", extra="train", purpose="affinity propagation")
    found = cluster.AffinityPropagation(random_state=1, affinity="precomputed")
    with warnings.catch_warnings():  # of clusters that it has not found, and of means that are equal
        warnings.simplefilter("ignore")
        labels = np.asarray(found.fit(distance if far_together else -distance).labels_, dtype=np.int64)
    return labels if labels.min() >= 0 else np.arange(len(means))
