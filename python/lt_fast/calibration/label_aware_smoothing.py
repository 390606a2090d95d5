"""Stage 2 of MiSLAS: the classifier and a factor per class, by label-aware smoothing; shifted batch norm."""

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lt_fast import _checks
from lt_fast.calibration.batch_norm import shifted_statistics
from lt_fast.calibration.checks import checked_matrix
from lt_fast.calibration.descent import Order
from lt_fast.calibration.heads import Model, wrap_head
from lt_fast.calibration.linear_heads import beginning, head_logits, with_weights
from lt_fast.calibration.trained import TrainedCalibration
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.registry import register


def class_smoothing(class_counts: CountsLike, smooth_head: float, smooth_tail: float) -> NDArray[np.float64]:
    """Smoothing of each class, ``tail + (head - tail) sin(pi (n_k - n_min) / (2 (n_max - n_min)))``, ``(C,)``.

    The largest class has ``smooth_head``, the smallest ``smooth_tail``; equal counts all have ``smooth_tail``. An empty
    class counts as the smallest.

    Raises:
        TypeError, ValueError: if a smoothing is outside [0, 1), or the counts are not counts.

    Source: Zhong et al. 2021 (MiSLAS), arXiv:2104.00466, equation 5; code dvlab-research/MiSLAS, methods.py, "concave".
    Differs from that code: equal counts, for which it divides by 0.

    >>> class_smoothing([500, 50, 5], smooth_head=0.4, smooth_tail=0.1).round(3).tolist()
    [0.4, 0.143, 0.1]
    """
    smooth_head = _checks.number("smooth_head", smooth_head, least=0, below=1)
    smooth_tail = _checks.number("smooth_tail", smooth_tail, least=0, below=1)
    counts = ClassCounts(class_counts).counts.astype(np.float64)
    smallest, largest = counts[counts > 0].min(), counts.max()
    share = (counts.clip(smallest) - smallest) / max(largest - smallest, 1.0)
    smoothing: NDArray[np.float64] = smooth_tail + (smooth_head - smooth_tail) * np.sin(np.pi / 2 * share)
    return smoothing


def label_aware_smoothing_loss(logits: Tensor, target: Tensor, smoothing: Tensor) -> Tensor:
    """Cross entropy with labels smoothed by class: mean of ``(1 - e_y) (-log p_y) + e_y mean_k(-log p_k)``, a scalar.

    With one smoothing for all classes it equals ``F.cross_entropy(logits, target, label_smoothing=e)``.

    Shape:
        logits ``(N, C)``; target ``(N,)`` int64; smoothing ``(C,)``.

    Source: Zhong et al. 2021 (MiSLAS), arXiv:2104.00466, equation 3; code dvlab-research/MiSLAS, methods.py. As in that
    code the smoothing is spread over all C classes; the paper spreads it over the other C - 1.

    >>> logits, target = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 0])
    >>> plain = nn.functional.cross_entropy(logits, target, label_smoothing=0.1)
    >>> for smoothing in ([0.1, 0.1], [0.4, 0.1]):
    ...     loss = label_aware_smoothing_loss(logits, target, torch.tensor(smoothing))
    ...     print(round(loss.item(), 4), round(plain.item(), 4))
    0.2269 0.2269
    0.5269 0.2269
    """
    log_p = logits.log_softmax(dim=1)
    own, share = log_p.gather(1, target[:, None])[:, 0], smoothing[target]
    return -((1 - share) * own + share * log_p.mean(dim=1)).mean()


