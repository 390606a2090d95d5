"""``HybridSC`` and ``HybridPSC``: a contrastive loss for the features and another loss for the classifier, at once."""

import math
from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lt_fast import _checks
from lt_fast.batch import Batch
from lt_fast.data import Loader
from lt_fast.losses import PrototypicalSupConLoss, SupConLoss
from lt_fast.methods.bilateral_branches import parabolic_share
from lt_fast.methods.classification import Classification
from lt_fast.methods.method import StepOutput
from lt_fast.methods.training_data import TrainingData
from lt_fast.models import CosineHead
from lt_fast.models.initialization import build
from lt_fast.ranks import Ranks
from lt_fast.registry import register

_BALANCED, _PROJECTION, _PROTOTYPES = 0x62616C61, 0x70726F6A, 0x70726F74
"""Change the seed of the run into that of the balanced draws, and into those of new weights."""


class HybridContrast(Classification):
    """Learn features by contrast from uniform batches, and a classifier from class-balanced ones, of one network.

    Formula, with alpha = ``parabolic_share(epoch, epochs)``, so that the training moves from features to classifier::

        alpha * contrast(projection(features(x)), y) + (1 - alpha) * criterion(head(features(x')), y')

    ``x`` is a uniform batch in ``views`` augmented copies of each image, which go through the network in one pass;
    ``x'`` is a batch with class probabilities ``n_c ** q``, which goes through it in another. The projection, a hidden
    layer and an output of ``width``, is used in training alone: predictions and calibration are those of ``model``.

    Args:
        model: has ``features`` and ``head``.
        criterion: of the classifier, as for ``Classification``.
        temperature: of the contrast.
        width: length of the embeddings that are contrasted.
        q: exponent of the class counts for the classifier's batches; 0 is class-balanced.
        views: augmented copies of each image that is contrasted, >= 1.
        logit_scale: what predictions multiply the logits by.
        seed: of the run.

    Raises:
        TypeError: if ``criterion`` is not an ``nn.Module``.
        ValueError: if a value is out of its range, or ``model`` has no head with a weight (C, D).

    >>> import lt_fast as lt
    >>> class Alike(HybridContrast):
    ...     def contrast(self, embeddings, batch):
    ...         return (embeddings[0] - embeddings[1]).square().mean()
    >>> method = Alike(lt.models.digits_net(2, seed=0), lt.losses.CrossEntropyLoss([3, 1]))
    >>> x, y = torch.zeros(4, 1, 8, 8), torch.tensor([0, 0, 0, 1])
    >>> output = method({"train": Batch(views=(x, x), target=y), "balanced": Batch(views=(x,), target=y)})
    >>> output.logs["contrast"]  # of equal views
    tensor(0.)
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: nn.Module,
        *,
        temperature: float = 0.1,
        width: int = 128,
        q: float = 0.0,
        views: int = 2,
        logit_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(model, criterion, logit_scale=logit_scale)
        self.temperature = _checks.number("temperature", temperature, above=0)
        self.width = _checks.integer("width", width, least=1)
        self.q, self.seed = _checks.number("q", q), seed
        self.views = _checks.integer("views", views, least=1)
        num_classes, features = _shape_of(model)
        self.projection = build(lambda: _projection(features, self.width), seed=seed ^ _PROJECTION)
        self.share: Tensor
        # A function of the epoch, so not saved; a tensor, so that one captured step serves every epoch.
        self.register_buffer("share", torch.ones(()), persistent=False)
        self._prepare(num_classes)

    @abstractmethod
    def _prepare(self, num_classes: int) -> None:
        """Make the contrastive loss and what it learns."""

    @abstractmethod
    def contrast(self, embeddings: Tensor, batch: Batch) -> Tensor:
        """Return the contrastive loss of a batch whose embeddings are (views, N, width) float32."""

    def loaders(self, data: TrainingData) -> Mapping[str, Loader]:
        """Return views of the run's batches, and class-balanced batches."""
        uniform, seed = data.loader(mixer=None, views=self.views), self.seed ^ _BALANCED
        drawn = data.drawn_batches(self.q, seed=seed, steps=len(uniform))
        return {"train": uniform, "balanced": data.loader(drawn, mixer=None, seed=seed)}

    def on_epoch_start(self, epoch: int, epochs: int) -> None:
        """Choose the share of the contrast, and the loss of the classifier."""
        super().on_epoch_start(epoch, epochs)
        self.share.fill_(parabolic_share(epoch, epochs))

    def training_step(self, batches: Mapping[str, Batch]) -> StepOutput:
        """Return the loss of both parts; ``contrast`` in the logs is the first."""
        uniform, balanced = batches["train"], batches["balanced"]
        embeddings = self.projection(self.model.features(torch.cat(uniform.views)))  # type: ignore[operator]
        with torch.autocast(embeddings.device.type, enabled=False):
            contrast = self.contrast(embeddings.float().unflatten(0, (len(uniform.views), -1)), uniform)
        classifier = self.loss(self.model(balanced.x), balanced.target, None, None)
        # The loop weights by the uniform rows of a rank; the balanced ones may be divided among the ranks otherwise.
        rows = balanced.weight / uniform.weight if uniform.weight else 0.0
        loss = self.share * contrast + (1 - self.share) * rows * classifier
        return StepOutput(loss, {"contrast": contrast.detach()})


