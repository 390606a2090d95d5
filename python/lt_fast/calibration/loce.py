"""Stage 2 of LOCE: the classifier by the equilibrium loss, on the images and on features that a memory holds."""

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lt_fast import _checks
from lt_fast._schedules import epoch_at
from lt_fast.calibration.checks import rows_of_a_view
from lt_fast.calibration.descent import Order, minimise, shuffled
from lt_fast.calibration.linear_heads import beginning, head_logits
from lt_fast.calibration.trained_classifier import TrainedClassifier
from lt_fast.counts import CountsLike, EmptyPolicy
from lt_fast.registry import register

_SMALL_SCORE = 1e-7
_NOISE = 2  # what tells these draws from others with the same seed


def equilibrium_loss(logits: Tensor, target: Tensor, mean_score: Tensor) -> Tensor:
    """Return the cross entropy of ``logits + log(mean_score)``, a scalar: weak classes get a larger margin.

    Formula: ``-log(s_y e^z_y / sum_k s_k e^z_k)``, mean over the rows. With ``s`` the class frequencies it equals
    balanced softmax; here ``s`` is what the classifier achieves on each class, see ``updated_mean_score``.

    Shape:
        logits ``(N, C)``; target ``(N,)`` int64; mean_score ``(C,)``, > 0.

    Source: Feng, Zhong, Huang 2021 (LOCE), arXiv:2108.07507; code fcjian/LOCE, mmdet/models/losses/equilibrium_loss.py.

    >>> logits, target = torch.tensor([[2.0, 0.0, 1.0], [0.5, 0.0, 1.5]]), torch.tensor([0, 2])
    >>> round(equilibrium_loss(logits, target, torch.tensor([0.7, 0.2, 0.1])).item(), 4)  # balanced softmax
    0.7395
    >>> round(equilibrium_loss(logits, target, torch.tensor([0.5, 0.5, 0.5])).item(), 4)  # cross entropy
    0.436
    """
    return F.cross_entropy(logits + mean_score.log(), target)


def updated_mean_score(mean_score: Tensor, score: Tensor, target: Tensor, decay: float = 0.9) -> Tensor:
    """Return the moving average of each class's score after ``score`` of images of the classes ``target``.

    Formula: for a class with n images in the batch, ``s = decay**n s + (1 - decay**n) mean(score)``; the others stay.

    Args:
        mean_score: of the classes, ``(C,)``.
        score: softmax probability of the own class of each image, ``(N,)``.
        target: ``(N,)`` int64.
        decay: weight of the past after one image, in [0, 1].

    Source: code fcjian/LOCE, mmdet/models/roi_heads/loce_roi_head.py, _update_mean_score.

    >>> mean_score, target = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0, 0, 1])
    >>> updated_mean_score(mean_score, torch.tensor([1.0, 0.8, 0.1]), target, decay=0.9)
    tensor([0.5760, 0.4600, 0.5000])
    """
    counts = torch.zeros_like(mean_score).index_add_(0, target, torch.ones_like(score))
    means = torch.zeros_like(mean_score).index_add_(0, target, score) / counts.clamp(min=1)
    keep = decay**counts
    return keep * mean_score + (1 - keep) * means


