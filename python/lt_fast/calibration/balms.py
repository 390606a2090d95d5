"""Stage 2 of Balanced Meta-Softmax: a classifier by balanced softmax on classes whose sampling rates are learned."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast.calibration.checks import rows_of_a_view
from lt_fast.calibration.descent import class_balanced, cosine_rate, finite_loss
from lt_fast.calibration.linear_heads import Start, beginning, head_logits
from lt_fast.calibration.trained_classifier import TrainedClassifier
from lt_fast.counts import ClassCounts, CountsLike, EmptyPolicy
from lt_fast.registry import register

_NOISE = 1  # what tells the draws of rows from others with the same seed
_NUMBERS_AT_ONCE = 1 << 22


def first_sampling_logits(class_counts: CountsLike, power: float) -> NDArray[np.float64]:
    """Return the first parameters of the class sampling rates, ``(C,)``: ``rate = sigmoid(parameter)``.

    Formula: with ``s_k = n_k ** -power``, ``rate_k = s_k / (min(s) + max(s))``: 1/2 for all classes at ``power=0``. A
    class without samples gets 1/2.

    Raises:
        TypeError, ValueError: if ``power`` is not finite, or the counts are not counts.

    Source: code jiawei-ren/BalancedMetaSoftmax-Classification, data/MetaSampler.py, init_weights_sampler.

    >>> for power in (0, 1):
    ...     print(torch.from_numpy(first_sampling_logits([90, 10], power)).sigmoid())
    tensor([0.5000, 0.5000], dtype=torch.float64)
    tensor([0.1000, 0.9000], dtype=torch.float64)
    """
    power = _checks.number("init_power", power)
    counts = ClassCounts(class_counts).counts.astype(np.float64)
    shares = np.where(counts > 0, counts, counts[counts > 0].min()) ** -power
    rates = shares / (shares.min() + shares.max())
    logits: NDArray[np.float64] = np.where(counts > 0, np.log(rates) - np.log1p(-rates), 0.0)
    return logits


class DrawnRows(NamedTuple):
    """Rows of a batch, drawn with the rate of their class, and what their probability is differentiated by.

    Attributes:
        rows: ``(B,)`` int64.
        noise: ``(B,)`` float64, ``exp`` of the Gumbel noise of the row that was drawn.
        class_noise: ``(B, C)`` float64, the sum of the same over all rows of each class.
    """

    rows: Tensor
    noise: Tensor
    class_noise: Tensor

    def soft(self, rates: Tensor, target: Tensor) -> Tensor:
        """Return the Gumbel softmax of each drawn row, ``(B,)``, with a gradient to ``rates`` ``(C,)``."""
        return rates[target] * self.noise / (self.class_noise * rates).sum(1)


class RateSampler:
    """Draws rows by Gumbel's trick: each of N rows with the probability of its class's rate over the sum.

    Args:
        labels: (N,) int64.
        num_classes: C.
        seed: of the draws; draw ``(epoch, step)`` is a function of it.
    """

    def __init__(self, labels: NDArray[np.int64], num_classes: int, seed: int) -> None:
        self._order, self._seed = np.argsort(labels, kind="stable"), seed
        self._labels, self._num_classes = labels[self._order], num_classes
        self._present, self._starts = np.unique(self._labels, return_index=True)

    def draw(self, rates: NDArray[np.float64], size: int, *, epoch: int, step: int) -> DrawnRows:
        """Return ``size`` rows; O(size * N) random numbers, in parts so that few are in memory at once."""
        generator = np.random.default_rng((self._seed, epoch, step, _NOISE))
        rows_at_once = max(1, _NUMBERS_AT_ONCE // len(self._labels))
        sizes = [min(rows_at_once, size - first) for first in range(0, size, rows_at_once)]
        parts = [self._part(generator, rates[self._labels], part) for part in sizes]
        return DrawnRows(*(torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True)))

    def _part(self, generator: np.random.Generator, rates: NDArray[np.float64], size: int) -> tuple[NDArray[Any], ...]:
        # exp of Gumbel noise is the inverse of exponential noise.
        noise = 1 / generator.standard_exponential((size, len(rates))).clip(np.finfo(np.float64).tiny)
        drawn, sums = (noise * rates).argmax(1), np.zeros((size, self._num_classes))
        sums[:, self._present] = np.add.reduceat(noise, self._starts, axis=1)
        return self._order[drawn], noise[np.arange(size), drawn], sums


class _Bilevel:
    """The steps of one fit: rows are drawn, the step is tried, the rates move by it, and it is taken."""

    def __init__(self, settings: "BalancedMetaSoftmax", given: Tensor, target: Tensor) -> None:
        self._settings, self._given, self._target = settings, given, target
        self._prior = torch.tensor(settings.counts.counts).to(given).log()
        self._rows = rows_of_a_view(target, settings.views)
        labels = target[: self._rows].cpu().numpy()
        self._sampler = RateSampler(labels, len(settings.counts), settings.seed)
        self._balanced = class_balanced(labels, settings.seed)
        self.steps = max(1, self._rows // settings.batch_size)
        first = first_sampling_logits(settings.counts, settings.init_power)
        self.logit = torch.from_numpy(first).to(given.device).requires_grad_()
        self._adam = torch.optim.Adam([self.logit], lr=settings.sampler_lr)

    def step(
        self, parameters: Sequence[Tensor], momenta: Sequence[Tensor], rate: float, *, epoch: int, step: int
    ) -> tuple[list[Tensor], list[Tensor], float]:
        """Return parameters and momenta after one step, and its loss."""
        leaves = [part.requires_grad_() for part in parameters]
        loss = self._weighted_loss(leaves, epoch, step)
        tried, moved = self._tried(loss, leaves, momenta, rate)
        meta = torch.as_tensor(self._balanced(epoch * self.steps + step, self._settings.meta_batch_size))
        meta_loss = self._losses(meta.to(self._given.device) + self._first_of(epoch), tried).mean()
        (self.logit.grad,) = torch.autograd.grad(meta_loss, [self.logit])
        self._adam.step()
        # The weights of the rows are 1, so what was tried is what the classifier does.
        return [part.detach() for part in tried], [part.detach() for part in moved], float(loss.detach())

    def _weighted_loss(self, parameters: Sequence[Tensor], epoch: int, step: int) -> Tensor:
        rates, size = self.logit.detach().sigmoid().cpu().numpy(), min(self._settings.batch_size, self._rows)
        drawn = self._sampler.draw(rates, size, epoch=epoch, step=step)
        drawn = DrawnRows(*(part.to(self._given.device) for part in drawn))
        soft = drawn.soft(self.logit.sigmoid(), self._target[drawn.rows])
        weights = (1 + soft - soft.detach()).to(self._given)
        return (weights * self._losses(drawn.rows + self._first_of(epoch), parameters, self._prior)).mean()

    def _losses(self, rows: Tensor, parameters: Sequence[Tensor], shift: Tensor | float = 0.0) -> Tensor:
        weight, bias = [*parameters, None][:2]
        assert weight is not None
        logits = head_logits(self._given[rows], weight, bias, cosine=bool(self._settings.cosine))
        return F.cross_entropy(self._settings.scale * logits + shift, self._target[rows], reduction="none")

    def _tried(
        self, loss: Tensor, parameters: Sequence[Tensor], momenta: Sequence[Tensor], rate: float
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the parameters after a step of SGD and its momenta, with a graph to the weights of the rows."""
        settings, gradients = self._settings, torch.autograd.grad(loss, parameters, create_graph=True)
        moved = [
            settings.momentum * momentum + gradient + settings.weight_decay * parameter
            for momentum, gradient, parameter in zip(momenta, gradients, parameters, strict=True)
        ]
        return [parameter - rate * each for parameter, each in zip(parameters, moved, strict=True)], moved

    def _first_of(self, epoch: int) -> int:
        """Return the first row of the view that ``epoch`` reads."""
        return epoch % max(self._settings.views, 1) * self._rows


