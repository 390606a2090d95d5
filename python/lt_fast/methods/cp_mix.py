"""``ConfusionPairing``: CP-Mix, confused pairs mixed next to the plain images in the second stage of the training."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lt_fast import _checks, mixing
from lt_fast._schedules import epoch_at
from lt_fast.batch import Batch
from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.data import Loader, PairPlans
from lt_fast.losses import BalancedSoftmaxLoss, CrossEntropyLoss, Loss, sum_over_experts
from lt_fast.methods.classification import Classification
from lt_fast.methods.confusion_record import ConfusionRecord, ConfusionTable
from lt_fast.methods.method import StepOutput
from lt_fast.methods.training_data import TrainingData
from lt_fast.ops import mixed_margin_loss
from lt_fast.registry import register
from lt_fast.sampling import ConfusionCounts, ConfusionPairBatchSampler
from lt_fast.sampling.confusion_pairs import Condition

_PAIRS = 0x70616972
"""Changes the seed of the run into one for the pairs: their augmentation and coefficients are independent of the plain
images'."""

_MOST_PAIRS_TOLD = 20

StageOneLoss: TypeAlias = Literal["same", "cross_entropy", "balanced_softmax"]
_FIRST: Mapping[str, type[Loss]] = {"cross_entropy": CrossEntropyLoss, "balanced_softmax": BalancedSoftmaxLoss}


