"""Margin calibration (MARC): correct the margins of a biased classifier by two numbers per class."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from lt_fast import _checks
from lt_fast.calibration.checks import checked_labels, refuse_probabilities
from lt_fast.calibration.descent import Order, cosine_rate
from lt_fast.calibration.heads import Model, weight_norm, wrap_head
from lt_fast.calibration.linear_heads import features_for
from lt_fast.calibration.margin_formulas import (
    Normalization,
    checked_normalization,
    generalized_reweighting,
    margin_calibrated_logits,
    margin_calibration_loss,
)
from lt_fast.calibration.outputs import Outputs
from lt_fast.calibration.trained import TrainedCalibration
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.registry import register


@register("calibrator", "margin")
class MarginCalibration(TrainedCalibration):
    """Learn ``omega`` and ``beta``, two numbers per class, on the frozen outputs of a trained classifier.

    The calibrated logit is ``scale * (omega_j * logit_j + beta_j * ||W_j||)``, starting at omega 1 and beta 0, where
    the classifier is unchanged. The loss is ``margin_calibration_loss`` with the weights of
    ``generalized_reweighting``; the steps are plain mini-batches of all rows (instance-balanced), SGD with momentum,
    one learning rate per epoch: linear from ``lr`` to ``peak_lr`` in ``warmup_epochs``, then a cosine to 0.

    Settings of the sources:

    | source | epochs | lr | batch size | weight decay |
    | --- | --- | --- | --- | --- |
    | MARC's code, ImageNet-LT (our defaults) | 10 | 0.05 | 256 | 5e-4 |
    | MARC's code, Places-LT; iNaturalist | 10; 30 | 0.05 | 128; 256 | 5e-4; 1e-4 |
    | MARC's code, CIFAR-LT | 2,000 steps | 0.05, to 0.1 in 800 steps | 512 | 5e-4 |
    | MAMMC paper, CIFAR-LT | 10 | 0.05 | 256 | 2e-4 |

    Args:
        counts: training samples per class.
        gamma: exponent of the class weights, >= 0; 1.2 in all sources.
        epochs: passes over the rows, from 1 to 1,000,000.
        lr: first learning rate.
        peak_lr: rate at the end of the warm-up; ``lr`` when left out.
        warmup_epochs: in [0, epochs).
        batch_size: rows per step.
        momentum: in [0, 1).
        weight_decay: L2 penalty; as in the source it pulls omega to 0, not to 1.
        normalization: ``"weights"`` or ``"batch"``, see ``margin_calibration_loss``.
        scale: what the training loss multiplied the logits by (30 for LDAM over a cosine head). The softmax that is
            calibrated is that of ``scale * logits``.
        views: 0, or K for logits or features of K augmented views of the images, one view after the other: K N rows,
            with the labels repeated. Epoch e reads view ``e % K``; with ``views=epochs`` every epoch has images of its
            own, as in the source. A run computes them (``--set calibrator.views=K``) by the training's augmentation.
        order: ``order(epoch, n)`` gives the permutation of the rows; by default one keyed by ``(seed, epoch)``.
        seed: integer in [0, 2^64).
        progress: show a bar over the epochs (needs tqdm).
        empty: ``"error"``, or ``"ignore"`` for classes without training samples: they get the weight 0.

    Attributes:
        omega, beta, weight_norm: ``(C,)`` tensors after ``fit`` or ``load``.
        losses: mean loss of each epoch of the last ``fit``.

    Raises:
        TypeError, ValueError: if a setting is outside its range.
        UsageError: if ``normalization`` is an unknown name.

    Source: Wang et al. 2022, ACML, arXiv:2112.07225; code microsoft/robustlearn, marc/.
    Differs from that code: the features are computed once, in eval mode, and without augmentation unless there are
    ``views``, where the code sends augmented images (AutoAugment and Cutout on CIFAR) through the network in every
    epoch, in train mode, so that batch norm uses the batch and its running statistics change; the last, smaller batch
    of an epoch is used; the rate of the warm-up starts at ``lr`` exactly.
    """

    name = "margin"
    transforms = "logits"
    kept: ClassVar[dict[str, str]] = {"omega": "C", "beta": "C", "weight_norm": "C"}
    balanced = False

    omega: Tensor | None = None
    beta: Tensor | None = None
    weight_norm: Tensor | None = None

    def __init__(
        self,
        counts: CountsLike,
        gamma: float = 1.2,
        *,
        epochs: int = 10,
        lr: float = 0.05,
        peak_lr: float | None = None,
        warmup_epochs: int = 0,
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
        self.gamma = _checks.number("gamma", gamma, least=0)
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
        self.peak_lr = self.lr if peak_lr is None else _checks.number("peak_lr", peak_lr, above=0)
        self.warmup_epochs = _checks.integer("warmup_epochs", warmup_epochs, least=0)
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs must be < epochs ({epochs}), got {warmup_epochs}")
        _require_weights(self.counts, gamma)
        self.normalization: Normalization = checked_normalization(normalization)

    def fit(
        self, features_or_logits: Any, labels: Any, *, head: nn.Module | None = None, weight_norm: Any = None
    ) -> Self:
        """Learn ``omega`` and ``beta``; bit-identical for the same input on one machine, whatever ran before.

        Args:
            features_or_logits: features ``(N, D)`` when ``head`` is given, else logits ``(N, C)``; float, finite.
            labels: ``(N,)`` integers in [0, C); every class with training samples must occur. With ``views``, N is
                that of all views together.
            head: the trained head: gives the logits and the row lengths ``||W_j||``; it is not changed.
            weight_norm: the row lengths ``(C,)`` that belong to logits; 1 when left out, which measures beta in
                units of the logits.

        Complexity: O(epochs * N * C), times D where the logits would take more than 256 MiB: they are then computed
        again for each batch, and no (N, C) matrix is made.

        Raises:
            TypeError, ValueError: if shapes, dtypes or labels are wrong, a class is missing, both ``head`` and
                ``weight_norm`` are given, the logits are probabilities, or the loss diverges.
            DataError: if a logit is not finite; names its row.
        """
        with torch.inference_mode(mode=False), torch.enable_grad():  # also when the caller has switched gradients off
            logits, norm = self._outputs(features_or_logits, head, weight_norm)
            target = checked_labels(labels, self.counts, rows=len(logits)).to(logits.device)
            omega, beta = torch.ones_like(norm), torch.zeros_like(norm)
            loss_for = self._loss(omega, beta, norm)
            self._minimise([omega, beta], lambda rows: loss_for(logits[rows], target[rows]), target)
        self.omega, self.beta, self.weight_norm = omega.detach(), beta.detach(), norm
        return self

    def _loss(self, omega: Tensor, beta: Tensor, norm: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        weight = torch.from_numpy(generalized_reweighting(self.counts, self.gamma)).to(norm)

        def loss_for(logits: Tensor, target: Tensor) -> Tensor:
            calibrated = margin_calibrated_logits(logits, omega, beta, norm, scale=self.scale)
            return margin_calibration_loss(calibrated, target, weight, normalization=self.normalization)

        return loss_for

    def transform(self, logits: Any) -> Tensor:
        """Return calibrated logits ``(N, C)``, on the device of ``logits``; half types become float32.

        A logit of -inf, of a class that is left out, stays -inf.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            TypeError, ValueError: if the logits are not floats of shape ``(N, C)``, or are probabilities.
        """
        own = self._fitted("transform")
        given = self._checked_input(logits, len(self.counts))
        refuse_probabilities(given)
        omega, beta, norm = (own[name].to(given.device) for name in self.kept)
        calibrated = margin_calibrated_logits(given, omega, beta, norm, scale=self.scale)
        return calibrated.where(~torch.isneginf(given), -torch.inf)  # whatever omega is: 0 * inf is NaN

    def apply(self, model: Model, *, head: str = "head") -> Model:
        """Return a copy of ``model`` with a calibrated head. ``model`` is not changed.

        Args:
            model: any module; the features of the copy are those of ``model``.
            head: name of its classifier module: ``"fc"`` for a torchvision ResNet. The model must return what this
                module returns, which ``collect`` checks.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            ValueError: if there is no such module, or it has another number of classes.
        """
        omega, beta, norm = (self._fitted("apply")[name] for name in self.kept)
        return wrap_head(self.adapted(model), self.scale * omega, self.scale * beta * norm, head=head)

    def _settings(self) -> dict[str, Any]:
        kept = ("gamma", "epochs", "lr", "peak_lr", "warmup_epochs", "batch_size", "momentum", "weight_decay")
        return {name: getattr(self, name) for name in (*kept, "normalization", "scale", "views", "seed", "empty")}

    def _outputs(self, given: Any, head: nn.Module | None, norm: Any) -> tuple[Outputs, Tensor]:
        if head is not None and norm is not None:
            raise ValueError("head and weight_norm must not both be given: a head knows its own row lengths")
        norm = norm if head is None else weight_norm(head)
        outputs = Outputs.of(features_for(head, given), head, self.counts)
        norm = torch.ones(len(self.counts)) if norm is None else torch.as_tensor(norm)
        return outputs, _checked_norm(norm.to(outputs.device, outputs.dtype), len(self.counts))

    def _rate(self, epoch: int) -> float:
        return cosine_rate(epoch, self.epochs, lr=self.lr, peak_lr=self.peak_lr, warmup_epochs=self.warmup_epochs)

    def __repr__(self) -> str:
        state = "fitted" if self._is_fitted() else "not fitted"
        return f"MarginCalibration(num_classes={len(self.counts)}, gamma={self.gamma:g}, epochs={self.epochs}, {state})"


def _require_weights(counts: ClassCounts, gamma: float) -> None:
    """Raise if the weight of a class with samples is 0 in float32: a batch of that class alone has no loss."""
    weights = generalized_reweighting(counts, gamma)[counts.counts > 0]
    if weights.size and weights.min() < torch.finfo(torch.float32).tiny:
        raise ValueError(f"gamma must leave every class a weight in float32, got {gamma}; all sources have 1.2")


def _checked_norm(norm: Tensor, num_classes: int) -> Tensor:
    if norm.shape != (num_classes,):
        raise ValueError(f"weight_norm must have shape ({num_classes},), got {tuple(norm.shape)}")
    if not bool((torch.isfinite(norm) & (norm >= 0)).all()):
        raise ValueError(f"weight_norm must be finite and >= 0, got {norm.tolist()}")
    return norm.clone()  # the caller's may change, or be of inference mode, which autograd refuses to keep
