"""``RISDA``: features of rare classes augmented by what confused classes look like, without sampling any."""

from collections.abc import Hashable, Mapping
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from lt_fast import _checks
from lt_fast._schedules import epoch_at
from lt_fast.batch import Batch
from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.data import FixedBatches, Loader
from lt_fast.losses import ClassMoments, augmented_logits
from lt_fast.methods.classification import Classification
from lt_fast.methods.method import StepOutput
from lt_fast.methods.training_data import TrainingData
from lt_fast.ranks import Ranks
from lt_fast.registry import register

_DECIMALS = 2  # the authors': smaller shares than half of a hundredth do not count


@register("method", "risda")
class RISDA(Classification):
    """Train by ``criterion``; from ``start_at`` on, train with implicitly augmented features.

    At the start of the second stage, one pass over the augmented training images in evaluation mode gives the
    confusion matrix, rows divided by their sums and rounded to two decimals, G, and the mean feature m of each class.
    From then on, with S_c the running covariance of the features of class c in the second stage, and e of E the epoch::

        shift_y = sum_c G_yc m_c - m_y
        covariance_y = sum_c G_yc S_c      for all but the most frequent classes, which keep S_y
        criterion(augmented_logits(z, W, y, shift, covariance, alpha=alpha * e / E, beta=beta * e / E), y)

    So a rare class, which is confused with others, is given some of their variety: see
    ``lt_fast.losses.augmented_logits``. The pass costs one forward pass of an epoch, once; each later step
    K * C * D^2 multiplications for K classes in the batch. The method holds C * D^2 floats, and every checkpoint, too:
    16.8 GB for 1,000 classes of 2,048 features. With ``diagonal`` both are D times less.

    Args:
        model: has ``features`` and a linear ``head``.
        counts: training images per class: a ``ClassCounts``, or a sequence of counts.
        criterion: as for ``Classification``; a ``DeferredReweighting`` re-weights the second stage.
        alpha: strength of the shift at the end of the training, finite, >= 0.
        beta: strength of the covariance at the end of the training, finite, >= 0.
        start_at: fraction of the epochs at which the second stage begins.
        head_fraction: of the classes, most frequent first, that keep their own covariance.
        compound: True replaces S_y by ``covariance_y`` after every step, so that the reasoning is repeated.
        diagonal: True keeps the variance of each feature in place of covariances.
        freeze_from: fraction of the epochs from which the second stage trains the classifier alone; 1 never. Batch
            norm's running statistics still move.
        logit_scale: what predictions multiply the logits by.

    Raises:
        TypeError: if ``criterion`` is not an ``nn.Module``.
        ValueError: if a value is out of its range, or the head of ``model`` is not linear.

    Source: Chen et al. 2022, arXiv:2112.07928; code xiaohua-chen/RISDA, RISDA.py, loss.py and resnet.py. That code
    adds the shift to the features and to the logits, so that its ``--alpha`` is half of this one; it prints that it
    freezes the features, but its weights are buffers that this does not reach; and it compounds. The recipe does what
    the code does. Differs from it: the confusion is that at the start of the second stage, as in the same repository's
    RISDA_ImageNet_AAAI, while RISDA.py takes the epoch of the best training accuracy, which it measures after every
    one, and which is the last as a rule, the one with a hundredth of the learning rate; S is of features without the
    shift. The code for ImageNet-LT has no shift, keeps the diagonal and freezes the last tenth.

    >>> import numpy as np
    >>> import lt_fast as lt
    >>> source = lt.data.ArraySource(np.zeros((4, 8, 8, 1), np.uint8), [0, 0, 0, 1])
    >>> plain = lt.data.CropFlip(mean=(0.5,), std=(0.2,), crop_padding=0, flip=False)
    >>> options = {"source": source, "transform": plain, "plain_transform": plain}
    >>> data = TrainingData(sampler=lambda: FixedBatches(4, batch_size=2), **options)
    >>> method = RISDA(lt.models.digits_net(2, seed=0), data.class_counts, lt.losses.CrossEntropyLoss([3, 1]))
    >>> _ = method.loaders(data)
    >>> for epoch in (7, 8):  # the second stage begins
    ...     method.on_epoch_start(epoch, 10)
    ...     print(method.reasoning.sum(1))
    tensor([0., 0.])
    tensor([1., 1.])
    """

    graphable = False  # which classes are in a batch is read on the host

    def __init__(
        self,
        model: nn.Module,
        counts: CountsLike,
        criterion: nn.Module,
        *,
        alpha: float = 1.0,
        beta: float = 0.75,
        start_at: float = 0.8,
        head_fraction: float = 0.2,
        compound: bool = False,
        diagonal: bool = False,
        freeze_from: float = 1.0,
        logit_scale: float = 1.0,
    ) -> None:
        super().__init__(model, criterion, logit_scale=logit_scale)
        head = getattr(model, "head", None)
        if not isinstance(head, nn.Linear):
            raise ValueError(  # noqa: TRY004  (one wrong setting among others)
                f"head must be linear for the method risda, got {type(head).__name__}; give --set model.head=linear"
            )
        self.alpha, self.beta = _checks.number("alpha", alpha, least=0), _checks.number("beta", beta, least=0)
        self.start_at = _checks.number("start_at", start_at, least=0, most=1)
        _checks.number("head_fraction", head_fraction, least=0, most=1)
        self.compound = compound
        self.freeze_from = _checks.number("freeze_from", freeze_from, least=0, most=1)
        self.may_leave_parameters_unused = freeze_from < 1
        counts = ClassCounts(counts)
        classes, width = len(counts), head.in_features
        self._tail = sorted(_by_size(counts)[round(head_fraction * classes) :])
        self.moments = ClassMoments(classes, width, diagonal=diagonal)
        self.reasoning: Tensor
        self.shift: Tensor
        self.reasoned: Tensor
        self.register_buffer("reasoning", torch.zeros(classes, classes))
        self.register_buffer("shift", torch.zeros(classes, width))
        # Saved, so that a training that resumes in the second stage continues with what that stage began with.
        self.register_buffer("reasoned", torch.tensor(data=False))
        self._images: Loader | None = None
        self._ranks, self._done, self._second, self._frozen = Ranks(), 0.0, False, False

    def loaders(self, data: TrainingData) -> Mapping[str, Loader]:
        """Return the unmixed training images."""
        in_order = FixedBatches(len(data.source), batch_size=data.batch_size)
        self._ranks, self._images = data.ranks, data.loader(in_order, mixer=None)
        return {"train": data.loader(mixer=None)}

    def on_epoch_start(self, epoch: int, epochs: int) -> None:
        """Choose the stage; at the start of the second, reason from the training images."""
        super().on_epoch_start(epoch, epochs)
        self._second, self._done = epoch >= epoch_at(self.start_at, epochs), epoch / epochs
        self._frozen = self._second and epoch >= epoch_at(self.freeze_from, epochs)
        if self._second and not self.reasoned:
            self._reason()

    def phase(self, epoch: int) -> Hashable:
        """Return the stage and the loss."""
        return self._second, self._frozen, super().phase(epoch)

    def training_step(self, batches: Mapping[str, Batch]) -> StepOutput:
        """Return the loss of the batch ``"train"``, in the second stage of augmented features."""
        batch = batches["train"]
        if not self._second:
            return super().training_step(batches)
        with torch.no_grad() if self._frozen else nullcontext():
            features = self.model.features(batch.x)  # type: ignore[operator]
        logits = self.model.head(features)  # type: ignore[operator]
        with torch.autocast(logits.device.type, enabled=False):
            rows = slice(len(batch) if batch.weight else 0)
            self.moments.update(features.detach()[rows], batch.target[rows], self._ranks.sum)
            augmented = self.augmented(logits.float(), batch.target)
        return StepOutput(self.loss(augmented, batch.target, None, None))

    def augmented(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the logits with the terms of the current epoch."""
        weight: Tensor = self.model.head.weight  # type: ignore[union-attr, assignment]
        strength = {"alpha": self.alpha * self._done, "beta": self.beta * self._done}
        return augmented_logits(logits, weight.float(), target, self.shift, self._covariance(), **strength)

    @torch.no_grad()
    def _covariance(self) -> Tensor:
        """Return each class's covariance after the reasoning."""
        known = self.moments.covariance
        reasoned = known.clone()
        reasoned[self._tail] = (self.reasoning[self._tail] @ known.flatten(1)).view(-1, *known.shape[1:])
        if self.compound:
            known.copy_(reasoned)
        return reasoned

    @torch.no_grad()
    def _reason(self) -> None:
        """Measure confusion and mean features of the training images, and what follows from them."""
        if self._images is None:
            raise RuntimeError("loaders(data) must be called before the second stage, which reads the training images")
        confusion = torch.zeros(self.reasoning.shape, dtype=torch.float64, device=self.shift.device)
        sums = torch.zeros(self.shift.shape, dtype=torch.float64, device=self.shift.device)
        mode = self.model.training
        self.model.eval()
        for batch in self._images.batches(0):
            if batch.weight:
                features = self.model.features(batch.x.to(sums.device)).float()  # type: ignore[operator]
                label, predicted = (
                    nn.functional.one_hot(each.to(sums.device), len(sums)).double()
                    for each in (batch.target, self.model.head(features).argmax(1))  # type: ignore[operator]
                )
                confusion += label.T @ predicted
                sums += label.T @ features.double()
        self.model.train(mode)
        self._conclude(self._ranks.sum(confusion), self._ranks.sum(sums))

    def _conclude(self, confusion: Tensor, sums: Tensor) -> None:
        images = confusion.sum(1, keepdim=True).clamp(min=1)  # a class may have none
        mean = (sums / images).to(self.shift)
        self.reasoning.copy_((confusion / images).round(decimals=_DECIMALS))
        self.shift.copy_(self.reasoning @ mean - mean)
        self.reasoned.fill_(value=True)


def _by_size(counts: ClassCounts) -> list[int]:
    """Return the classes, largest first; of equal ones the lower number first."""
    sizes: list[int] = counts.counts.tolist()
    return sorted(range(len(sizes)), key=lambda label: -sizes[label])
