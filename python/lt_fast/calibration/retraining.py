"""Classifier retraining (cRT): train the classifier of a frozen network again, on class-balanced draws."""

from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.calibration.checks import checked_matrix
from lt_fast.calibration.descent import Order
from lt_fast.calibration.heads import Model, wrap_head
from lt_fast.calibration.linear_heads import Start, beginning, head_logits, with_weights
from lt_fast.calibration.trained import TrainedCalibration
from lt_fast.counts import CountsLike, EmptyPolicy
from lt_fast.registry import register


@register("calibrator", "retraining")
class ClassifierRetraining(TrainedCalibration):
    """Train the classifier alone by cross entropy on class-balanced draws of fixed features.

    Each epoch has N draws: a class, all equally likely, and one of its samples. SGD with momentum; one learning rate
    per epoch, a cosine from ``lr`` to 0. ``start="trained"`` continues from the given head, which is fine-tuning;
    ``"fresh"`` starts with new weights, which is cRT.

    Args:
        counts: training samples per class.
        start: ``"trained"`` or ``"fresh"``; without a head it is fresh.
        epochs: of N draws, from 1 to 1,000,000.
        lr: first learning rate.
        batch_size: rows per step.
        momentum: in [0, 1).
        weight_decay: L2 penalty on weights and offsets.
        scale: what the training loss multiplied the logits by (30 for LDAM over a cosine head).
        views: 0, or K for features of K augmented views of the images, one view after the other: K N rows, with the
            labels repeated. Epoch e draws from view ``e % K``.
        order: ``order(epoch, n)`` gives the rows of an epoch, repeats allowed; by default class-balanced draws keyed by
            ``(seed, epoch)``.
        seed: integer in [0, 2^64).
        progress: show a bar over the epochs (needs tqdm).
        empty: ``"error"``, or ``"ignore"`` for classes without training samples: nothing is learned for them.

    Attributes:
        weight: ``(C, D)`` tensor after ``fit`` or ``load``.
        bias: ``(C,)`` tensor, or None for a head without.
        cosine: whether the head normalises features and rows.
        losses: mean loss of each epoch of the last ``fit``.

    Raises:
        TypeError, ValueError: if a setting is outside its range.

    Source: Kang et al. 2020, arXiv:1910.09217, section 4.1; code facebookresearch/classifier-balancing, whose settings
    for ImageNet-LT are the defaults (10 epochs, 0.2, batch 512, weight decay 5e-4). The fine-tuning of CP-Mix,
    arXiv:2411.07621, is ``start="trained"``; its settings were not available.
    Differs from that code: the features are computed once, in eval mode, and without augmentation unless there are
    ``views``, where the code runs the frozen network for every epoch, on augmented images, in train mode; classes are
    drawn independently, where it takes four samples of each in turn; the last, smaller batch of an epoch is used; the
    cosine begins with ``lr``, where the code takes its first step before the first epoch, so that its last epoch has
    the rate 0; the last epoch is kept, not the best on validation images; new offsets are 0, where ``nn.Linear`` draws
    them.

    >>> labels = torch.tensor([0] * 90 + [1] * 10)
    >>> features = torch.tensor([[0.0]] * 60 + [[1.0]] * 40)  # at 1 there are 30 images of class 0 and all of class 1
    >>> calibrator = ClassifierRetraining([90, 10], start="fresh", batch_size=50).fit(features, labels)
    >>> calibrator.transform(torch.tensor([[0.0], [1.0]])).argmax(1)
    tensor([0, 1])
    """

    name = "retraining"
    transforms = "features"
    kept: ClassVar[dict[str, str]] = {"weight": "CD", "bias?": "C"}
    balanced = True

    weight: Tensor | None = None
    bias: Tensor | None = None
    cosine: bool = False

    def __init__(
        self,
        counts: CountsLike,
        *,
        start: Start = "trained",
        epochs: int = 10,
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
        _checks.choice("start", start, get_args(Start))
        self.start: Start = start
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

    def _settings(self) -> dict[str, Any]:
        return {"start": self.start} | super()._settings()

    def _given(self, features_or_logits: Any, head: nn.Module | None) -> Tensor:  # noqa: ARG002
        given = checked_matrix(features_or_logits, name="features")
        return given.clone() if given.is_inference() else given  # which autograd refuses to keep

    def _train(self, given: Tensor, target: Tensor, head: nn.Module | None) -> None:
        weight, bias, self.cosine = beginning(head, given, len(self.counts), start=self.start, seed=self.seed)

        def loss_of(rows: Tensor) -> Tensor:
            logits = head_logits(given[rows], weight, bias, cosine=self.cosine)
            return F.cross_entropy(self.scale * logits, target[rows])

        self._minimise([part for part in (weight, bias) if part is not None], loss_of, target)
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()

    def transform(self, features: Any) -> Tensor:
        """Return logits ``(N, C)`` of features ``(N, D)``, times ``scale``, on the device of the features.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            TypeError, ValueError: if the features are not floats of shape ``(N, D)``.
        """
        tensors = self._fitted("transform")
        weight, bias = tensors["weight"], tensors.get("bias")
        given = self._checked_input(features, weight.shape[1])
        weight, bias = weight.to(given.device), None if bias is None else bias.to(given.device)
        return self.scale * head_logits(given.to(weight.dtype), weight, bias, cosine=self.cosine)

    def apply(self, model: Model, *, head: str = "head") -> Model:
        """Return a copy of ``model`` with the retrained weights in its head. ``model`` is not changed.

        Args:
            model: any module whose head is of the kind that was fitted.
            head: name of its classifier module: ``"fc"`` for a torchvision ResNet. The model must return what this
                module returns, which ``collect`` checks.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            ValueError: if there is no such module, or its weights have another shape.
        """
        tensors = self._fitted("apply")
        weight, bias = tensors["weight"], tensors.get("bias")
        retrained = with_weights(model, weight, bias, head=head)
        if self.scale == 1:
            return retrained
        factor = torch.full_like(weight[:, 0], self.scale)
        return wrap_head(retrained, factor, torch.zeros_like(factor), head=head)

    def __repr__(self) -> str:
        state = "fitted" if self._is_fitted() else "not fitted"
        return (
            f"ClassifierRetraining(num_classes={len(self.counts)}, start={self.start!r}, epochs={self.epochs}, {state})"
        )
