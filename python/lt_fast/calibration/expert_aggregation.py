"""Weights of the experts from unlabelled test images, so that predictions change little from view to view (SADE)."""

import copy
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.calibration.checks import checked_matrix
from lt_fast.calibration.descent import Order, minimise, shuffled
from lt_fast.calibration.heads import Model, named_head, wrap_head
from lt_fast.calibration.of_experts import expert_logits, require_experts
from lt_fast.calibration.trained import TrainedCalibration
from lt_fast.counts import CountsLike, EmptyPolicy
from lt_fast.registry import register


def prediction_stability(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return how alike the predictions for two views of each image are, a mean over the images.

    Formula: the cosine between ``softmax(sum_e share[e] * first[:, e])`` and the same of ``second``.

    Args:
        first: logits of every expert for one view, scaled, (N, E, C).
        second: for the other view.
        share: of each expert, (E,).

    Source: Zhang et al. 2022 (SADE), arXiv:2107.09249, equation 4; code Vanint/SADE-AgnosticLT, test_training_cifar.py.

    >>> first = torch.tensor([[[9.0, 0.0], [9.0, 0.0]]])  # of 1 image by 2 experts in 2 classes
    >>> second = torch.tensor([[[0.0, 9.0], [9.0, 0.0]]])  # the first expert predicts another class for the other view
    >>> for share in ([1.0, 0.0], [0.0, 1.0]):
    ...     print(round(prediction_stability(first, second, torch.tensor(share)).item(), 2))
    0.0
    1.0
    """
    one, other = ((share[None, :, None] * each).sum(dim=1).softmax(dim=1) for each in (first, second))
    return F.cosine_similarity(one, other, dim=1, eps=1e-6).mean()


@register("calibrator", "test_time_aggregation")
class ExpertAggregation(TrainedCalibration):
    """Learn one weight per expert on the images that are to be predicted, without their labels.

    The weights, a softmax of E numbers, maximise ``prediction_stability`` of two augmented views of each image: an
    expert is steadier on the classes that it knows, so the weights follow the unknown class frequencies of the test
    set. **It reads the test images.** Labels are not read; the figures hold for these images together.

    Args:
        counts: training samples per class.
        epochs: passes over the images, each with two other views while there are some, from 1 to 1,000,000.
        lr: learning rate, the same in every epoch.
        batch_size: images per step.
        momentum: Nesterov's, in [0, 1).
        weight_decay: L2 penalty on the numbers before the softmax.
        smallest: stop after an epoch in which a weight, rounded to hundredths, is below it; 0 never stops.
        scale: what the training loss multiplied the logits by (30 for cosine heads).
        views: augmented views of each image that are computed, even, >= 2; epoch e compares 2 e and 2 e + 1.
        order: ``order(epoch, n)`` gives a permutation of the images.
        seed: of the order, in [0, 2^64).
        progress: show a bar over the epochs (needs tqdm).
        empty: ``"error"``, or ``"ignore"`` for classes without training samples.

    Attributes:
        share: (E,) weights of the experts after ``fit`` or ``load``.
        weight, bias: of the linear layer that the weighted heads are, (C, E * D) and (C,) or None.
        losses: mean loss of each epoch of the last ``fit``, the negative stability.

    Raises:
        TypeError, ValueError: if a setting is outside its range.

    Source: Zhang et al. 2022 (SADE), arXiv:2107.09249, Section 4.3; code Vanint/SADE-AgnosticLT, test_training_cifar.py
    and configs/test_time_cifar100_ir100_sade.json, whose settings are the defaults.
    Differs from that code: views are those of the training's augmentation, computed once, where the code adds colour
    jitter, grey and blur and draws new ones in each epoch.

    >>> from lt_fast.models import digits_net
    >>> head = digits_net(3, experts=2, expert_width=0.5, seed=0).head
    >>> first = torch.linspace(-1, 1, 5 * 64).reshape(5, 64)
    >>> second = torch.cat([-first[:, :32], first[:, 32:]], dim=1)  # unsteady features of the first expert
    >>> calibrator = ExpertAggregation([50, 20, 10], epochs=50, views=2).fit(torch.cat([first, second]), head=head)
    >>> calibrator.share.round(decimals=1)
    tensor([0., 1.])
    """

    name = "test_time_aggregation"
    transforms = "features"
    of_experts: ClassVar[bool] = True
    fitted_on: ClassVar[str] = "unlabelled test"
    balanced = False
    kept: ClassVar[dict[str, str]] = {"share": "E", "weight": "CD", "bias?": "C"}

    share: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None

    def __init__(
        self,
        counts: CountsLike,
        *,
        epochs: int = 5,
        lr: float = 0.1,
        batch_size: int = 128,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        smallest: float = 0.05,
        scale: float = 1.0,
        views: int = 10,
        order: Order | None = None,
        seed: int = 0,
        progress: bool = False,
        empty: EmptyPolicy = "error",
    ) -> None:
        super().__init__(
            counts, epochs=epochs, lr=lr, batch_size=batch_size, momentum=momentum, weight_decay=weight_decay,
            scale=scale, views=views, order=order, seed=seed, progress=progress, empty=empty,
        )  # fmt: skip
        _checks.integer("views", views, least=2)
        if views % 2:
            raise ValueError(f"views must be even, got {views}: each epoch compares two; give views={views + 1}")
        self.smallest = _checks.number("smallest", smallest, least=0, below=1)

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "smallest": self.smallest}

    def fit(self, features_or_logits: Any, labels: Any = None, *, head: nn.Module | None = None) -> Self:  # noqa: ARG002
        """Learn the weights; bit-identical for the same input on one machine, whatever ran before.

        Args:
            features_or_logits: what the head was given, (views * N, E * D), one view after the other; float, finite.
            labels: not read.
            head: of several experts; it is not changed.

        Raises:
            TypeError, ValueError: if the shape is wrong, or the head is none of several experts.
            DataError: if a number is not finite; names its row.
        """
        with torch.inference_mode(mode=False), torch.enable_grad():
            given = checked_matrix(features_or_logits, name="features")
            require_experts(head)
            if len(given) % self.views:
                raise ValueError(
                    f"features must have as many rows for each of {self.views} views, got {len(given)}; pass those of "
                    "all images of one view, then of the next"
                )
            self._learn(given, head)
        return self

    def _learn(self, given: Tensor, head: Any) -> None:
        rows, experts = len(given) // self.views, head.num_experts
        free = torch.full((experts,), 1 / experts, dtype=given.dtype, device=given.device, requires_grad=True)

        def loss_of(drawn: Tensor) -> Tensor:
            first = drawn // rows * 2 * rows + drawn % rows  # block b of the draws stands for the views 2 b and 2 b + 1
            one, other = (self.scale * expert_logits(head, given[at]) for at in (first, first + rows))
            return -prediction_stability(one, other, free.softmax(dim=0))

        self.losses = minimise(
            [free], loss_of, rows, rates=[self.lr] * self.epochs, batch_size=self.batch_size, momentum=self.momentum,
            weight_decay=self.weight_decay, order=self.order or shuffled(self.seed), views=self.views // 2,
            nesterov=self.momentum > 0, progress=self.progress,
            stop=lambda: bool((100 * free.softmax(dim=0)).round().min() < 100 * self.smallest),
        )  # fmt: skip
        self.share, self.cosine = free.detach().softmax(dim=0), bool(head.cosine)
        weighted = copy.deepcopy(head)
        weighted.set_share(self.share)
        linear = weighted.flattened()
        self.weight = linear.weight.detach().to(given)
        self.bias = None if linear.bias is None else linear.bias.detach().to(given)

    def transform(self, features: Any) -> Tensor:
        """Return the weighted logits (N, C) of features (N, E * D), times ``scale``.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            TypeError, ValueError: if the features are not floats of shape (N, E * D).
        """
        fitted = self._fitted("transform")
        given = self._checked_input(features, fitted["weight"].shape[1])
        own = given.to(torch.promote_types(given.dtype, fitted["weight"].dtype))
        if self.cosine:
            own = torch.cat([F.normalize(each, dim=1) for each in own.chunk(len(fitted["share"]), dim=1)], dim=1)
        return self.scale * F.linear(own, fitted["weight"].to(own), None if self.bias is None else self.bias.to(own))

    def summary(self) -> dict[str, Any]:
        """Return the weight of each expert."""
        return {} if self.share is None else {"expert_weights": self.share.tolist()}

    def apply(self, model: Model, *, head: str = "head") -> Model:
        """Return a copy of ``model`` whose experts have these weights. ``model`` is not changed.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            ValueError: if there is no such module, or it is none of several experts.
        """
        share = self._fitted("apply")["share"]
        changed = copy.deepcopy(model)
        inner: Any = named_head(changed, head)
        require_experts(inner)
        inner.set_share(share)
        if self.scale == 1:
            return changed
        factor = torch.full((len(self.counts),), self.scale)
        return wrap_head(changed, factor, torch.zeros_like(factor), head=head)