@register("method", "hybrid_sc")
class HybridSC(HybridContrast):
    """Hybrid-SC: ``HybridContrast`` with ``SupConLoss``, every image of the batch against every other.

    On several ranks the embeddings of all ranks are contrasted with each other, so that the loss and its gradient are
    those of one rank with the whole batch: every rank gathers ``batch_size * views`` embeddings and computes their
    similarities, (batch_size * views)^2 numbers.

    Source: Wang et al. 2021, arXiv:2103.14267, Section 3, as CENG502-Projects/CENG502-Spring2022,
    Project_Durmus-Yavuz, quotes it in Readme.md and reproduces it in main.py and networks/resnet_big.py. No code of the
    authors is known. Ours: the mean of the rows' losses, which the paper is quoted to add; T in alpha counts from 0, as
    in BBN; the classifier's batch goes through the network in a pass of its own; two views; widths of the projection as
    in HobbitLong/SupContrast, networks/resnet_big.py.
    Differs from that reproduction: the classifier has class-balanced batches, as the paper says.

    >>> import lt_fast as lt
    >>> method = HybridSC(lt.models.digits_net(2, seed=0), lt.losses.CrossEntropyLoss([3, 1]))
    >>> x, y = torch.linspace(0, 1, 256).reshape(4, 1, 8, 8), torch.tensor([0, 0, 0, 1])
    >>> method.on_epoch_start(0, 10)  # the first epoch learns features alone
    >>> loss, logs = method({"train": Batch(views=(x, x), target=y), "balanced": Batch(views=(x,), target=y)})
    >>> torch.equal(loss, logs["contrast"])
    True
    """

    def _prepare(self, num_classes: int) -> None:  # noqa: ARG002  (of the other kind)
        self.contrasting = SupConLoss(self.temperature)
        self._ranks, self._most = Ranks(), 1

    def loaders(self, data: TrainingData) -> Mapping[str, Loader]:
        """Return views of the run's batches, and class-balanced batches."""
        self._ranks = data.ranks
        loaders = super().loaders(data)
        self._most = math.ceil(data.batch_size / data.ranks.world_size)
        return loaders

    def contrast(self, embeddings: Tensor, batch: Batch) -> Tensor:
        """Return the loss of the rows of all ranks together."""
        views, one = len(embeddings), self._ranks.world_size == 1
        found, labels = (embeddings, batch.target) if one else self._of_all_ranks(embeddings, batch)
        loss: Tensor = self.contrasting(found.flatten(0, 1), labels.repeat(views))
        if one:
            return loss
        # Each rank has the whole loss, but a gradient through its own rows alone, and these are averaged over ranks.
        factor = self._ranks.world_size / batch.weight if batch.weight else 1.0
        # Every rank must have a gradient of every parameter, also one whose rows do not count.
        return loss + (factor - 1) * (loss - loss.detach()) + 0 * embeddings.sum()

    def _of_all_ranks(self, embeddings: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the embeddings and labels of the whole batch, in its order."""
        views, rows, width = embeddings.shape
        size, own = (self._ranks.world_size, max(self._most, rows)), rows if batch.weight else 0
        place = (self._ranks.rank, slice(own))
        labels = batch.target.new_zeros(size)  # 0 where there is no row
        labels[place] = batch.target[:own] + 1
        found = embeddings.new_zeros(*size, views, width)
        found[place] = embeddings.detach().transpose(0, 1)[:own]
        labels, found = self._ranks.sum(labels), self._ranks.sum(found)
        found[place] = embeddings.transpose(0, 1)[:own]
        there = labels > 0
        return found[there].transpose(0, 1), labels[there] - 1


@register("method", "hybrid_psc")
class HybridPSC(HybridContrast):
    """Hybrid-PSC: ``HybridContrast`` with ``PrototypicalSupConLoss``, every image against a prototype per class.

    The prototypes are trained with the network; they begin on the unit sphere. An image is contrasted with prototypes
    alone, so that several ranks compute what one does without an exchange, and memory grows with the classes, not with
    the square of the batch.

    Source: as of ``HybridSC``. Differs from the reproduction named there, whose prototypes are the means of a batch:
    here they are learned, as the paper says. Ours: their first values.

    >>> from lt_fast.losses import CrossEntropyLoss
    >>> from lt_fast.models import digits_net
    >>> method = HybridPSC(digits_net(2, seed=0), CrossEntropyLoss([3, 1]), width=16)
    >>> embeddings = method.prototypes.detach()[None, [0, 0, 0, 1]]  # one view of four images, each at its prototype
    >>> batch = Batch(views=(torch.zeros(4, 1, 8, 8),), target=torch.tensor([0, 0, 0, 1]))
    >>> method.contrast(embeddings, batch) < method.contrast(embeddings.flip(1), batch)
    tensor(True)
    """

    def _prepare(self, num_classes: int) -> None:
        self.contrasting = PrototypicalSupConLoss(self.temperature)
        head = CosineHead(self.width, num_classes, seed=self.seed ^ _PROTOTYPES)
        self.prototypes = nn.Parameter(head.weight.detach())

    def contrast(self, embeddings: Tensor, batch: Batch) -> Tensor:
        """Return the loss of the rows of this rank."""
        loss: Tensor = self.contrasting(embeddings.flatten(0, 1), self.prototypes, batch.target.repeat(len(embeddings)))
        return loss


def _shape_of(model: nn.Module) -> tuple[int, int]:
    """Return (C, D) of the head."""
    weight = getattr(getattr(model, "head", None), "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:  # noqa: PLR2004
        raise ValueError(
            f"model must have a head with a weight (C, D), got {type(model).__name__} without one; name a network of "
            "lt_fast.models, or adapt yours by lt_fast.models.adapt"
        )
    return weight.shape[0], weight.shape[1]


def _projection(features: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, width))
