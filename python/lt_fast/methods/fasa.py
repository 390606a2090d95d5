"""``FeatureAugmentation``: FASA, virtual features of rare classes, drawn as often as validation images say it helps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast._extras import require
from lt_fast._schedules import epoch_at
from lt_fast.batch import Batch
from lt_fast.calibration.collecting import in_eval_mode
from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.data import Loader
from lt_fast.methods.classification import Classification
from lt_fast.methods.feature_statistics import FeatureStatistics, feature_clusters
from lt_fast.methods.method import StepOutput
from lt_fast.methods.training_data import TrainingData
from lt_fast.ranks import Ranks
from lt_fast.registry import register

_COMPAT = "distance_as_similarity"
_NOISE = 3  # what tells these draws from others with the same seed


@register("method", "fasa")
class FeatureAugmentation(Classification):
    """Train on the images and on virtual features, drawn from a normal distribution for each class.

    Mean and variance of each class's features are moving averages over the batches. In each step class k gets a virtual
    feature with probability ``p_k``, and the loss is ``criterion(images) + weight * criterion(virtual features)``; only
    the head learns from these. At first ``p_k`` is ``1 / n_k`` over the sum. After every epoch it moves: of a cluster
    of classes whose validation loss has fallen by ``up``, of one whose loss has risen by ``down``. The clusters are
    those of affinity propagation between the mean features.

    What is drawn is a pure function of (seed, number of the step). Ranks exchange the features of a batch, so that the
    statistics do not depend on the number of ranks.

    Args:
        model: gives the logits by ``head(features(x))``, as ``lt_fast.models.Classifier``.
        counts: training images per class: a ``ClassCounts``, or a sequence of counts; none may be 0.
        criterion: as for ``Classification``, of logits without mixed labels.
        decay: weight of a batch in the moving averages, in [0, 1].
        weight: of the virtual features' loss, finite, >= 0.
        power: exponent of the first probabilities, finite, >= 0.
        probability_scale: what they are multiplied by, finite, >= 0; every probability is at most 1.
        up: what multiplies the probability of classes whose validation loss fell, finite, > 0.
        down: of classes whose loss rose, finite, > 0.
        start_at: fraction of the epochs from which on there are virtual features, in [0, 1].
        compat: ``"distance_as_similarity"`` for the authors' clusters, whose classes are far from each other.
        logit_scale: what predictions multiply the logits by.
        seed: of the run.

    Raises:
        TypeError: if ``criterion`` is not an ``nn.Module``, or the network has no ``features`` and ``head``.
        ValueError: if a number is out of range, a class is empty, or, from ``loaders``, there are no validation images.

    Source: Zang, Huang, Loy 2021 (FASA), arXiv:2102.12867; code yuhangzang/FASA, fasa/fasa_bbox_head.py and configs,
    whose settings are the defaults. Differs from that code, which detects: an image takes the place of an object, so
    that there is no background class; it gives affinity propagation squared distances as similarities, which puts
    distant classes together, where here they are negative (``compat``); where affinity propagation finds no clusters
    every class is one, where the code changes nothing; the first epoch of 24 without virtual features is a fraction.

    >>> from lt_fast.losses import CrossEntropyLoss
    >>> from lt_fast.models import digits_net
    >>> method = FeatureAugmentation(digits_net(2, seed=0), ClassCounts([3, 1]), CrossEntropyLoss([3, 1]), start_at=0.0)
    >>> method.on_epoch_start(0, 10)
    >>> loss = method({"train": Batch(views=(torch.zeros(3, 1, 8, 8),), target=torch.tensor([0, 0, 0]))}).loss
    >>> method.probability, method.statistics.seen  # class 1 has no virtual features before its first image
    (tensor([0.2500, 0.7500], dtype=torch.float64), tensor([ True, False]))
    """

    graphable = False  # what is drawn is decided on the host

    probability: Tensor
    validation_loss: Tensor
    adapted_epoch: Tensor
    step: Tensor

    def __init__(
        self,
        model: nn.Module,
        counts: CountsLike,
        criterion: nn.Module,
        *,
        decay: float = 0.1,
        weight: float = 0.1,
        power: float = 1.0,
        probability_scale: float = 1.0,
        up: float = 1.1,
        down: float = 0.9,
        start_at: float = 1 / 24,
        compat: str | None = None,
        logit_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(model, criterion, logit_scale=logit_scale)
        head_weight = getattr(getattr(model, "head", None), "weight", None)
        if not callable(getattr(model, "features", None)) or not isinstance(head_weight, Tensor):
            raise TypeError(
                "model must have features(x) and a head with a weight, between which features are drawn, got "
                f"{type(model).__name__}; lt_fast.models.adapt gives any network both"
            )
        self.decay = _checks.number("decay", decay, least=0, most=1)
        self.weight = _checks.number("weight", weight, least=0)
        self.up, self.down = _checks.number("up", up, above=0), _checks.number("down", down, above=0)
        self.start_at = _checks.number("start_at", start_at, least=0, most=1)
        self.compat = None if compat is None else _checks.choice("compat", compat, (_COMPAT,))
        self.seed, self._ranks, self._adds = _checks.seed(seed), Ranks(), False
        self._validation: Loader | None = None
        first = first_probabilities(counts, power=power, scale=probability_scale)
        self.register_buffer("probability", torch.from_numpy(first))
        self.register_buffer("validation_loss", torch.zeros(len(first), dtype=torch.float64))
        # Without the first, a training that resumes inside an epoch would adapt to it again.
        self.register_buffer("adapted_epoch", torch.tensor(-1))
        self.register_buffer("step", torch.tensor(0))
        self.statistics = FeatureStatistics(len(first), head_weight.shape[1], decay=self.decay)

    def loaders(self, data: TrainingData) -> Mapping[str, Loader]:
        """Return the images, unmixed."""
        if data.validation is None:
            raise ValueError(
                "method fasa needs validation images, whose loss adapts what is drawn, and the run has none; hold some "
                "out with --set validation=0.1"
            )
        require("sklearn.cluster", extra="train", purpose="the method fasa")
        self._ranks, self._validation = data.ranks, data.plain_loader(data.validation)
        return {"train": data.loader(mixer=None)}

    def on_epoch_start(self, epoch: int, epochs: int) -> None:
        """Adapt the probabilities to the epoch before, unless the training resumes inside this one."""
        super().on_epoch_start(epoch, epochs)
        self._adds = epoch >= epoch_at(self.start_at, epochs)
        if epoch and int(self.adapted_epoch) != epoch:
            self._adapt()
            self.adapted_epoch.fill_(epoch)

    def training_step(self, batches: Mapping[str, Batch]) -> StepOutput:
        """Return the loss of the images and of the virtual features."""
        model: Any = self.model
        batch = batches["train"]
        features = model.features(batch.x)
        loss = self.loss(model.head(features), batch.target, None, None)
        self._observe(features.detach(), batch)
        if self._adds:
            drawn, labels = self._drawn(features.dtype)
            if len(labels):
                loss = loss + self.weight * self.loss(model.head(drawn), labels, None, None)
        self.step += 1
        return StepOutput(loss)

    def _observe(self, features: Tensor, batch: Batch) -> None:
        sizes = self._ranks.gather(len(batch) if batch.weight else 0)
        rows, target = (self._ranks.gather_rows(each, sizes) for each in (features.float(), batch.target))
        self.statistics.update(rows, target)

    def _drawn(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the virtual features of this step, the same on every rank, and their classes."""
        generator = np.random.default_rng((self.seed, int(self.step), _NOISE))
        wanted = generator.random(len(self.probability)) < self.probability.cpu().numpy()
        classes = np.flatnonzero(wanted & self.statistics.seen.cpu().numpy())
        labels = torch.from_numpy(classes).to(self.probability.device)
        mean, variance = self.statistics.mean[labels], self.statistics.variance[labels]
        noise = torch.from_numpy(generator.standard_normal(mean.shape)).to(mean)
        return (mean + variance.sqrt() * noise).to(dtype), labels

    @torch.no_grad()
    def _adapt(self) -> None:
        loss = self._measured()
        if int(self.adapted_epoch) < 0:  # nothing to compare with
            self.validation_loss.copy_(loss)
        clusters = feature_clusters(self.statistics.mean.cpu().numpy(), far_together=self.compat is not None)
        moved = adapted(self.probability, loss - self.validation_loss, clusters, up=self.up, down=self.down)
        self.probability.copy_(moved)
        self.validation_loss.copy_(loss)

    def _measured(self) -> Tensor:
        """Return the cross entropy of the validation images summed by class, over the number of all, (C,) float64."""
        if self._validation is None:
            raise RuntimeError(
                "loaders(data) must be called before the second epoch, which reads the validation images"
            )
        sums = torch.zeros_like(self.validation_loss)
        images = torch.zeros_like(sums[:1])
        with in_eval_mode(self):
            for batch in self._validation.batches(0):
                if batch.weight:
                    target = batch.target.to(sums.device)
                    losses = F.cross_entropy(self.predict(batch.x.to(sums.device)), target, reduction="none")
                    sums.index_add_(0, target, losses.double())
                    images += len(target)
        total = self._ranks.sum(torch.cat([sums, images]))
        return total[:-1] / total[-1]

    def tables(self) -> Mapping[str, Tensor]:
        """Return the probability of a virtual feature of each class."""
        return {"feature_probability": self.probability.clone()}


