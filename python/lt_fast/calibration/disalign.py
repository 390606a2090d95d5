"""DisAlign: correct each class's logit by a factor and an offset, as far as a learned confidence in the sample says."""

import copy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lt_fast import _checks
from lt_fast.calibration.checks import checked_matrix
from lt_fast.calibration.descent import Order
from lt_fast.calibration.heads import Model, head_path, weight_norm
from lt_fast.calibration.linear_heads import head_logits, taken_apart, uniform
from lt_fast.calibration.margin_formulas import (
    Normalization,
    checked_normalization,
    generalized_reweighting,
    margin_calibration_loss,
)
from lt_fast.calibration.outputs import Outputs
from lt_fast.calibration.trained import TrainedCalibration
from lt_fast.counts import CountsLike, EmptyPolicy
from lt_fast.registry import register

_FIRST_CONFIDENCE_WEIGHT = 0.1


def aligned_logits(logits: Tensor, confidence: Tensor, logit_scale: Tensor, logit_bias: Tensor) -> Tensor:
    """``(1 + s * logit_scale_j) * logit_j + s * logit_bias_j`` with ``s``, the sigmoid of a sample's confidence.

    With ``alpha = 1 + logit_scale`` that is the paper's ``s * (alpha_j * logit_j + logit_bias_j) + (1 - s) * logit_j``.

    Shape:
        logits ``(N, C)``; confidence ``(N,)``, before the sigmoid; logit_scale, logit_bias ``(C,)``; returns
        ``(N, C)``.

    Source: Zhang et al. 2021, arXiv:2103.16370, Section 3.2; code ``DisAlignLinear`` of Megvii-BaseDetection/cvpods.

    >>> logits, confidence = torch.tensor([[2.0, 0.0]] * 3), torch.tensor([-20.0, 0.0, 20.0])
    >>> aligned_logits(logits, confidence, torch.tensor([0.5, 0.0]), torch.tensor([0.0, 1.0])).round(decimals=2)
    tensor([[2.0000, 0.0000],
            [2.5000, 0.5000],
            [3.0000, 1.0000]])
    """
    sure = confidence.sigmoid()[:, None]
    return (1 + sure * logit_scale) * logits + sure * logit_bias


