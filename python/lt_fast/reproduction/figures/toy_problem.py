"""The toy example of CP-Mix: three classes in the plane, a small network, and four ways to train it."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lt_fast.counts import ClassCounts
from lt_fast.data import FeatureSource, FeatureViews
from lt_fast.losses import CrossEntropyLoss
from lt_fast.methods import Classification, ConfusionPairing, Method, TrainingData
from lt_fast.mixing import Mixup
from lt_fast.models.initialization import build
from lt_fast.sampling import ShuffledBatchSampler
from lt_fast.training import cosine, fit

CENTRES = ((-2.4, 0.0), (0.0, 0.0), (2.4, 0.0))
"""The middle class is the rare one: a straight line between the other two goes through it."""

SPREADS = ((0.75, 1.0), (0.6, 0.6), (0.75, 1.0))
NAMES = ("A", "B", "C")


class Settings(NamedTuple):
    """What the toy example consists of; every value is ours, since those of the paper are lost.

    Attributes:
        counts: training points of the classes A, B and C.
        test_points: points of each class in the balanced test set.
        epochs: of the training; the second stage has the last third.
        batch_size: points per step.
        learning_rate: first one of a cosine.
        width: of the two hidden layers.
        tau: share of the class sizes in the labels of CP-Mix.
        seed: of everything.
    """

    counts: tuple[int, int, int] = (900, 15, 450)
    test_points: int = 4000
    epochs: int = 60
    batch_size: int = 65
    learning_rate: float = 0.05
    width: int = 32
    tau: float = 0.5
    seed: int = 0


class Trained(NamedTuple):
    """A network trained on the toy example.

    Attributes:
        model: from points ``(N, 2)`` to logits ``(N, 3)``.
        recall: of each class on the balanced test set, (3,).
        confusion: ``(3, 3)`` counts of the test set.
    """

    model: nn.Module
    recall: NDArray[np.float64]
    confusion: NDArray[np.int64]


def points(counts: tuple[int, ...], seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return ``(N, 2)`` points of the three normal distributions and their classes, the classes one after the other."""
    draw = np.random.default_rng(seed)
    parts = [
        draw.normal(centre, spread, (count, 2)) for centre, spread, count in zip(CENTRES, SPREADS, counts, strict=True)
    ]
    return np.concatenate(parts).astype(np.float32), np.repeat(np.arange(len(counts)), counts)


def best_possible(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log density of each class, (N, 3): their argmax is the best classifier of balanced classes."""
    centres, spreads = np.asarray(CENTRES), np.asarray(SPREADS)
    scaled = (x[:, None] - centres) / spreads
    found: NDArray[np.float64] = -0.5 * (scaled**2).sum(2) - np.log(spreads).sum(1)
    return found


def train(kind: str, settings: Settings = Settings()) -> Trained:  # noqa: B008  (immutable)
    """Train a small network by one of ``KINDS`` and test it on balanced classes.

    Args:
        kind: ``"erm"``, ``"mixup"``, ``"pairs"`` (in the second stage also confused pairs, mixed as in mixup) or
            ``"cp_mix"`` (the same with the mixing function of CP-Mix). Cross entropy is the loss of all.
        settings: of the example.

    Example::

        print(train("cp_mix").recall)
    """
    x, labels = points(settings.counts, settings.seed)
    data = TrainingData(
        source=FeatureSource(torch.from_numpy(x), labels, NAMES),
        sampler=lambda: ShuffledBatchSampler(
            labels, batch_size=settings.batch_size, drop_last=False, output="numpy", seed=settings.seed
        ),
        transform=FeatureViews(),
        plain_transform=FeatureViews(),
        mixer=Mixup(1.0, seed=settings.seed) if kind == "mixup" else None,
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
    method = _method(kind, data.class_counts, settings)
    rate = cosine(settings.learning_rate, epochs=settings.epochs)
    fit(method, method.loaders(data), epochs=settings.epochs, learning_rate=rate, progress=False)
    return _measured(method.model, settings)


KINDS: Mapping[str, str] = {
    "erm": "ERM",
    "mixup": "Mixup",
    "pairs": "Confused pairs mixed as in Mixup",
    "cp_mix": "Confused pairs, mixing function",
}
"""Ways to train, and what the picture calls them."""


def _method(kind: str, counts: ClassCounts, settings: Settings) -> Method:
    model = build(lambda: _network(settings.width), seed=settings.seed)
    criterion = CrossEntropyLoss(counts, normalization="batch")
    if kind in ("erm", "mixup"):
        return Classification(model, criterion)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    return ConfusionPairing(
        model,
        counts,
        criterion,
        pairs_per_batch=settings.batch_size,
        tau=settings.tau if kind == "cp_mix" else 0.0,
        regularize=False,
        per_sample=True,
        seed=settings.seed,
    )


def _network(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))


def _measured(model: nn.Module, settings: Settings) -> Trained:
    x, labels = points((settings.test_points,) * 3, settings.seed + 1)
    predicted = logits_of(model, x).argmax(1)
    confusion = np.zeros((3, 3), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    return Trained(model, np.diag(confusion) / confusion.sum(1), confusion)


def logits_of(model: nn.Module, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logits of points."""
    with torch.no_grad():
        found: Tensor = model.eval()(torch.from_numpy(x))
    return found.numpy()
