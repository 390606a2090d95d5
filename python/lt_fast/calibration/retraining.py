"""Classifier retraining (cRT): train the classifier of a frozen network again, on class-balanced draws."""

import os
from typing import Any, ClassVar, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.calibration import storage
from lt_fast.calibration.checks import (
    MAX_EPOCHS,
    checked_labels,
    checked_matrix,
    rows_of_a_view,
)
from lt_fast.calibration.descent import Order, class_balanced, cosine_rate, minimise
from lt_fast.calibration.heads import Model, wrap_head
from lt_fast.calibration.linear_heads import Start, beginning, head_logits, with_weights
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.errors import DataError
from lt_fast.registry import register


@register("calibrator", "retraining")
class ClassifierRetraining:
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
    """

    transforms: ClassVar[str] = "features"

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
        self.epochs = _checks.integer("epochs", epochs, least=1, most=MAX_EPOCHS)
        self.lr = _checks.number("lr", lr, above=0)
        self.batch_size = _checks.integer("batch_size", batch_size, least=1)
        self.momentum = _checks.number("momentum", momentum, least=0, below=1)
        self.weight_decay = _checks.number("weight_decay", weight_decay, least=0)
        self.scale = _checks.number("scale", scale, above=0)
        self.views = _checks.integer("views", views, least=0)
        self.seed = _checks.seed(seed)
        self.counts = ClassCounts(counts).require_no_empty(empty)
        self.empty, self.order, self.progress = empty, order, progress
        self.losses: list[float] = []

    def fit(self, features: Any, labels: Any, *, head: nn.Module | None = None) -> Self:
        """Train the classifier; bit-identical for the same input on one machine, whatever ran before.

        Args:
            features: what the head was given, ``(N, D)``, or ``(views * N, D)``; float, finite. Logits do as well,
                without a head.
            labels: one for each row, integers in [0, C); every class with training samples must occur.
            head: the trained head, linear or cosine; it is not changed. Where it has no bias, the new one has none.

        Complexity: O(epochs * N * D * C).

        Raises:
            TypeError, ValueError: if shapes, dtypes or labels are wrong, a class is missing, the head is of another
                kind, or the loss diverges.
            DataError: if a feature is not finite; names its row.
        """
        with torch.inference_mode(mode=False), torch.enable_grad():  # also when the caller has switched gradients off
            given = checked_matrix(features, name="features")
            given = given.clone() if given.is_inference() else given  # which autograd refuses to keep
            target = checked_labels(labels, self.counts, rows=len(given)).to(given.device)
            weight, bias, self.cosine = beginning(head, given, len(self.counts), start=self.start, seed=self.seed)
            rows_of_each = rows_of_a_view(target, self.views)
            trained = [part.requires_grad_() for part in (weight, bias) if part is not None]

            def loss_of(rows: Tensor) -> Tensor:
                return F.cross_entropy(
                    self.scale * head_logits(given[rows], weight, bias, cosine=self.cosine), target[rows]
                )

            self.losses = minimise(
                trained,
                loss_of,
                rows_of_each,
                rates=[
                    cosine_rate(epoch, self.epochs, lr=self.lr, peak_lr=self.lr, warmup_epochs=0)
                    for epoch in range(self.epochs)
                ],
                batch_size=self.batch_size,
                momentum=self.momentum,
                weight_decay=self.weight_decay,
                order=self.order or class_balanced(target[:rows_of_each].cpu().numpy(), self.seed),
                replacement=True,
                views=max(self.views, 1),
                progress=self.progress,
            )
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        return self

    def transform(self, features: Any) -> Tensor:
        """Return logits ``(N, C)`` of features ``(N, D)``, times ``scale``, on the device of the features.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            TypeError, ValueError: if the features are not floats of shape ``(N, D)``.
        """
        weight, bias = self._fitted("transform")
        given = torch.as_tensor(features)
        if not given.is_floating_point():
            raise TypeError(f"features must be floats, got dtype {given.dtype}")
        if given.ndim != 2 or given.shape[1] != weight.shape[1]:  # noqa: PLR2004
            raise ValueError(f"features must have shape (N, {weight.shape[1]}), got {tuple(given.shape)}")
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
        weight, bias = self._fitted("apply")
        retrained = with_weights(model, weight, bias, head=head)
        if self.scale == 1:
            return retrained
        factor = torch.full_like(weight[:, 0], self.scale)
        return wrap_head(retrained, factor, torch.zeros_like(factor), head=head)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``calibrator.json`` and ``calibrator.safetensors`` into ``folder``; ``order`` is not saved.

        Raises:
            RuntimeError: before ``fit``.
            MissingExtraError: if safetensors is not installed.
        """
        weight, bias = self._fitted("save")
        tensors = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        storage.write(folder, {"method": "retraining", **self._settings(), "losses": self.losses}, tensors)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Load a saved calibrator.

        Raises:
            DataError: if a file is missing, damaged or of another method; names the file.
            MissingExtraError: if safetensors is not installed.
        """
        settings, tensors = storage.read(folder, method="retraining", names=("weight",))
        losses, names, cosine = settings.pop("losses", []), settings.pop("names", None), settings.pop("cosine", False)
        try:
            settings.pop("method")
            calibrator = cls(ClassCounts(settings.pop("counts"), names=names), **settings)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{folder} must hold a retrained classifier, got wrong settings: {error}") from None
        num_classes, weight, bias = len(calibrator.counts), tensors["weight"], tensors.get("bias")
        if weight.ndim != 2 or len(weight) != num_classes or (bias is not None and bias.shape != (num_classes,)):  # noqa: PLR2004
            raise DataError(f"{folder} must hold a row a class ({num_classes}), got weight {tuple(weight.shape)}")
        calibrator.weight, calibrator.bias, calibrator.cosine = weight, bias, bool(cosine)
        calibrator.losses = losses
        return calibrator

    def _settings(self) -> dict[str, Any]:
        kept = (
            "start",
            "epochs",
            "lr",
            "batch_size",
            "momentum",
            "weight_decay",
            "scale",
            "views",
            "seed",
            "empty",
            "cosine",
        )
        counts = {"counts": self.counts.counts.tolist(), "names": list(self.counts.names)}
        return {name: getattr(self, name) for name in kept} | counts

    def _fitted(self, what: str) -> tuple[Tensor, Tensor | None]:
        if self.weight is None:
            raise RuntimeError(f"ClassifierRetraining must be fitted before {what}; call fit(...) or load(folder)")
        return self.weight, self.bias

    def __repr__(self) -> str:
        state = "not fitted" if self.weight is None else "fitted"
        return (
            f"ClassifierRetraining(num_classes={len(self.counts)}, start={self.start!r}, epochs={self.epochs}, {state})"
        )