class AlignedHead(nn.Module):
    """``aligned_logits(scale * inner(x), ...)``: the head of a model that DisAlign has calibrated.

    Args:
        inner: the head that was calibrated, unchanged.
        scale: what the training loss multiplied the logits by.
        tensors: ``logit_scale``, ``logit_bias`` ``(C,)``, ``confidence_weight`` ``(D,)``, ``confidence_bias`` ``(1,)``;
            buffers, so they are saved and moved with the model and are not trained.

    Shape:
        x ``(N, D)`` float; returns ``(N, C)``.

    >>> from lt_fast.models import CosineHead
    >>> learned = {"logit_scale": torch.zeros(2), "logit_bias": torch.tensor([0.0, 1.0])}
    >>> learned |= {"confidence_weight": torch.tensor([20.0, 0.0]), "confidence_bias": torch.zeros(1)}
    >>> head, x = AlignedHead(CosineHead(2, 2, seed=0), 30.0, learned), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> (head(x) - 30 * head.inner(x)).detach().round(decimals=2)  # the offset, wholly and half
    tensor([[0.0000, 1.0000],
            [0.0000, 0.5000]])
    """

    logit_scale: Tensor
    logit_bias: Tensor
    confidence_weight: Tensor
    confidence_bias: Tensor

    def __init__(self, inner: nn.Module, scale: float, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.inner, self.scale = inner, scale
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    @property
    def weight(self) -> Tensor:
        """The inner head's ``(C, D)``."""
        weight: Tensor = self.inner.weight  # type: ignore[assignment]
        return weight

    def weight_norm(self) -> Tensor:
        """Return the row lengths of the inner head: the factor on them differs from sample to sample."""
        return weight_norm(self.inner)

    def forward(self, x: Tensor) -> Tensor:
        """Return the calibrated logits."""
        confidence = x @ self.confidence_weight + self.confidence_bias
        return aligned_logits(self.scale * self.inner(x), confidence, self.logit_scale, self.logit_bias)


_LEARNED = ("logit_scale", "logit_bias", "confidence_weight", "confidence_bias")


@register("calibrator", "disalign")
class DisAlign(TrainedCalibration):
    """Learn a factor and an offset per class, and how far they hold for a sample, on frozen outputs of a classifier.

    The calibrated logit is ``(1 + s(x) logit_scale_j) z_j + s(x) logit_bias_j`` with ``z = scale * head(x)`` and the
    confidence ``s(x) = sigmoid(v x + c)``. The loss is cross entropy with the weights of ``generalized_reweighting``;
    the steps are plain mini-batches of all rows (instance-balanced).

    Args:
        counts: training samples per class.
        gamma: exponent of the class weights, >= 0.
        first_scale: what ``logit_scale`` starts at: 1 in the source's code for classification; 0, where the
            classifier is unchanged at first, in the paper and in the source's code for segmentation.
        epochs: passes over the rows, from 1 to 1,000,000.
        lr: first learning rate; a cosine by epochs takes it to 0.
        batch_size: rows per step.
        momentum: in [0, 1).
        weight_decay: L2 penalty on all that is learned; it pulls ``logit_scale`` to 0, so the paper's alpha to 1.
        normalization: ``"weights"`` or ``"batch"``, see ``margin_calibration_loss``.
        scale: what the training loss multiplied the logits by (30 for LDAM over a cosine head).
        views: 0, or K for features of K augmented views of the images, one view after the other: K N rows, with the
            labels repeated. Epoch e reads view ``e % K``.
        order: ``order(epoch, n)`` gives the permutation of the rows; by default one keyed by ``(seed, epoch)``.
        seed: integer in [0, 2^64); also of the first confidence offset.
        progress: show a bar over the epochs (needs tqdm).
        empty: ``"error"``, or ``"ignore"`` for classes without training samples: they get the weight 0.

    Attributes:
        logit_scale, logit_bias: ``(C,)`` tensors after ``fit`` or ``load``.
        confidence_weight, confidence_bias: ``(D,)`` and ``(1,)``.
        weight, bias: of the head that was calibrated, so that ``transform`` takes features; None without a head.
        losses: mean loss of each epoch of the last ``fit``.

    Raises:
        TypeError, ValueError: if a setting is outside its range.

    Source: Zhang et al. 2021, arXiv:2103.16370; code Megvii-BaseDetection/DisAlign, whose settings for ImageNet-LT
    (classification/imagenetlt/resnext50/...disalign.10e/config.py) are the defaults; ``DisAlignLinear`` and
    ``GRWCrossEntropyLoss`` of Megvii-BaseDetection/cvpods.
    Differs from that code: the features are computed once, in eval mode, and without augmentation unless there are
    ``views``, where the code sends augmented images through the network in every epoch, in train mode.

    >>> labels, logits = torch.tensor([0] * 90 + [1] * 10), torch.tensor([[3.0, 0.0]] * 60 + [[1.1, 0.0]] * 40)
    >>> calibrator = DisAlign([90, 10], epochs=50).fit(logits, labels)
    >>> undecided = logits[-1:]  # 30 images of class 0 have these logits, and all 10 of class 1
    >>> undecided.argmax(1), calibrator.transform(undecided).argmax(1)
    (tensor([0]), tensor([1]))
    """

    name = "disalign"
    transforms = "features"
    kept: ClassVar[dict[str, str]] = {
        "confidence_weight": "D", "confidence_bias": "1", "logit_scale": "C", "logit_bias": "C",
        "weight?": "CD", "bias?": "C",
    }  # fmt: skip
    balanced = False

    logit_scale: Tensor | None = None
    logit_bias: Tensor | None = None
    confidence_weight: Tensor | None = None
    confidence_bias: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None

    def __init__(
        self,
        counts: CountsLike,
        gamma: float = 1.2,
        *,
        first_scale: float = 1.0,
        epochs: int = 10,
        lr: float = 0.1,
        batch_size: int = 256,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        normalization: Normalization = "weights",
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
        self.gamma = _checks.number("gamma", gamma, least=0)
        self.first_scale = _checks.number("first_scale", first_scale, least=0)
        self.normalization: Normalization = checked_normalization(normalization)

    def _settings(self) -> dict[str, Any]:
        own = {"gamma": self.gamma, "first_scale": self.first_scale, "normalization": self.normalization}
        return own | super()._settings()

    def _given(self, features_or_logits: Any, head: nn.Module | None) -> Tensor:  # noqa: ARG002
        return checked_matrix(features_or_logits, name="features").clone()

    def _train(self, given: Tensor, target: Tensor, head: nn.Module | None) -> None:
        weight, bias, cosine = (None, None, None) if head is None else taken_apart(head, given, len(self.counts))
        outputs = Outputs.of(given, head, self.counts)
        learned = self._beginning(given)
        class_weight = torch.from_numpy(generalized_reweighting(self.counts, self.gamma)).to(given)

        def loss_of(rows: Tensor) -> Tensor:
            aligned = _aligned(given[rows], self.scale * outputs[rows].to(given), learned)
            return margin_calibration_loss(aligned, target[rows], class_weight, normalization=self.normalization)

        self._minimise(list(learned.values()), loss_of, target)
        for name, tensor in learned.items():
            setattr(self, name, tensor.detach())
        self.weight, self.bias, self.cosine = weight, bias, cosine

    def _beginning(self, given: Tensor) -> dict[str, Tensor]:
        """Return what is learned, as it is at first; the confidence is an ``nn.Linear`` with a constant weight."""
        zeros = torch.zeros(len(self.counts)).to(given)
        return {
            "logit_scale": zeros + self.first_scale,
            "logit_bias": zeros,
            "confidence_weight": torch.full_like(given[0], _FIRST_CONFIDENCE_WEIGHT),
            "confidence_bias": uniform((1,), given, self.seed),
        }

    def _before(self, features: Tensor, weight: Tensor | None, bias: Tensor | None, *, cosine: bool) -> Tensor:
        """Return the logits before calibration."""
        return self.scale * (features if weight is None else head_logits(features, weight, bias, cosine=cosine))

    def transform(self, features: Any) -> Tensor:
        """Return calibrated logits ``(N, C)`` of features ``(N, D)``, on the device of the features.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            TypeError, ValueError: if the features are not floats of shape ``(N, D)``.
        """
        tensors = self._fitted("transform")
        given = self._checked_input(features, len(tensors["confidence_weight"]))
        own = {name: tensor.to(given.device) for name, tensor in tensors.items()}
        given = given.to(own["logit_scale"].dtype)
        logits = self._before(given, own.get("weight"), own.get("bias"), cosine=bool(self.cosine))
        return _aligned(given, logits, own)

    def apply(self, model: Model, *, head: str = "head") -> Model:
        """Return a copy of ``model`` whose head is in an ``AlignedHead``. ``model`` is not changed.

        Args:
            model: any module whose head is the one that was calibrated.
            head: name of its classifier module: ``"fc"`` for a torchvision ResNet. The model must return what this
                module returns, which ``collect`` checks.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            ValueError: if there is no such module, or it takes other features or has another number of classes.
        """
        tensors = self._fitted("apply")
        path = head_path(model, head)
        weight = getattr(model.get_submodule(path), "weight", None)
        wanted = (len(tensors["logit_scale"]), len(tensors["confidence_weight"]))
        found = tuple(weight.shape) if isinstance(weight, Tensor) else None
        if not isinstance(weight, Tensor) or found != wanted:
            raise ValueError(f"model must have weight {wanted} in {head!r}, as was fitted, got {found}")
        calibrated = copy.deepcopy(model)
        own = {name: tensors[name].to(weight) for name in _LEARNED}
        calibrated.set_submodule(path, AlignedHead(calibrated.get_submodule(path), self.scale, own))
        return calibrated


def _aligned(features: Tensor, logits: Tensor, learned: dict[str, Tensor]) -> Tensor:
    confidence = features @ learned["confidence_weight"] + learned["confidence_bias"]
    return aligned_logits(logits, confidence, learned["logit_scale"], learned["logit_bias"])