@register("method", "cp_mix")
class ConfusionPairing(Classification):
    """Train in two stages: plain images only, then plain images, confused pairs and a regularising mixture together.

    The loss of the second stage is ``plain + eta * (pairs + mixed)``, each term a mean over its own rows, with

    - plain: ``criterion`` of the unmixed images, balanced softmax in the paper, equation (14);
    - pairs: cross entropy of mixed pairs of confused images, equation (15);
    - mixed: cross entropy of the plain images mixed among themselves, equation (16).

    The labels of both mixtures are weighted by ``lt_fast.mixing.cp_mix_label_weight``. The pairs of an epoch are
    sampled by the confusion matrix of the training up to the start of that epoch. Each term of a network of several
    experts is the sum of the experts' losses; the predictions that are recorded are those of their mean.

    Args:
        model: gives the logits.
        counts: training images per class: a ``ClassCounts``, or a sequence of counts.
        criterion: loss of the plain images; a ``DeferredReweighting`` changes it at its epoch.
        pairs_per_batch: pairs in each step of the second stage.
        mix_pairs: False leaves the pairs out.
        regularize: False leaves the mixture of the plain images out.
        stage_1_loss: loss of the first stage: ``"same"`` as the plain images of the second, ``"cross_entropy"`` or
            ``"balanced_softmax"``.
        stage_2_from: fraction of the epochs at which the second stage starts.
        alpha: of the Beta distribution of the mixing coefficients.
        per_sample: a coefficient for each image rather than one per batch.
        tau: share of the class sizes in the label coefficient, in [0, 1].
        eta: weight of both mixtures.
        temperature: exponent of the confusion counts that pairs are sampled by.
        uniform_fraction: fraction of pairs sampled without regard to confusions.
        condition: how a pair depends on its class, ``"true"``, ``"either"`` or ``"none"``: see
            ``lt_fast.sampling.ConfusionPairBatchSampler``.
        seed: of the run.
        logit_scale: what predictions and the cross entropy of the mixtures multiply the logits by.

    Raises:
        TypeError, ValueError: from the parts, each naming its argument.

    Source: CP-Mix, arXiv:2411.07621, Algorithm 1, equations (5) to (16), of which (9) and (10) are reconstructed. The
    paper does not say whether the three parts go through the network together; one forward pass, in which batch norm
    sees all three, is ours, and so are the values of ``eta`` and ``tau``. Where the text can be read in several ways,
    the reading is a setting:

    - ``stage_1_loss``: stage 1 should "follow ERM training", and pairs are those "that the ERM classifier confuses",
      which is cross entropy; but balanced softmax is the loss of the plain images, and no change of it is mentioned.
      Ours is ``"same"``.
    - ``condition``: a pair of a class is drawn from "a subset" of the confusion pairs. Ours is ``"true"``.
    - epochs: the paper has "longer training" without a number that is available. Stages are fractions of any length.

    >>> from lt_fast.models import digits_net
    >>> counts, model = ClassCounts([3, 1]), digits_net(2, seed=0)
    >>> method = ConfusionPairing(model, counts, BalancedSoftmaxLoss(counts), stage_2_from=0.5)
    >>> [method.active(epoch, 4) for epoch in range(4)]  # None is all: plain images, pairs, and mixed images
    [('train',), ('train',), None, None]
    >>> _ = method({"train": Batch(views=(torch.zeros(4, 1, 8, 8),), target=torch.tensor([0, 0, 0, 1]))})
    >>> method.summary()["confusions"]["predictions"]
    4
    """

    graphable = False  # predictions are counted on the host

    def __init__(
        self,
        model: nn.Module,
        counts: CountsLike,
        criterion: nn.Module,
        *,
        pairs_per_batch: int = 128,
        mix_pairs: bool = True,
        regularize: bool = True,
        stage_1_loss: StageOneLoss = "same",
        stage_2_from: float = 2 / 3,
        alpha: float = 1.0,
        per_sample: bool = False,
        tau: float = 0.5,
        eta: float = 1.0,
        temperature: float = 1.0,
        uniform_fraction: float = 0.0,
        condition: Condition = "true",
        seed: int = 0,
        logit_scale: float = 1.0,
    ) -> None:
        super().__init__(model, criterion, logit_scale=logit_scale)
        if not mix_pairs and not regularize:
            raise ValueError("mix_pairs must be True with regularize=False, got False: no mixture is left")
        _checks.choice("stage_1_loss", stage_1_loss, get_args(StageOneLoss))
        _checks.choice("condition", condition, get_args(Condition))
        counts = ClassCounts(counts)
        self.counts, self.seed = counts, seed
        self.first_criterion = _FIRST[stage_1_loss](counts, normalization="batch") if stage_1_loss in _FIRST else None
        self.num_pairs = _checks.integer("pairs_per_batch", pairs_per_batch, least=1) if mix_pairs else 0
        self.eta, self.tau = _checks.number("eta", eta, least=0), _checks.number("tau", tau, least=0, most=1)
        self.stage_2_from = _checks.number("stage_2_from", stage_2_from, least=0, most=1)
        self.regularize = regularize
        self.record = ConfusionRecord(counts.num_classes)
        # The table of an epoch is kept: a training that resumes inside the epoch must sample by the same one.
        self.table = ConfusionTable(counts.num_classes)
        self.table_epoch: Tensor
        self.register_buffer("table_epoch", torch.tensor(-1))
        self._mixing: dict[str, Any] = {"tau": tau, "alpha": alpha, "per_sample": per_sample}
        self._sampling: dict[str, Any] = {
            "temperature": temperature, "uniform_fraction": uniform_fraction, "condition": condition,
        }  # fmt: skip
        self._pairs: ConfusionPairBatchSampler | None = None
        self._classes: Sequence[str] = counts.names
        self._second_stage = False

    def loaders(self, data: TrainingData) -> Mapping[str, Loader]:
        """Return the plain images, the pairs, and the plain images mixed among themselves."""
        plain = data.loader(mixer=None)
        loaders, self._classes = {"train": plain}, data.classes
        if self.num_pairs:
            planner = self._pair_plans(data.labels, len(plain))
            loaders["pairs"] = data.loader(planner, seed=self.seed ^ _PAIRS)
        if self.regularize:
            loaders["mixed"] = data.loader(mixer=self._mixer(self.seed))
        return loaders

    def active(self, epoch: int, epochs: int) -> Collection[str] | None:
        """Return the plain images alone for the first stage."""
        return None if self._is_second(epoch, epochs) else ("train",)

    def on_epoch_start(self, epoch: int, epochs: int) -> None:
        """Renew the confusion matrix that pairs are sampled by, unless the training resumes inside the epoch."""
        super().on_epoch_start(epoch, epochs)
        self._second_stage = self._is_second(epoch, epochs)
        if not self._second_stage or self._pairs is None:
            return
        if int(self.table_epoch) != epoch:
            self.table.counts = self.record.copy()
            self.table_epoch.fill_(epoch)
        self._pairs.set_epoch(epoch)
        self._pairs.update_confusion(self.table.counts, from_step=epoch * self._pairs.num_batches)

    def phase(self, epoch: int) -> Hashable:
        """Return the stage, and which loss is used."""
        return self._second_stage, super().phase(epoch)

    def training_step(self, batches: Mapping[str, Batch]) -> StepOutput:
        """Return the loss of all parts, from one forward pass, and record the confusions of the plain images."""
        plain, *mixtures = batches.values()
        logits = self.training_logits(torch.cat([batch.x for batch in batches.values()])).float()
        own, *others = torch.split(logits, [len(batch) for batch in batches.values()])
        if plain.weight:
            self.record.add(plain.target, own.detach() if own.ndim == 2 else own.detach().mean(1))  # noqa: PLR2004
        loss = self._plain_loss(own, plain.target)
        with torch.autocast(logits.device.type, enabled=False):
            for batch, its in zip(mixtures, others, strict=True):
                # The loop weights by the plain rows of a rank; another part may be divided among the ranks otherwise.
                share = batch.weight / plain.weight if plain.weight else 0.0
                loss = loss + self.eta * share * self._mixture_loss(its, batch)
        return StepOutput(loss)

    def _plain_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        if self._second_stage or self.first_criterion is None:
            return self.loss(logits, target, None, None)
        with torch.autocast(logits.device.type, enabled=False):
            return sum_over_experts(self.first_criterion, self.logit_scale * logits, target, None, None)

    def _mixture_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return sum_over_experts(self._cross_entropy, logits, batch.target, batch.target_b, batch.lam)

    def _cross_entropy(self, logits: Tensor, target: Tensor, target_b: Tensor | None, lam: Any) -> Tensor:
        loss: Tensor = mixed_margin_loss(
            logits,
            target,
            target_b=target_b,
            lam=lam,
            class_counts=self.counts,
            label_rule="cp_mix",
            tau=self.tau,
            scale=self.logit_scale,
            normalization="batch",
        )
        return loss

    def merge_ranks(self) -> None:
        """Add what the ranks have counted since the last time."""
        self.record.merge_ranks()

    def summary(self) -> Mapping[str, Any]:
        """Return the number of predictions and of errors, and the most frequent confusions."""
        return {"confusions": summary_of(self.record.up_to_date(), self._classes)}

    def tables(self) -> Mapping[str, Tensor]:
        """Return all confusion counts, rows (target, predicted, count)."""
        return {"confusion_counts": self.record.entries()}

    def _is_second(self, epoch: int, epochs: int) -> bool:
        return epoch >= epoch_at(self.stage_2_from, epochs)

    def _mixer(self, seed: int) -> mixing.CPMix:
        return mixing.CPMix(self.counts, seed=seed, **self._mixing)

    def _pair_plans(self, labels: NDArray[np.int64], steps: int) -> "ConfusedPairs":
        self._pairs = ConfusionPairBatchSampler(
            labels,
            ConfusionCounts(self.counts.num_classes),
            pairs_per_batch=self.num_pairs,
            num_batches=steps,
            output="numpy",
            seed=self.seed,
            **self._sampling,
        )
        return ConfusedPairs(self._pairs, labels, self._mixer(self.seed ^ _PAIRS).coefficients)