@register("calibrator", "label_aware_smoothing")
class LabelAwareSmoothing(TrainedCalibration):
    """Train the classifier further and a factor per class, by label-aware smoothing, on class-balanced draws.

    The calibrated logit is ``scale * factor_j * head(x)_j``: the classifier starts as trained, the factors at 1, and
    they learn together, the classifier at a part of the factors' rate. Frequent classes, of which a network is too
    sure, have their labels smoothed most. Each epoch has N draws: a class, all equally likely, and one of its samples.

    Shifted batch norm is a step of its own, before the features are collected: ``shift`` moves the running statistics
    to class-balanced batches, ``adapted`` gives the network that has them, and ``apply`` puts them into its copy. A run
    does so where ``shift_epochs`` is above 0.

    Args:
        counts: training samples per class.
        smooth_head: smoothing of the largest class, in [0, 1).
        smooth_tail: smoothing of the smallest class, in [0, 1).
        head_lr_factor: the classifier's learning rate relative to ``lr``, that of the factors.
        shift_epochs: passes of N class-balanced, augmented draws by which a run shifts batch norm; 0 leaves it.
        epochs: of N draws, from 1 to 1,000,000.
        lr: first learning rate of the factors; a cosine by epochs takes it to 0.
        batch_size: rows per step.
        momentum: in [0, 1).
        weight_decay: L2 penalty on all that is learned; as in the source it pulls the factors to 0, not to 1.
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
        weight: ``(C, D)``; without a head it starts from new weights.
        bias: ``(C,)``, or None for a head without.
        cosine: whether the head normalises features and rows.
        statistics: of batch norm, after ``shift``; otherwise empty.
        losses: mean loss of each epoch of the last ``fit``.

    Raises:
        TypeError, ValueError: if a setting is outside its range.

    Source: Zhong et al. 2021 (MiSLAS), arXiv:2104.00466; code dvlab-research/MiSLAS, train_stage2.py, whose settings
    for CIFAR-100-LT at ratio 100 are the defaults, without the shift (its config: on for CIFAR-100, off for CIFAR-10).
    Differs from that code: the features are computed once, in eval mode, and without augmentation unless there are
    ``views``. There batch norm stays in train mode through stage 2, so that the classifier learns on features
    normalised by their batch and is tested on features normalised by the running statistics; here the statistics are
    moved first, and it learns on features normalised by them. Classes are drawn independently, where it goes through
    them in shuffled rounds; an epoch has no step beyond N draws, where it has one or two; the last epoch is kept, not
    the best on the test set.

    >>> import lt_fast as lt
    >>> model, y = lt.models.digits_net(2, seed=0).eval(), torch.tensor([0, 0, 0, 1])
    >>> x, calibrator = (1.0 - y).reshape(4, 1, 1, 1).expand(4, 1, 8, 8), LabelAwareSmoothing([3, 1])
    >>> calibrator.shift(model, [(x[2:], y[2:])])  # a class-balanced batch
    >>> features, _, labels = lt.calibration.collect(calibrator.adapted(model), [(x, y)])
    >>> calibrated = calibrator.fit(features, labels, head=model.head).apply(model)
    >>> calibrated(x).argmax(1), calibrated.head.factor.shape, len(calibrator.statistics)
    (tensor([0, 0, 0, 1]), torch.Size([2]), 8)
    """

    name = "label_aware_smoothing"
    transforms = "features"
    kept: ClassVar[dict[str, str]] = {"factor": "C", "weight": "CD", "bias?": "C"}
    balanced = True

    factor: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None

    def __init__(
        self,
        counts: CountsLike,
        *,
        smooth_head: float = 0.4,
        smooth_tail: float = 0.1,
        head_lr_factor: float = 0.2,
        shift_epochs: int = 0,
        epochs: int = 10,
        lr: float = 0.1,
        batch_size: int = 128,
        momentum: float = 0.9,
        weight_decay: float = 2e-4,
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
        self.smooth_head, self.smooth_tail = float(smooth_head), float(smooth_tail)
        self._smoothing = class_smoothing(self.counts, smooth_head, smooth_tail)
        self.head_lr_factor = _checks.number("head_lr_factor", head_lr_factor, least=0)
        self.shift_epochs = _checks.integer("shift_epochs", shift_epochs, least=0)

    def _settings(self) -> dict[str, Any]:
        own = ("smooth_head", "smooth_tail", "head_lr_factor", "shift_epochs")
        return {name: getattr(self, name) for name in own} | super()._settings()

    def shift(
        self,
        model: nn.Module,
        batches: Iterable[Any],
        *,
        device: str | torch.device | None = None,
        amp: bool = False,
    ) -> None:
        """Move the running statistics of batch norm to ``batches``, class-balanced ones; see ``shifted_statistics``.

        ``model`` is not changed: ``adapted`` returns the network that has them.
        """
        self.statistics = shifted_statistics(self.adapted(model), batches, device=device, amp=amp)

    def _given(self, features_or_logits: Any, head: nn.Module | None) -> Tensor:  # noqa: ARG002
        return checked_matrix(features_or_logits, name="features").clone()

    def _train(self, given: Tensor, target: Tensor, head: nn.Module | None) -> None:
        weight, bias, self.cosine = beginning(head, given, len(self.counts), start="trained", seed=self.seed)
        factor, smoothing = torch.ones_like(weight[:, 0]), torch.from_numpy(self._smoothing).to(given)

        def loss_of(rows: Tensor) -> Tensor:
            logits = factor * head_logits(given[rows], weight, bias, cosine=bool(self.cosine))
            return label_aware_smoothing_loss(self.scale * logits, target[rows], smoothing)

        classifier = [part for part in (weight, bias) if part is not None]
        factors = [self.head_lr_factor] * len(classifier) + [1.0]
        self._minimise([*classifier, factor], loss_of, target, factors=factors)
        self.factor, self.weight = factor.detach(), weight.detach()
        self.bias = None if bias is None else bias.detach()

    def transform(self, features: Any) -> Tensor:
        """Return calibrated logits ``(N, C)`` of features ``(N, D)``, on the device of the features.

        Args:
            features: of the ``adapted`` network.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            TypeError, ValueError: if the features are not floats of shape ``(N, D)``.
        """
        tensors = self._fitted("transform")
        given = self._checked_input(features, tensors["weight"].shape[1])
        own = {name: tensors[name].to(given.device) for name in ("factor", "weight", "bias") if name in tensors}
        given = given.to(own["weight"].dtype)
        logits = head_logits(given, own["weight"], own.get("bias"), cosine=bool(self.cosine))
        return self.scale * (own["factor"] * logits)

    def apply(self, model: Model, *, head: str = "head") -> Model:
        """Return a copy of ``model`` with the trained head, the factors and, after ``shift``, the shifted batch norm.

        Args:
            model: any module whose head is of the kind that was fitted; it is not changed.
            head: name of its classifier module: ``"fc"`` for a torchvision ResNet. The model must return what this
                module returns, which ``collect`` checks.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            ValueError: if there is no such module, or its weights or its batch norms are others.
        """
        tensors = self._fitted("apply")
        trained = with_weights(self.adapted(model), tensors["weight"], tensors.get("bias"), head=head)
        factor = self.scale * tensors["factor"]
        return wrap_head(trained, factor, torch.zeros_like(factor), head=head)