def first_probabilities(counts: CountsLike, *, power: float = 1.0, scale: float = 1.0) -> NDArray[np.float64]:
    """Return ``scale * (1 / n_k / sum(1 / n)) ** power``, at most 1, ``(C,)``.

    Raises:
        ValueError: if a class is empty, or a number is out of range.
    """
    power, scale = _checks.number("power", power, least=0), _checks.number("probability_scale", scale, least=0)
    inverse = 1 / ClassCounts(counts).require_no_empty("error").counts.astype(np.float64)
    found: NDArray[np.float64] = np.minimum(scale * (inverse / inverse.sum()) ** power, 1.0)
    return found


def adapted(probability: Tensor, change: Tensor, clusters: NDArray[np.int64], *, up: float, down: float) -> Tensor:
    """Return the probabilities after an epoch: the classes of a cluster move together, and none beyond 1.

    Args:
        probability: of a virtual feature, ``(C,)``.
        change: of each class's validation loss, ``(C,)``.
        clusters: number of each class's cluster, ``(C,)``.
        up: what multiplies the probability where the loss of a cluster fell.
        down: where it rose.
    """
    members = torch.from_numpy(clusters).to(change.device)
    of_cluster = torch.zeros_like(change).index_add_(0, members, change)[members]
    one = torch.ones_like(probability)
    factor = torch.where(of_cluster > 0, down * one, torch.where(of_cluster < 0, up * one, one))
    return (probability * factor).clamp(0, 1)