@register("calibrator", "balms")
class BalancedMetaSoftmax(TrainedClassifier):
    """Train the classifier by balanced softmax on rows whose class sampling rates are learned by a bilevel step.

    A row of class k is drawn with probability ``rate_k`` over the sum over all rows. Before each step the rates move:
    the step is tried on the drawn rows, each with the weight 1 whose gradient is that of its Gumbel softmax, and the
    rates take a step of Adam by the gradient of the cross entropy that the tried classifier has on class-balanced rows.
    Then the classifier takes the step that was tried. Gradients go through the step itself, momentum included.

    Args:
        counts: training samples per class.
        start: ``"fresh"`` for new weights, ``"trained"`` to continue from the head's.
        sampler_lr: learning rate of the rates' Adam.
        init_power: of ``first_sampling_logits``; 0 begins with one rate for all rows.
        meta_batch_size: class-balanced rows per step.
        epochs: of ``N // batch_size`` steps, but at least one; from 1 to 1,000,000.
        lr: first learning rate of the classifier; a cosine by epochs takes it to 0.
        batch_size: rows per step.
        momentum: in [0, 1).
        weight_decay: L2 penalty on weights and offsets.
        scale: what the training loss multiplied the logits by (30 for LDAM over a cosine head).
        views: 0, or K for features of K augmented views of the images, one view after the other: K N rows, with the
            labels repeated. Epoch e draws from view ``e % K``.
        seed: integer in [0, 2^64).
        progress: not used: an epoch is a few steps.
        empty: ``"error"``, or ``"ignore"`` for classes without training samples: nothing is learned for them.

    Attributes:
        weight: ``(C, D)`` tensor after ``fit`` or ``load``.
        bias: ``(C,)`` tensor, or None for a head without.
        rate: ``(C,)`` tensor, the rates of the last step.
        cosine: whether the head normalises features and rows.
        losses: mean loss of each epoch of the last ``fit``.

    Raises:
        TypeError, ValueError: if a setting is outside its range.

    Source: Ren et al. 2020, arXiv:2007.10740, Section 3.2; code jiawei-ren/BalancedMetaSoftmax-Classification,
    run_networks.py meta_forward, data/MetaSampler.py, whose settings for CIFAR (2,000 steps of 512) are the defaults,
    but for the number of epochs.
    Differs from that code: the features are computed once, in eval mode, and without augmentation unless there are
    ``views``, where the code runs the frozen network for every step, on augmented images, in train mode. The
    class-balanced rows are training rows for every data set, as it has them for CIFAR; elsewhere it takes the
    validation set. They are drawn independently, where it goes through classes in shuffled rounds. The cosine begins
    with ``lr``, where the code takes its first step before the first epoch; the last epoch is kept, not the best on
    the test set; new offsets are 0, where ``nn.Linear`` draws them.

    >>> labels = torch.tensor([0] * 90 + [1] * 10)
    >>> features = torch.tensor([[0.0]] * 60 + [[1.0]] * 40)  # at 1 there are 30 images of class 0 and all of class 1
    >>> calibrator = BalancedMetaSoftmax([90, 10], epochs=20, batch_size=64).fit(features, labels)
    >>> calibrator.transform(torch.tensor([[0.0], [1.0]])).argmax(1)
    tensor([0, 1])
    """

    name = "balms"
    kept: ClassVar[dict[str, str]] = {"weight": "CD", "bias?": "C", "rate": "C"}
    balanced = True

    rate: Tensor | None = None

    def __init__(
        self,
        counts: CountsLike,
        *,
        start: Start = "fresh",
        sampler_lr: float = 0.01,
        init_power: float = 0.0,
        meta_batch_size: int = 512,
        epochs: int = 10,
        lr: float = 0.1,
        batch_size: int = 512,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        scale: float = 1.0,
        views: int = 0,
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
            order=None,
            seed=seed,
            progress=progress,
            empty=empty,
        )
        _checks.choice("start", start, get_args(Start))
        self.start: Start = start
        self.sampler_lr = _checks.number("sampler_lr", sampler_lr, least=0)
        self.init_power = _checks.number("init_power", init_power)
        self.meta_batch_size = _checks.integer("meta_batch_size", meta_batch_size, least=1)

    def _settings(self) -> dict[str, Any]:
        own = ("start", "sampler_lr", "init_power", "meta_batch_size")
        return {name: getattr(self, name) for name in own} | super()._settings()

    def _train(self, given: Tensor, target: Tensor, head: nn.Module | None) -> None:
        weight, bias, cosine = beginning(head, given, len(self.counts), start=self.start, seed=self.seed)
        self.cosine, self.losses = cosine, []
        bilevel = _Bilevel(self, given, target)
        parameters = [part for part in (weight, bias) if part is not None]
        momenta = [torch.zeros_like(part) for part in parameters]
        for epoch in range(self.epochs):
            rate = cosine_rate(epoch, self.epochs, lr=self.lr, peak_lr=self.lr, warmup_epochs=0)
            total = 0.0
            for step in range(bilevel.steps):
                parameters, momenta, loss = bilevel.step(parameters, momenta, rate, epoch=epoch, step=step)
                total += loss
            self.losses.append(finite_loss(total / bilevel.steps, epoch))
        self.weight, self.bias = parameters[0], parameters[1] if bias is not None else None
        self.rate = bilevel.logit.detach().sigmoid().to(given)
