"""OTMix: CMO whose background is chosen for each foreground by optimal transport between their features."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lt_fast import _rust
from lt_fast._checks import number
from lt_fast._extras import require
from lt_fast.batch import BatchPlan, MixPlan
from lt_fast.mixing.cmo import CMO
from lt_fast.mixing.mix import Labels
from lt_fast.registry import register

_TRANSPORT = 0x7472616E73706F72
"""Changes the seed of the run into one for the choice of an epoch's kind: it is independent of the coefficients."""

_SMALLEST_REGULARIZATION = 0.003  # exp(-cost / regularization), with a cost of at most 2, is not 0 in float64
_MOST_ITERATIONS, _TOLERANCE = 1000, 1e-9  # of POT, which the authors leave as they are


def otmix_backgrounds(
    foreground: Tensor, background: Tensor, confused: Any, *, feature_weight: float = 0.05, regularization: float = 0.01
) -> NDArray[np.int64]:
    """Return for each foreground the background that most of its mass is transported to.

    Formula: with the cost ``w * (1 - cosine) + (1 - w) * (1 - confused)`` of every pair, the plan ``T`` of entropic
    optimal transport between uniform weights (Sinkhorn's iteration), and ``argmax_j T[i, j]`` for foreground i. In a
    loop of your own, with images ``x`` and ``x_rare``, labels ``y`` and ``y_rare``, and the confusion counts of
    validation images, true class by row, as ``matrix``::

        rates = matrix / matrix.sum(1, keepdims=True).clip(1)
        np.fill_diagonal(rates, 0)
        rows = lt.mixing.otmix_backgrounds(features(x_rare), features(x), rates[y_rare][:, y])
        x, y = x[rows], y[rows]                           # paste x_rare into x

    Args:
        foreground: features of the images that are pasted.
        background: features of the images that are pasted into.
        confused: for each pair, the share of the images of the foreground's class that are predicted as the
            background's class, in [0, 1]; 0 for two images of one class.
        feature_weight: w, in [0, 1].
        regularization: of the entropy, finite, >= 0.003.

    Shape:
        foreground (F, D) and background (B, D) float; confused (F, B); returns (F,) int64 in [0, B).

    Raises:
        ValueError: if shapes do not fit, or a number is out of range.
        MissingExtraError: if POT is not installed.

    Source: Gao et al. 2023, NeurIPS; code JintongGao/Enhancing-Minority-Classes-by-Mixing, cifar_train.py, train_OTmix,
    which calls the same ``ot.sinkhorn`` with the same costs. Differs from it: computed in float64 on the host.

    >>> import torch
    >>> foreground, background = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.1, 1.0], [1.0, 0.1]])
    >>> otmix_backgrounds(foreground, background, [[0.0, 0.0], [0.0, 0.0]])  # no confusions: similar features
    array([1, 0])
    >>> otmix_backgrounds(foreground, background, [[0.3, 0.0], [0.0, 0.3]])  # the classes that they are mistaken for
    array([0, 1])
    """
    weight = number("feature_weight", feature_weight, least=0, most=1)
    regular = _checked_regularization(regularization)
    given = np.asarray(confused, dtype=np.float64)
    _check_shapes(foreground, background, given)
    if not len(foreground):
        return np.empty(0, np.int64)
    first, second = (functional.normalize(each.detach().double(), eps=1e-8) for each in (foreground, background))
    cosine = (first @ second.T).cpu().numpy()
    cost = weight * (1 - cosine) + (1 - weight) * (1 - given)
    uniform = [np.full(size, 1 / size) for size in cost.shape]
    plan = _transport().sinkhorn(*uniform, cost, regular, numItermax=_MOST_ITERATIONS, stopThr=_TOLERANCE, warn=False)
    return np.asarray(plan.argmax(1), dtype=np.int64)