class FeatureMemory:
    """The latest features of each class, and draws from them.

    Args:
        num_classes: C.
        size: most features of a class.
        like: a tensor ``(N, D)`` of the features' width, dtype and device.
    """

    def __init__(self, num_classes: int, size: int, like: Tensor) -> None:
        self._features = like.new_zeros(num_classes, size, like.shape[1])
        self._size, self._next = size, np.zeros(num_classes, np.int64)
        self._held = np.zeros(num_classes, np.int64)

    def add(self, features: Tensor, target: Tensor) -> None:
        """Hold the features of a batch, of each class the first ``size``; the oldest are replaced."""
        for label in torch.unique(target).tolist():
            own = features[target == label][: self._size]
            places = (self._next[label] + np.arange(len(own))) % self._size
            self._features[label, torch.from_numpy(places).to(features.device)] = own
            self._next[label] = (self._next[label] + len(own)) % self._size
            self._held[label] = min(self._held[label] + len(own), self._size)

    def draw(self, classes: NDArray[np.int64], each: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return ``each`` features of every class in ``classes`` that has any, with repeats, and their labels."""
        known = classes[self._held[classes] > 0]
        labels = np.repeat(known, each)
        places = generator.integers(self._held[labels]) if len(labels) else labels
        device = self._features.device
        rows, columns = (torch.from_numpy(index).to(device) for index in (labels, places))
        return self._features[rows, columns], rows


def weak_classes(mean_score: NDArray[np.float64], size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return ``size`` classes, repeats allowed, each with probability ``1 / mean_score`` over the sum."""
    inverse = 1 / (mean_score + _SMALL_SCORE)
    drawn = np.searchsorted(np.cumsum(inverse / inverse.sum()), generator.random(size), side="left")
    return np.sort(drawn).clip(max=len(mean_score) - 1)


@register("calibrator", "loce")
class EquilibriumTuning(TrainedClassifier):
    """Train the classifier further by the equilibrium loss, on shuffled rows and on features of weak classes.

    The strength of a class is the moving average of the softmax probability that its images have for it. Each step adds
    to its rows ``classes_per_step`` times ``features_per_class`` features from a memory of the latest features of each
    class; a weak class is drawn more often, by one over its strength. The loss is ``equilibrium_loss``.

    Args:
        counts: training samples per class.
        queue_size: features that the memory holds of each class.
        classes_per_step: classes drawn from the memory in each step; 0 draws none.
        features_per_class: features drawn of each of them.
        first_score: strength of every class at first, in (0, 1].
        decay: of the moving average, in [0, 1].
        epochs: of N rows, from 1 to 1,000,000.
        lr: learning rate of the first half of the epochs; a tenth of it up to five sixths, then a hundredth.
        batch_size: rows per step.
        momentum: in [0, 1).
        weight_decay: L2 penalty on weights and offsets.
        scale: what the training loss multiplied the logits by (30 for LDAM over a cosine head).
        views: 0, or K for features of K augmented views of the images, one view after the other: K N rows, with the
            labels repeated. Epoch e reads view ``e % K``.
        order: ``order(epoch, n)`` gives the rows of an epoch, a permutation; by default keyed by ``(seed, epoch)``.
        seed: integer in [0, 2^64).
        progress: show a bar over the epochs (needs tqdm).
        empty: ``"error"``, or ``"ignore"`` for classes without training samples: nothing is learned for them.

    Attributes:
        weight: ``(C, D)`` tensor after ``fit`` or ``load``; without a head it starts from new weights.
        bias: ``(C,)`` tensor, or None for a head without.
        mean_score: ``(C,)`` tensor, the strength of each class at the end.
        cosine: whether the head normalises features and rows.
        losses: mean loss of each epoch of the last ``fit``.

    Raises:
        TypeError, ValueError: if a setting is outside its range.

    Source: Feng, Zhong, Huang 2021 (LOCE), arXiv:2108.07507; code fcjian/LOCE, loce_roi_head.py, mfs.py and
    configs/loce, whose settings are the defaults: it tunes the last layers of a trained detector for 6 epochs.
    Differs from that code, which detects: an image takes the place of an object, so that there is no background class
    and a memory holds one feature of an image where it has sixteen shifted boxes; the features are computed once, in
    eval mode, and without augmentation unless there are ``views``; no warm-up; batch size, learning rate and weight
    decay are ours.

    >>> labels = torch.tensor([0] * 90 + [1] * 10)
    >>> features = torch.tensor([[0.0]] * 60 + [[1.0]] * 40)  # at 1 there are 30 images of class 0 and all of class 1
    >>> calibrator = EquilibriumTuning([90, 10], epochs=40).fit(features, labels)
    >>> calibrator.mean_score > torch.tensor([0.5, 0.4])  # the minimum of cross entropy has 0.92 and 0.25
    tensor([True, True])
    """

    name = "loce"
    kept: ClassVar[dict[str, str]] = {"weight": "CD", "bias?": "C", "mean_score": "C"}
    balanced = False

    mean_score: Tensor | None = None

    def __init__(
        self,
        counts: CountsLike,
        *,
        queue_size: int = 80,
        classes_per_step: int = 8,
        features_per_class: int = 4,
        first_score: float = 0.01,
        decay: float = 0.9,
        epochs: int = 6,
        lr: float = 0.1,
        batch_size: int = 128,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
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
        self.queue_size = _checks.integer("queue_size", queue_size, least=1)
        self.classes_per_step = _checks.integer("classes_per_step", classes_per_step, least=0)
        self.features_per_class = _checks.integer("features_per_class", features_per_class, least=1)
        self.first_score = _checks.number("first_score", first_score, above=0, most=1)
        self.decay = _checks.number("decay", decay, least=0, most=1)

    def _settings(self) -> dict[str, Any]:
        own = ("queue_size", "classes_per_step", "features_per_class", "first_score", "decay")
        return {name: getattr(self, name) for name in own} | super()._settings()

    def _train(self, given: Tensor, target: Tensor, head: nn.Module | None) -> None:
        weight, bias, self.cosine = beginning(head, given, len(self.counts), start="trained", seed=self.seed)
        score = given.new_full((len(self.counts),), self.first_score)
        memory = FeatureMemory(len(self.counts), self.queue_size, given)
        generator = np.random.default_rng((self.seed, _NOISE))

        def loss_of(rows: Tensor) -> Tensor:
            memory.add(given[rows], target[rows])
            weak = weak_classes(self._drawable(score), self.classes_per_step, generator)
            features, labels = memory.draw(weak, self.features_per_class, generator)
            every, wanted = torch.cat([given[rows], features]), torch.cat([target[rows], labels])
            logits = self.scale * head_logits(every, weight, bias, cosine=bool(self.cosine))
            score.copy_(self._scored(score, logits.detach(), wanted, len(rows)))
            return equilibrium_loss(logits, wanted, score)

        self.losses = minimise(
            [part.requires_grad_() for part in (weight, bias) if part is not None],
            loss_of,
            rows_of_a_view(target, self.views),
            rates=[self.lr * 0.1 ** self._drops(epoch) for epoch in range(self.epochs)],
            batch_size=self.batch_size,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            order=self.order or shuffled(self.seed),
            views=max(self.views, 1),
            progress=self.progress,
        )
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        self.mean_score = score

    def _drops(self, epoch: int) -> int:
        return sum(epoch >= epoch_at(fraction, self.epochs) for fraction in (1 / 2, 5 / 6))

    def _drawable(self, score: Tensor) -> NDArray[np.float64]:
        """Return the strengths, infinite where a class has no samples: it is never drawn."""
        strengths: NDArray[np.float64] = score.double().cpu().numpy()
        return np.where(self.counts.counts > 0, strengths, np.inf)

    def _scored(self, score: Tensor, logits: Tensor, target: Tensor, images: int) -> Tensor:
        """Return the strengths after a step; what was drawn of a class counts together as one image."""
        own = logits.softmax(1).gather(1, target[:, None])[:, 0]
        drawn, places = torch.unique(target[images:], return_inverse=True)
        counts = torch.zeros_like(own[: len(drawn)]).index_add_(0, places, torch.ones_like(own[images:]))
        means = torch.zeros_like(counts).index_add_(0, places, own[images:]) / counts
        scores, labels = torch.cat([own[:images], means]), torch.cat([target[:images], drawn])
        return updated_mean_score(score, scores, labels, self.decay)
