"""Calibrators that multiply each class's logit by a factor and add an offset, found without gradient descent."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from lt_fast import _checks
from lt_fast.calibration import storage
from lt_fast.calibration.calibrator import Calibrator
from lt_fast.calibration.checks import as_tensor, checked_labels, checked_matrix, refuse_probabilities
from lt_fast.calibration.heads import Model, weight_norm, wrap_head
from lt_fast.calibration.outputs import Outputs
from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.errors import DataError
from lt_fast.registry import register

_STATE = ("factor", "offset")
_MOST_TAU = 100
_LOG_RANGE = 12.0
_AT_BOUND = 1e-9  # bisection ends next to the bound, not at it
_TAUS = tuple(round(0.05 * step, 2) for step in range(41))


class AffineCalibration(Calibrator):
    """Base of calibrators whose calibrated logit is ``factor_j * logit_j + offset_j``.

    Args:
        counts: training samples per class.
        scale: what the training loss multiplied the logits by.

    Attributes:
        factor, offset: ``(C,)`` float32 tensors after ``fit`` or ``load``.
        fitted_on: which images ``lt-fast calibrate`` fits on: training images would mislead a number that says how far
            the network is to be trusted.
        adjusts_prior: whether it takes the training frequencies out of scores that have them; of other scores, such as
            those of balanced softmax, it would do so a second time.
    """

    name: ClassVar[str]
    transforms: ClassVar[str] = "logits"
    fitted_on: ClassVar[Literal["training", "validation", "nothing"]] = "validation"
    adjusts_prior: ClassVar[bool] = False

    factor: Tensor | None = None
    offset: Tensor | None = None

    def __init__(self, counts: CountsLike, *, scale: float = 1.0) -> None:
        self.counts = ClassCounts(counts)
        self.scale = _checks.number("scale", scale, above=0)

    def _learned(self, logits: Outputs, target: Tensor, head: nn.Module | None) -> tuple[Tensor, Tensor]:
        """Return factor and offset, float64, for float64 logits times ``scale``: see ``_scaled``."""
        raise NotImplementedError

    def _settings(self) -> dict[str, Any]:
        """Return the arguments of the constructor, JSON values."""
        return {"scale": self.scale}

    def fit(self, features_or_logits: Any, labels: Any, *, head: nn.Module | None = None) -> Self:
        """Learn factor and offset.

        Args:
            features_or_logits: features ``(N, D)`` when ``head`` is given, else logits ``(N, C)``; float, finite.
            labels: ``(N,)`` integers in [0, C).
            head: the trained head, which is not changed.

        Raises:
            TypeError, ValueError: if shapes, dtypes or labels are wrong, or the logits are probabilities.
            DataError: if a logit is not finite; names its row.
        """
        return self._fit(features_or_logits, labels, applied=head, head=head)

    def _fit(self, given: Any, labels: Any, *, applied: nn.Module | None, head: nn.Module | None) -> Self:
        """Learn from the logits ``given``, or from those of ``applied``; ``head`` is what ``_learned`` is told of."""
        with torch.no_grad():
            logits = Outputs.of(given, applied, self.counts)
            target = checked_labels(labels, self.counts, rows=len(logits), every_class=self.fitted_on == "training")
            factor, offset = self._learned(logits, target.to(logits.device), head)
            self.factor, self.offset = (self.scale * factor).float(), offset.float()
        return self

    def transform(self, logits: Any) -> Tensor:
        """Return calibrated logits ``(N, C)``, on the device of ``logits``; -inf stays -inf.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            TypeError, ValueError: if the logits are not floats of shape ``(N, C)``, or are probabilities.
        """
        given = as_tensor(logits, name="logits")
        factor, offset = (each.to(given.device) for each in self._fitted("transform").values())
        if not given.is_floating_point():
            raise TypeError(f"logits must be floats, got dtype {given.dtype}; pass logits.float()")
        if given.ndim != 2 or given.shape[1] != len(factor):  # noqa: PLR2004
            raise ValueError(f"logits must have shape (N, {len(factor)}), got {tuple(given.shape)}")
        refuse_probabilities(given)
        calibrated = factor * given.to(torch.promote_types(given.dtype, factor.dtype)) + offset
        return calibrated.where(~torch.isneginf(given), -torch.inf)  # whatever the factor is: 0 * inf is NaN

    def apply(self, model: Model, *, head: str = "head") -> Model:
        """Return a copy of ``model`` with a calibrated head called ``head``. ``model`` is not changed.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
            ValueError: if there is no such module, or it has another number of classes.
        """
        return wrap_head(model, *self._fitted("apply").values(), head=head)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``calibrator.json`` and ``calibrator.safetensors`` into ``folder``.

        Raises:
            RuntimeError: before ``fit``.
            MissingExtraError: if safetensors is not installed.
        """
        tensors = self._fitted("save")
        counts = {"counts": self.counts.counts.tolist(), "names": list(self.counts.names)}
        storage.write(folder, {"method": self.name, **self._settings(), **counts}, tensors)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Load a saved calibrator.

        Raises:
            DataError: if a file is missing, damaged or of another method; names the file.
            MissingExtraError: if safetensors is not installed.
        """
        settings, tensors = storage.read(folder, method=cls.name, names=_STATE)
        names = settings.pop("names", None)
        try:
            settings.pop("method")
            calibrator = cls(ClassCounts(settings.pop("counts"), names=names), **settings)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{folder} must hold a {cls.name} calibrator, got wrong settings: {error}") from None
        calibrator._restore(tensors, folder)
        return calibrator

    def _names(self) -> tuple[str, ...]:
        return _STATE

    def _restore(self, tensors: dict[str, Tensor], folder: str | os.PathLike[str]) -> None:
        wrong = [name for name in _STATE if tensors[name].shape != (len(self.counts),)]
        if wrong:
            shape = tuple(tensors[wrong[0]].shape)
            raise DataError(f"{folder} must hold {len(self.counts)} numbers in {wrong[0]!r}, got shape {shape}")
        self.factor, self.offset = (tensors[name] for name in _STATE)

    def _fitted(self, what: str) -> dict[str, Tensor]:
        if self.factor is None or self.offset is None:
            raise RuntimeError(f"{type(self).__name__} must be fitted before {what}; call fit(...) or load(folder)")
        return {"factor": self.factor, "offset": self.offset}

    def _scaled(self, logits: Outputs) -> Iterator[tuple[slice, Tensor]]:
        """Yield the logits times ``scale`` in float64, block by block with their rows."""
        for rows in logits.blocks():
            yield rows, self.scale * logits[rows].double()

    def __repr__(self) -> str:
        state = "not fitted" if self.factor is None else "fitted"
        return f"{type(self).__name__}(num_classes={len(self.counts)}, {state})"


@register("calibrator", "temperature")
class TemperatureScaling(AffineCalibration):
    """Divide the logits by one temperature, so that the probabilities fit the labels; no answer changes.

    The temperature minimises the negative log-likelihood of the samples; in its inverse that is convex, and bisection
    of the derivative finds the minimum. Where the likelihood has none, as where every answer is right, ``fit`` warns.

    Args:
        counts: training samples per class; they only say how many classes there are.
        scale: what the training loss multiplied the logits by.

    Attributes:
        temperature: after ``fit`` or ``load``, relative to ``softmax(scale * logits)``; between exp(-12) and exp(12).
            ``fit`` warns if it is one of these, where the likelihood has no maximum between them.

    Raises:
        TypeError, ValueError: if a setting is outside its range.

    Source: Guo et al. 2017, arXiv:1706.04599, Section 4.2.
    Differs from gpleiss/temperature_scaling: bisection in place of 50 steps of L-BFGS from 1.5.

    >>> logits, labels = torch.tensor([[3.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])  # 95 % sure, and right in 75 %
    >>> calibrator = TemperatureScaling([3, 1]).fit(logits, labels)
    >>> round(calibrator.temperature, 3), calibrator.transform(logits[:1]).softmax(1)
    (2.731, tensor([[0.7500, 0.2500]]))
    """

    name = "temperature"

    @property
    def temperature(self) -> float:
        """The temperature.

        Raises:
            RuntimeError: before ``fit`` or ``load``.
        """
        return self.scale / float(self._fitted("temperature")["factor"][0])

    def _restore(self, tensors: dict[str, Tensor], folder: str | os.PathLike[str]) -> None:
        shapes = {tensors[name].shape for name in _STATE}
        one = bool((tensors["factor"] == tensors["factor"].reshape(-1)[:1]).all()) and not bool(tensors["offset"].any())
        if not one and shapes == {(len(self.counts),)}:
            raise DataError(
                f"{folder} must hold one factor for all classes and offsets of 0, got others; they are of another "
                "kind of calibrator, such as VectorScaling"
            )
        super()._restore(tensors, folder)

    def _learned(self, logits: Outputs, target: Tensor, head: nn.Module | None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        inverse = inverse_temperature(lambda: self._scaled(logits), target)
        factor = torch.full((logits.num_classes,), inverse, dtype=torch.float64, device=logits.device)
        return factor, torch.zeros_like(factor)


def inverse_temperature(blocks: Callable[[], Iterable[tuple[slice, Tensor]]], target: Tensor) -> float:
    """Return the factor of the logits with the smallest negative log-likelihood, between exp(-12) and exp(12).

    Called from ``_learned``; warns at the line that calls ``fit`` if the factor is one of the two ends.

    Args:
        blocks: gives the rows and the logits of each block, float64, whenever it is called.
        target: labels of all rows.
    """
    if all(bool((scores.amax(dim=1) == scores.amin(dim=1)).all()) for _, scores in blocks()):
        return 1.0  # equal logits: every temperature is as good
    low, high = -_LOG_RANGE, _LOG_RANGE
    while low < (middle := (low + high) / 2) < high:  # until no number lies between: 55 times
        low, high = (low, middle) if _slope(blocks(), target, float(np.exp(middle))) > 0 else (middle, high)
    _warn_at_bound(middle)
    return float(np.exp(middle))


def _warn_at_bound(log_inverse: float) -> None:
    """Warn if the likelihood has no maximum between the bounds."""
    if abs(log_inverse) < _LOG_RANGE - _AT_BOUND:
        return
    words = (
        "smaller ones would fit these samples better still, as where all are predicted right; fit on more samples, "
        "which the network was not trained on"
        if log_inverse > 0
        else "larger ones would fit these samples better still, as where the logits say nothing about the labels; "
        "check that each label is that of its row"
    )
    warnings.warn(f"temperature is at its bound, {np.exp(-log_inverse):.3g}: {words}", stacklevel=6)


def _slope(blocks: Iterable[tuple[slice, Tensor]], target: Tensor, inverse: float) -> float:
    """Return the derivative of the mean negative log-likelihood by the inverse temperature."""
    slopes = []
    for rows, scores in blocks:
        probabilities = (scores * inverse).softmax(dim=1)
        own = scores.gather(1, target[rows, None])
        slopes.append((probabilities * scores).sum(dim=1, keepdim=True) - own)
    return float(torch.cat(slopes).mean())


@register("calibrator", "tau_norm")
class TauNormalization(AffineCalibration):
    """Divide each class's logit by a power of the length of its weight row: ``w_j x / ||w_j||**tau``, without the bias.

    Classes with many training samples have long rows. The factors are relative to the geometric mean of the rows, which
    changes no answer and keeps the probabilities at the temperature of the training.

    Args:
        counts: training samples per class; they only say how many classes there are.
        tau: in [0, 100]; 0 removes the bias alone, 1 gives rows of equal length. None chooses the value of 0, 0.05,
            ..., 2 with the highest mean recall of the classes that the samples of ``fit`` have, of equal ones the
            smallest.
        scale: what the training loss multiplied the logits by.

    Attributes:
        tau: as given, or as chosen.

    Raises:
        TypeError, ValueError: if a setting is outside its range.

    Source: Kang et al. 2020, arXiv:1910.09217, Section 4.3; code facebookresearch/classifier-balancing, tau_norm.py.
    Differs from that code: tau is tried in steps of 0.05 in place of 0.1, and chosen on the samples of ``fit``, where
    the code prints the accuracy of each; the factors are relative to the mean row.

    >>> from lt_fast.models import digits_net
    >>> model = digits_net(3, seed=0)
    >>> _ = model.head.weight.data.copy_(torch.tensor([[4.0], [2.0], [1.0]]) / 8)  # 64 features
    >>> calibrator = TauNormalization([90, 9, 1], tau=1.0).fit(torch.eye(3, 64), torch.arange(3), head=model.head)
    >>> weight_norm(model.head), weight_norm(calibrator.apply(model).head)
    (tensor([4., 2., 1.]), tensor([2., 2., 2.]))
    """

    name = "tau_norm"

    def __init__(self, counts: CountsLike, *, tau: float | None = None, scale: float = 1.0) -> None:
        super().__init__(counts, scale=scale)
        self.tau = None if tau is None else _checks.number("tau", tau, least=0, most=_MOST_TAU)
        self._chooses = tau is None  # at each fit
        if self.tau is not None:
            self.fitted_on = "nothing"  # type: ignore[misc]

    def _settings(self) -> dict[str, Any]:
        return {"tau": self.tau, "scale": self.scale}

    def fit(
        self,
        features_or_logits: Any,
        labels: Any,
        *,
        head: nn.Module | None = None,
        weight: Any = None,
        bias: Any = None,
    ) -> Self:
        """Learn the factors of features and their ``head``, or of logits and the ``weight`` that made them.

        Args:
            features_or_logits: features ``(N, D)`` when ``head`` is given, else logits ``(N, C)``; float, finite.
            labels: ``(N,)`` integers in [0, C).
            head: the trained head, which is not changed.
            weight: of the trained head, ``(C, D)``, where there is no module.
            bias: of the trained head, ``(C,)``, which is in the logits; None where it has none.

        Raises:
            TypeError, ValueError: if shapes, dtypes or labels are wrong, the logits are probabilities, or not exactly
                one of ``head`` and ``weight`` is given.
            DataError: if a number is not finite; names its row.
        """
        if head is not None and (weight is not None or bias is not None):
            raise ValueError("head and weight must not both be given; leave out weight and bias")
        if bias is not None and weight is None:
            raise ValueError("bias must not be given without weight; pass weight=W (C, D) of the last layer")
        own = head if weight is None else _GivenHead(weight, bias, self.counts)
        return self._fit(features_or_logits, labels, applied=head, head=own)

    def _learned(self, logits: Outputs, target: Tensor, head: nn.Module | None) -> tuple[Tensor, Tensor]:
        if head is None:
            raise ValueError(
                "head or weight must be given, got neither; logits alone do not tell the lengths of the rows: pass "
                "weight=W (C, D) and bias=b (C,) of the last layer"
            )
        bias = getattr(head, "bias", None)
        zero = torch.zeros(logits.num_classes, dtype=torch.float64, device=logits.device)
        shift = self.scale * bias.to(zero) if isinstance(bias, Tensor) else zero
        norm = weight_norm(head).to(zero)
        if bool((norm <= 0).any()):
            raise ValueError(f"head must have rows longer than 0, got 0 for class {int((norm <= 0).nonzero()[0])}")
        longer = norm / norm.log().mean().exp()
        if self._chooses or self.tau is None:
            self.tau = _TAUS[int(np.argmax(self._recalls(logits, target, shift, longer)))]
        factor = longer**-self.tau
        return factor, -shift * factor

    def _recalls(self, logits: Outputs, target: Tensor, shift: Tensor, longer: Tensor) -> list[float]:
        """Return the mean recall under each of ``_TAUS``."""
        right = torch.empty(len(_TAUS), len(target), dtype=torch.bool, device=target.device)
        for rows, scores in self._scaled(logits):
            for at, tau in enumerate(_TAUS):
                right[at, rows] = ((scores - shift) * longer**-tau).argmax(dim=1) == target[rows]
        return [_mean_recall(each, target, logits.num_classes) for each in right]


class _GivenHead(nn.Module):
    """The weight ``(C, D)`` and the bias ``(C,)`` of a head that is not at hand as a module."""

    def __init__(self, weight: Any, bias: Any, counts: ClassCounts) -> None:
        super().__init__()
        self.weight = checked_matrix(weight, name="weight")
        self.bias = None if bias is None else as_tensor(bias, name="bias").detach()
        if len(self.weight) != len(counts):
            rows = len(self.weight)
            raise ValueError(f"weight must have one row per class ({len(counts)}), got {rows}; try weight.T")
        if self.bias is not None and self.bias.shape != (len(counts),):
            raise ValueError(f"bias must have shape ({len(counts)},), got {tuple(self.bias.shape)}")
        if self.bias is not None and not bool(self.bias.isfinite().all()):
            at = int((~self.bias.isfinite()).nonzero()[0])
            raise DataError(f"bias must be finite, got {self.bias[at].item()} for class {at}")


@register("calibrator", "logit_adjustment")
class LogitAdjustment(AffineCalibration):
    """Subtract ``tau`` times the log of the training prior from the logits of a network trained by cross entropy.

    With ``tau=1`` the probabilities stand for uniform class frequencies. Nothing is learned from the samples of
    ``fit``, which are only checked.

    Args:
        counts: training samples per class; a class without any keeps its logit.
        tau: in [0, 100].
        scale: what the training loss multiplied the logits by.

    Raises:
        TypeError, ValueError: if a setting is outside its range.

    Source: Menon et al. 2021, arXiv:2007.07314, equation 9; code google-research/google-research, logit_adjustment.
    Differs from that code: ``tau * log(prior)`` where it has ``log(prior**tau + 1e-12)``, equal except for the guard.

    >>> logits = torch.tensor([[0.9, 0.1]]).log()  # as probable as the classes are frequent: the image says nothing
    >>> calibrator = LogitAdjustment([90, 10]).fit(logits, torch.tensor([0]))
    >>> calibrator.transform(logits).softmax(1)
    tensor([[0.5000, 0.5000]])
    """

    name = "logit_adjustment"
    fitted_on = "nothing"
    adjusts_prior = True

    def __init__(self, counts: CountsLike, *, tau: float = 1.0, scale: float = 1.0) -> None:
        super().__init__(counts, scale=scale)
        self.tau = _checks.number("tau", tau, least=0, most=_MOST_TAU)

    def _settings(self) -> dict[str, Any]:
        return {"tau": self.tau, "scale": self.scale}

    def fit(self, features_or_logits: Any = None, labels: Any = None, *, head: nn.Module | None = None) -> Self:
        """Compute the offsets from the counts. ``fit()`` alone will do: samples are checked where they are given.

        Args:
            features_or_logits: features ``(N, D)`` when ``head`` is given, else logits ``(N, C)``; float, finite.
            labels: ``(N,)`` integers in [0, C).
            head: the trained head, which is not changed.

        Raises:
            TypeError, ValueError: if shapes, dtypes or labels are wrong, or the logits are probabilities.
            DataError: if a logit is not finite; names its row.
        """
        if features_or_logits is None and labels is None:
            features_or_logits, labels, head = torch.zeros(1, len(self.counts)), [0], None
        return super().fit(features_or_logits, labels, head=head)

    def _learned(self, logits: Outputs, target: Tensor, head: nn.Module | None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        prior = torch.from_numpy(self.counts.prior).to(logits.device)
        offset = -self.tau * torch.where(prior > 0, prior, 1.0).log()
        return torch.ones_like(offset), offset


def _mean_recall(right: Tensor, target: Tensor, num_classes: int) -> float:
    found = torch.bincount(target, weights=right.double(), minlength=num_classes)
    there = torch.bincount(target, minlength=num_classes)
    return float((found[there > 0] / there[there > 0]).mean())
