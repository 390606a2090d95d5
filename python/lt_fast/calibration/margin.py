"""Margin calibration (MARC): correct the margins of a biased classifier by two numbers per class."""

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from lt_fast import _checks
from lt_fast.calibration.batch_norm import running_statistics
from lt_fast.calibration.checks import checked_labels, refuse_probabilities
from lt_fast.calibration.collecting import Collected, collected_batches
from lt_fast.calibration.descent import Order, cosine_rate, descend
from lt_fast.calibration.heads import Model, named_head, unwrapped, weight_norm, wrap_head
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

    ========================================  ===========  ============  ==========  ============
    source                                    epochs       lr            batch size  weight decay
    ========================================  ===========  ============  ==========  ============
    MARC's code, ImageNet-LT (our defaults)   10           0.05          256         5e-4
    MARC's code, Places-LT                    10           0.05          128         5e-4
    MARC's code, iNaturalist                  30           0.05          256         1e-4
    MARC's code, CIFAR-LT                     2,000 steps  0.05, to 0.1  512         5e-4
                                                           in 800 steps
    MAMMC paper, CIFAR-LT                     10           0.05          256         2e-4
    ========================================  ===========  ============  ==========  ============

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
        as_published: run stage 2 as the authors' code does, by ``fit_network``: in every epoch new augmented images
            through the network, whose batch norm normalises by the batch and moves its running statistics; an epoch
            ends one batch before ``int(N / batch_size)``; and the warm-up of W epochs begins a step below ``lr``:
            ``lr + (peak_lr - lr) (e - 1) / (W - 1)`` in epoch e. It needs 0 or at least 2 epochs of warm-up.
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
        statistics: running statistics of batch norm, after ``fit_network``; otherwise empty.

    Raises:
        TypeError, ValueError: if a setting is outside its range.
        UsageError: if ``normalization`` is an unknown name.

    Source: Wang et al. 2022, ACML, arXiv:2112.07225; code microsoft/robustlearn, marc/.
    Differs from that code unless it runs ``as_published``: the features are computed once, in eval mode, and without
    augmentation unless there are ``views``; every batch of an epoch is used, the last and smaller one too, where the
    code leaves out 5 % of CIFAR-LT; the warm-up begins with ``lr``. In both: dropout, where a network has it, is off in
    stage 2; the last epoch is kept, not the best on the test set.

    >>> from lt_fast import calibration, models
    >>> model, y = models.digits_net(2, seed=0), torch.tensor([0, 0, 0, 1])
    >>> _ = model.head.bias.data.copy_(torch.tensor([1.0, 0.0]))  # it prefers the frequent class
    >>> batches = [((1.0 - y).reshape(4, 1, 1, 1).expand(4, 1, 8, 8), y)]
    >>> features, _, labels = calibration.collect(model, batches)
    >>> calibrated = MarginCalibration([3, 1], epochs=50).fit(features, labels, head=model.head).apply(model)
    >>> [calibration.collect(each, batches).logits.argmax(1).tolist() for each in (model, calibrated)]
    [[0, 0, 0, 0], [0, 0, 0, 1]]
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
        as_published: bool = False,
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
        self.as_published = _checked_mode(
            as_published, lr=self.lr, peak_lr=self.peak_lr, warmup=self.warmup_epochs, views=self.views
        )
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
        self._keep(omega, beta, norm, {})
        return self

    def fit_network(
        self,
        model: nn.Module,
        passes: Callable[[int], Iterable[Any]],
        *,
        device: str | torch.device | None = None,
        amp: bool = False,
        head: str = "head",
    ) -> Self:
        """Learn ``omega`` and ``beta`` as the authors' code does, batch by batch through the network.

        Each batch goes through a copy of ``model`` whose batch norms are in train mode, and one step follows. ``model``
        is not changed: ``adapted`` returns the network with the moved statistics, and ``apply`` too.

        Args:
            model: the trained network.
            passes: ``passes(epoch)`` gives the batches of an epoch, ``(x, labels)`` as ``collect`` takes: shuffled and
                newly augmented, ``batches_of_an_epoch(N)`` of them.
            device: where the network computes; the model's own when left out.
            amp: compute in bfloat16 where autocast deems it safe.
            head: name of its classifier module.

        Raises:
            TypeError, ValueError: as ``collect``; or the loss diverges.
        """
        moving = copy.deepcopy(unwrapped(model))

        def batches_of(epoch: int) -> Iterator[tuple[int, Collected]]:
            found = collected_batches(moving, passes(epoch), device=device, amp=amp, head=head, train_batch_norm=True)
            yield from ((len(each.labels), each) for each in found)

        with torch.inference_mode(mode=False), torch.enable_grad():
            norm = _checked_norm(weight_norm(named_head(moving, head)).detach().float().cpu(), len(self.counts))
            omega, beta = torch.ones_like(norm).requires_grad_(), torch.zeros_like(norm).requires_grad_()
            loss_for = self._loss(omega, beta, norm)
            self.losses = descend(
                [omega, beta],
                batches_of,
                lambda each: loss_for(each.logits, each.labels),
                rates=[self._rate(epoch) for epoch in range(self.epochs)],
                momentum=self.momentum,
                weight_decay=self.weight_decay,
                progress=self.progress,
            )
        self._keep(omega, beta, norm, running_statistics(moving))
        return self

    def batches_of_an_epoch(self, rows: int) -> int:
        """Return how many batches of an epoch over N rows the authors' code takes: ``int(N / batch_size) - 1``.

        Where that is none, for fewer rows than two batches, one: the code would not learn.
        """
        return max(1, rows // self.batch_size - 1)

    def _keep(self, omega: Tensor, beta: Tensor, norm: Tensor, statistics: dict[str, Tensor]) -> None:
        self.omega, self.beta, self.weight_norm = omega.detach(), beta.detach(), norm
        self.statistics = statistics

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
        kept: tuple[str, ...] = (
            "gamma",
            "epochs",
            "lr",
            "peak_lr",
            "warmup_epochs",
            "batch_size",
            "momentum",
            "weight_decay",
        )
        kept += ("normalization", "scale", "views", "seed", "empty") + ("as_published",) * self.as_published
        return {name: getattr(self, name) for name in kept}

    def _outputs(self, given: Any, head: nn.Module | None, norm: Any) -> tuple[Outputs, Tensor]:
        if head is not None and norm is not None:
            raise ValueError("head and weight_norm must not both be given: a head knows its own row lengths")
        norm = norm if head is None else weight_norm(head)
        outputs = Outputs.of(features_for(head, given), head, self.counts)
        norm = torch.ones(len(self.counts)) if norm is None else torch.as_tensor(norm)
        return outputs, _checked_norm(norm.to(outputs.device, outputs.dtype), len(self.counts))

    def _rate(self, epoch: int) -> float:
        if self.as_published and epoch < self.warmup_epochs:
            return self.lr + (self.peak_lr - self.lr) / (self.warmup_epochs - 1) * (epoch - 1)
        return cosine_rate(epoch, self.epochs, lr=self.lr, peak_lr=self.peak_lr, warmup_epochs=self.warmup_epochs)

    def __repr__(self) -> str:
        state = "fitted" if self._is_fitted() else "not fitted"
        return f"MarginCalibration(num_classes={len(self.counts)}, gamma={self.gamma:g}, epochs={self.epochs}, {state})"


def _checked_mode(as_published: bool, *, lr: float, peak_lr: float, warmup: int, views: int) -> bool:
    if not isinstance(as_published, bool):
        raise TypeError(f"as_published must be true or false, got {as_published!r}")
    if not as_published:
        return False
    if views:
        raise ValueError(f"views must be 0 with as_published, which augments in every epoch, got {views}")
    if warmup == 1:
        raise ValueError("warmup_epochs must be 0 or >= 2 with as_published, got 1")
    first = lr - (peak_lr - lr) / (warmup - 1) if warmup else lr
    if first < 0:
        raise ValueError(
            f"warmup_epochs must leave the first rate >= 0 with as_published, got {warmup} from {lr:g} to {peak_lr:g}"
        )
    return True


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
