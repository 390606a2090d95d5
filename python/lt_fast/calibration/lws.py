"""Learnable weight scaling (LWS): one factor for each class's logit, trained on class-balanced draws."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast.calibration.checks import refuse_probabilities
from lt_fast.calibration.descent import Order
from lt_fast.calibration.heads import Model, wrap_head
from lt_fast.calibration.linear_heads import features_for
from lt_fast.calibration.outputs import Outputs
from lt_fast.calibration.trained import TrainedCalibration
from lt_fast.counts import CountsLike, EmptyPolicy
from lt_fast.registry import register


@register("calibrator", "lws")
class LearnableWeightScaling(TrainedCalibration):
    """Learn one factor per class: the calibrated logit is ``scale * factor_j * logit_j``, offset included.

    The factors start at 1 and are trained by cross entropy on class-balanced draws, N per epoch: a class, all equally
    likely, and one of its samples. It is tau-normalisation with learned in place of computed factors, and margin
    calibration without offsets.

    Args:
        counts: training samples per class.
        epochs: of N draws, from 1 to 1,000,000.
        lr: first learning rate; a cosine by epochs takes it to 0.
        batch_size: rows per step.
        momentum: in [0, 1).
        weight_decay: L2 penalty; as in the source it pulls the factors to 0, not to 1.
        scale: what the training loss multiplied the logits by (30 for LDAM over a cosine head).
        views: 0, or K for features of K augmented views of the images, one view after the other: K N rows, with the
            labels repeated. Epoch e draws from view ``e % K``.
        order: ``order(epoch, n)`` gives the rows of an epoch, repeats allowed; by default class-balanced draws keyed by
            ``(seed, epoch)``.
        seed: integer in [0, 2^64).
        progress: show a bar over the epochs (needs tqdm).
        empty: ``"error"``, or ``"ignore"`` for classes without training samples: nothing is learned for them.

    Attributes:
        factor: ``(C,)`` tensor after ``fit`` or ``load``.
        losses: mean loss of each epoch of the last ``fit``.

    Raises:
        TypeError, ValueError: if a setting is outside its range.

    Source: Kang et al. 2020, arXiv:1910.09217, section 4.4; code facebookresearch/classifier-balancing,
    models/TauNormClassifier.py, whose settings for ImageNet-LT (config/ImageNet_LT/cls_lws.yaml) are the defaults;
    Places-LT has lr 0.1 and batch 256, iNaturalist a weight decay of 1e-4.
    Differs from that code: the features are computed once, in eval mode, and without augmentation unless there are
    ``views``, where the code runs the frozen network for every epoch, on augmented images, in train mode; classes are
    drawn independently, where it takes four samples of each in turn; the last, smaller batch of an epoch is used; the
    cosine begins with ``lr``, where the code takes its first step before the first epoch, so that its last epoch has
    the rate 0; the last epoch is kept, not the best on validation images.

    >>> labels, logits = torch.tensor([0] * 90 + [1] * 10), torch.tensor([[3.0, 0.1]] * 60 + [[1.6, 0.5]] * 40)
    >>> calibrator = LearnableWeightScaling([90, 10], epochs=50).fit(logits, labels)
    >>> undecided = logits[-1:]  # 30 images of class 0 have these logits, and all 10 of class 1
    >>> undecided.argmax(1), calibrator.transform(undecided).argmax(1)
    (tensor([0]), tensor([1]))
    """

    name = "lws"
    transforms = "logits"
    kept: ClassVar[dict[str, str]] = {"factor": "C"}
    balanced = True

    factor: Tensor | None = None

    def __init__(
        self,
        counts: CountsLike,
        *,
        epochs: int = 5,
        lr: float = 0.2,
        batch_size: int = 512,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        scale: float = 1.0,
        views: int = 0,
        order: Order | None = None,
        seed: int = 0,
        progress: bool = False,
        empty: EmptyPolicy = "error",
    ) -> None:
        super().__init__(
            counts,
            epochs=epochs,
            lr=lr,
            batch_size=batch_size,
            momentum=momentum,
            weight_decay=weight_decay,
            scale=scale,
            views=views,
            order=order,
            seed=seed,
            progress=progress,
            empty=empty,
        )

    def _given(self, features_or_logits: Any, head: nn.Module | None) -> Outputs:
        return Outputs.of(features_for(head, features_or_logits), head, self.counts)

    def _train(self, given: Outputs, target: Tensor, head: nn.Module | None) -> None:  # noqa: ARG002
        factor = torch.ones(given.num_classes, dtype=given.dtype, device=given.device)

        def loss_of(rows: Tensor) -> Tensor:
            return F.cross_entropy(self.scale * (factor * given[rows]), target[rows])

        self._minimise([factor], loss_of, target)
        self.factor = factor.detach()

    def transform(self, logits: Any) -> Tensor:
        """Return calibrated logits ``(N, C)``, on the device of ``logits``; -inf, of a class left out, stays -inf.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            TypeError, ValueError: if the logits are not floats of shape ``(N, C)``, or are probabilities.
        """
        factor = self._fitted("transform")["factor"]
        given = self._checked_input(logits, len(factor))
        refuse_probabilities(given)
        kind = torch.promote_types(given.dtype, factor.dtype)
        calibrated = self.scale * (factor.to(given.device) * given.to(kind))
        return calibrated.where(~torch.isneginf(given), -torch.inf)  # whatever the factor is: 0 * inf is NaN

    def apply(self, model: Model, *, head: str = "head") -> Model:
        """Return a copy of ``model`` with a calibrated head called ``head``. ``model`` is not changed.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            ValueError: if there is no such module, or it has another number of classes.
        """
        factor = self._fitted("apply")["factor"]
        return wrap_head(model, self.scale * factor, torch.zeros_like(factor), head=head)