class ConfusedPairs(PairPlans):
    """Plans of confused pairs, identified by everything but the confusion matrix, which the method saves.

    Args:
        sampler: of the pairs.
        labels: (N,) int64 of the training set.
        coefficients: as for ``PairPlans``.
    """

    def __init__(
        self,
        sampler: ConfusionPairBatchSampler,
        labels: NDArray[np.int64],
        coefficients: Callable[[int, int, int], NDArray[np.float32]],
    ) -> None:
        super().__init__(sampler, labels, coefficients)

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the method chooses the epoch together with the matrix."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return what identifies the pairs."""
        return {name: value for name, value in super().state_dict().items() if name != "confusion"}


def summary_of(confusion: ConfusionCounts, names: Sequence[str]) -> dict[str, Any]:
    """Return the number of predictions and of errors, and the most frequent pairs, plain values.

    Each pair has ``true`` and ``predicted``, names of the classes, ``count``, and ``share`` of the errors on images of
    the true class, which is what CP-Mix samples by.
    """
    target, predicted, counts = confusion.entries()
    wrong = target != predicted
    target, predicted, counts = target[wrong], predicted[wrong], counts[wrong]
    errors = np.bincount(target, weights=counts, minlength=confusion.num_classes)
    order = np.argsort(-counts, kind="stable")[:_MOST_PAIRS_TOLD]
    pairs = [
        {
            "true": names[target[at]],
            "predicted": names[predicted[at]],
            "count": int(counts[at]),
            "share": float(counts[at] / errors[target[at]]),
        }
        for at in order
    ]
    return {"predictions": confusion.total, "errors": int(counts.sum()), "most_frequent": pairs}