@register("mixer", "otmix")
class OTMix(CMO):
    """CMO in which some epochs choose the background of each foreground by ``otmix_backgrounds``.

    Formula: ``x = background`` with the foreground's pixels in a rectangle, ``label weight = lam``, the background's
    share of the pixels. Epoch e of E goes by transport with probability ``(e / E) ** transport_exponent``: then the
    background is the image of the batch whose features and class suit the foreground. In the other epochs foreground i
    is pasted into image i, as in ``CMO``. Which epochs these are is a pure function of (seed, epoch).

    Transport needs the network and its confusions, so a loader alone mixes as CMO and leaves the other epochs unmixed:
    ``lt_fast.methods.FeatureMixing`` mixes those in the step, for any method::

        mixer = lt.mixing.OTMix(labels, image_size=32, epochs=240, seed=0)
        method = lt.methods.FeatureMixing(lt.methods.Classification(model, criterion), mixer, num_classes=100)
        lt.training.fit(method, method.loaders(data), ...)              # data = TrainingData(..., mixer=mixer)

    Args:
        labels: the class of every image of the data set, integers or strings, or a data set as samplers take it.
        image_size: (height, width) of the images in a batch in pixels, or one number for both.
        epochs: E, of the whole training, >= 1: ``start_at`` and ``stop_at`` are fractions of it.
        q: exponent of the class sizes, finite: 0 draws foregrounds class-balanced, 1 instance-balanced, -1 reverse.
        alpha: both parameters of the Beta distribution of the background's share, finite, > 0.
        probability: of mixing a batch at all, in [0, 1].
        start_at: fraction of the epochs, to the nearest epoch, before which nothing is mixed, in [0, 1].
        stop_at: fraction of the epochs, to the nearest epoch, from which on nothing is mixed, in [0, 1].
        feature_weight: share of the features in the cost; the rest is that of the confusions, in [0, 1].
        regularization: of the transport's entropy, finite, >= 0.003.
        transport_exponent: the larger, the later epochs go by transport, finite, >= 0; 0 for every epoch.
        per_sample: a rectangle and a decision to mix for each image rather than for each batch.
        seed: key of the run, in [0, 2^64).

    Shape:
        labels (N,); ``plan`` gives (B,) partners and coefficients and (B, 4) boxes, ``label_weight`` a (B,) tensor.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a label is negative, a number is out of range, or ``start_at`` is above ``stop_at``.

    Source: Gao, Zhao, Li, Guo 2023, NeurIPS, "Enhancing Minority Classes by Mixing: An Adaptative Optimal Transport
    Approach for Long-tailed Classification"; code JintongGao/Enhancing-Minority-Classes-by-Mixing, cifar_train.py and
    opts.py, where the last three options are ``w``, ``reg`` and ``u``. Differs from it as ``CMO`` does from its code,
    and: an image into which nothing is pasted stays as it is. What ``FeatureMixing`` does differently is said there.

    >>> mixer = OTMix([0] * 90 + [1] * 10, image_size=32, epochs=240, seed=0)
    >>> by_transport = [mixer.by_features(epoch) for epoch in range(240)]
    >>> sum(by_transport[:80]), sum(by_transport[80:160]), sum(by_transport[160:])
    (15, 38, 59)
    """

    def __init__(
        self,
        labels: Any,
        image_size: int | tuple[int, int],
        *,
        epochs: int,
        q: float = 0.0,
        alpha: float = 4.0,
        probability: float = 0.5,
        start_at: float = 4 / 240,
        stop_at: float = 237 / 240,
        feature_weight: float = 0.05,
        regularization: float = 0.01,
        transport_exponent: float = 1.0,
        per_sample: bool = False,
        seed: int = 0,
    ) -> None:
        mixing: dict[str, Any] = {"q": q, "alpha": alpha, "probability": probability, "per_sample": per_sample}
        self.feature_weight = number("feature_weight", feature_weight, least=0, most=1)
        self.regularization = _checked_regularization(regularization)
        self.transport_exponent = number("transport_exponent", transport_exponent, least=0)
        self._seed = seed
        super().__init__(labels, image_size, epochs=epochs, start_at=start_at, stop_at=stop_at, seed=seed, **mixing)

    def plan(self, batch: BatchPlan, labels: Labels) -> MixPlan:
        """Return CMO's plan, or in an epoch that goes by transport the images as they are."""
        return self._unmixed(batch) if self.by_features(batch.epoch) else super().plan(batch, labels)

    def by_features(self, epoch: int) -> bool:
        """Return whether ``epoch`` mixes by transport."""
        share: float = min(1.0, epoch / self.epochs) ** self.transport_exponent
        drawn = _rust.uniform(self._seed ^ _TRANSPORT, _rust.STREAM_MIX, epoch, 0, 1)[0]
        return self._mixes(epoch) and bool(drawn < share)

    def foregrounds(self, batch: BatchPlan, labels: Labels) -> MixPlan:
        """Return what CMO would paste into the images of ``batch``."""
        return self._pasting(batch, labels)

    def backgrounds(self, foreground: Tensor, background: Tensor, confused: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return ``otmix_backgrounds`` by the mixer's settings."""
        settings = {"feature_weight": self.feature_weight, "regularization": self.regularization}
        return otmix_backgrounds(foreground, background, confused, **settings)

    def check(self) -> None:
        """Raise unless backgrounds can be chosen here.

        Raises:
            MissingExtraError: if POT is not installed.
        """
        _transport()

    def __repr__(self) -> str:
        return (
            f"OTMix({super().__repr__()}, feature_weight={self.feature_weight!r}, "
            f"regularization={self.regularization!r}, transport_exponent={self.transport_exponent!r})"
        )


def _transport() -> Any:
    return require("ot", extra="transport", purpose="the mixer otmix")


def _checked_regularization(value: float) -> float:
    return number("regularization", value, least=_SMALLEST_REGULARIZATION, hint="; the authors have 0.01")


def _check_shapes(foreground: Tensor, background: Tensor, confused: NDArray[np.float64]) -> None:
    if foreground.ndim != 2 or background.ndim != 2 or foreground.shape[1] != background.shape[1]:  # noqa: PLR2004
        raise ValueError(
            f"foreground and background must be (F, D) and (B, D), got {tuple(foreground.shape)} and "
            f"{tuple(background.shape)}"
        )
    wanted = (len(foreground), len(background))
    if confused.shape != wanted:
        raise ValueError(f"confused must have one entry per pair, {wanted}, got shape {confused.shape}")
    if wanted[0] and not wanted[1]:
        raise ValueError("background must hold at least one image, got none")
