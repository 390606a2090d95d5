"""Vector scaling: one factor and one offset per class that minimise the negative log-likelihood of held-out samples."""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lt_fast import _checks
from lt_fast.calibration.affine import AffineCalibration, inverse_temperature
from lt_fast.calibration.outputs import Outputs
from lt_fast.counts import ClassCounts, CountsLike
from lt_fast.registry import register

_STEEPEST = 1e-7
_FEWEST = 2
_STEPS_OF_A_METRIC = 50
_FLOOR = 1e-3


@register("calibrator", "vector_scaling")
class VectorScaling(AffineCalibration):
    """Learn one factor and one offset per class on held-out logits, from temperature scaling on.

    With T the temperature of ``TemperatureScaling`` and ``s = scale * logits / T``, the calibrated logit is
    ``a_j s_j + b_j``, beginning at a = 1 and b = 0. L-BFGS in float64 on all N rows minimises::

        mean of -log softmax(a s + b)_y  +  penalty / (2 N) * sum of (a_j - 1) ** 2 + b_j ** 2

    This is convex. ``fit`` warns where T is at its bound, as that of ``TemperatureScaling`` does. The penalty counts as
    ``penalty`` samples: classes with many samples decide for themselves, and those with few stay near the temperature.
    Without it (``penalty=0``) the likelihood of a class with one sample mostly has no maximum.

    A class without a sample is left out of the fit, which warns: its logit is divided by the temperature alone.
    There is no matrix scaling, which mixes classes by C * C numbers: a tail class has no samples to learn them from.

    Args:
        counts: training samples per class; they only say how many classes there are, and their names.
        penalty: >= 0.
        max_steps: most steps of L-BFGS, from 1 to 1,000,000.
        scale: what the training loss multiplied the logits by.

    Attributes:
        factor, offset: ``(C,)`` tensors after ``fit`` or ``load``: the calibrated logit is ``factor * logit + offset``.
        converged: after ``fit``, whether no derivative of the minimised sum is above 1e-7 in size; ``fit`` warns if
            one is. None after ``load``.
        slope: after ``fit``, the largest derivative in size.
        unseen: after ``fit``, the classes without a sample.

    Raises:
        TypeError, ValueError: if a setting is outside its range; ``fit`` too if all labels are of one class.

    Source: Guo et al. 2017, arXiv:1706.04599, Section 4.2, of which this is ``penalty=0`` where all classes occur.
    Differs from the paper, which names no optimiser and has no code for it: the penalty; the start at the temperature;
    classes without a sample.

    >>> logits = torch.tensor([[3.0, 0.0], [2.0, 0.0], [2.5, 0.0], [0.5, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> scaling = VectorScaling([900, 100], penalty=0.2).fit(logits, [0, 0, 0, 1, 1, 1])
    >>> scaling.converged, logits.argmax(dim=1).tolist(), scaling(logits).argmax(dim=1).tolist()
    (True, [0, 0, 0, 0, 0, 1], [0, 0, 0, 1, 1, 1])
    """

    name = "vector_scaling"

    converged: bool | None = None
    slope: float | None = None
    unseen: tuple[int, ...] = ()

    def __init__(self, counts: CountsLike, *, penalty: float = 1.0, max_steps: int = 1000, scale: float = 1.0) -> None:
        super().__init__(counts, scale=scale)
        self.penalty = _checks.number("penalty", penalty, least=0)
        self.max_steps = _checks.integer("max_steps", max_steps, least=1, most=1_000_000)

    def _settings(self) -> dict[str, Any]:
        return {"penalty": self.penalty, "max_steps": self.max_steps, "scale": self.scale}

    def summary(self) -> dict[str, Any]:
        """Return what a run records of the fit: ``converged``, ``slope``, and the names of classes in ``unseen``."""
        names = [self.counts.names[label] for label in self.unseen]
        return {} if self.converged is None else {"converged": self.converged, "slope": self.slope, "unseen": names}

    def _learned(self, logits: Outputs, target: Tensor, head: nn.Module | None) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        seen = torch.bincount(target, minlength=len(self.counts)) > 0
        _refuse_one_class(seen, self.counts)
        inverse = inverse_temperature(lambda: self._scaled(logits), target)
        rows = _Rows(lambda: self._scaled(logits), target, seen, inverse)
        learned, self.slope = _minimised(rows, self.penalty, self.max_steps)
        self.converged, self.unseen = self.slope <= _STEEPEST, tuple((~seen).nonzero().flatten().tolist())
        self._warn()
        factor, offset = (torch.zeros(len(seen)).to(learned) for _ in range(2))
        factor.fill_(inverse)
        factor[seen], offset[seen] = inverse * learned[0], learned[1]
        return factor, offset

    def _warn(self) -> None:
        if self.unseen:
            first, more = self.unseen[0], f" and {len(self.unseen) - 1} more" if len(self.unseen) > 1 else ""
            warnings.warn(
                f"labels have no sample of class {self.counts.names[first]!r} (index {first}){more}: vector scaling "
                "learns nothing for such a class, and divides its logit by the temperature alone",
                stacklevel=5,
            )
        if not self.converged:
            warnings.warn(
                f"vector scaling has not converged in {self.max_steps} steps, a derivative is {self.slope:.2g}; raise "
                "max_steps, or penalty, without which there may be no minimum",
                stacklevel=5,
            )


class _Rows(NamedTuple):
    """Samples that are fitted to: their logits block by block, float64, of which the classes ``seen`` are learned."""

    blocks: Callable[[], Iterable[tuple[slice, Tensor]]]
    target: Tensor
    seen: Tensor
    inverse: float

    def scores(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the logits over the temperature of the classes seen, and the column of each row's own class."""
        column = self.seen.cumsum(0) - 1
        for rows, logits in self.blocks():
            own = logits if bool(self.seen.all()) else logits[:, self.seen]
            yield self.inverse * own, column[self.target[rows], None]


def _minimised(rows: _Rows, penalty: float, max_steps: int) -> tuple[Tensor, float]:
    """Return a and b ``(2, classes seen)`` at the minimum, and the largest derivative there."""
    learned = torch.zeros(2, int(rows.seen.sum()), dtype=torch.float64, device=rows.target.device)
    learned[0] = 1.0
    slope = math.inf
    for done in range(0, max_steps, _STEPS_OF_A_METRIC):
        learned = _descended(learned, rows, penalty, min(_STEPS_OF_A_METRIC, max_steps - done))
        slope = float(_value_and_slope(learned, rows, penalty)[1].abs().max())
        if slope <= _STEEPEST:
            break
    return learned, slope


def _descended(start: Tensor, rows: _Rows, penalty: float, steps: int) -> Tensor:
    """Return a and b after some steps of L-BFGS, in coordinates in which the curvature of each class is about 1."""
    lower = torch.linalg.cholesky(_curvature(start, rows, penalty))
    moved = torch.zeros(start.shape[1], 2, 1).to(start)

    def at(moved: Tensor) -> Tensor:
        step: Tensor = torch.linalg.solve_triangular(lower.mT, moved, upper=True)[..., 0].T
        return start + step

    def closure() -> float:
        value, slope = _value_and_slope(at(moved), rows, penalty)
        moved.grad = torch.linalg.solve_triangular(lower, slope.T[..., None], upper=False)
        return value

    optimizer = torch.optim.LBFGS(
        [moved], max_iter=steps, max_eval=20 * steps, history_size=20, tolerance_grad=_STEEPEST / 10,
        tolerance_change=0, line_search_fn="strong_wolfe",
    )  # fmt: skip
    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return at(moved)


def _value_and_slope(learned: Tensor, rows: _Rows, penalty: float) -> tuple[float, Tensor]:
    """Return what is minimised, and its derivatives by a and b ``(2, classes seen)``."""
    moved = learned - torch.tensor([[1.0], [0.0]]).to(learned)
    value, slope = penalty / 2 * moved.square().sum(), penalty * moved
    for scores, own in rows.scores():
        logs = (learned[0] * scores + learned[1]).log_softmax(dim=1)
        value = value - logs.gather(1, own).sum()
        error = logs.exp_()
        error.scatter_add_(1, own, -torch.ones_like(own, dtype=error.dtype))
        slope = slope + torch.stack(((error * scores).sum(dim=0), error.sum(dim=0)))
    return float(value) / len(rows.target), slope / len(rows.target)


def _curvature(learned: Tensor, rows: _Rows, penalty: float) -> Tensor:
    """Return the second derivatives by a and b of each class, ``(classes seen, 2, 2)``, with a floor."""
    moments = torch.zeros(3, learned.shape[1]).to(learned)
    for scores, _ in rows.scores():
        chance = (learned[0] * scores + learned[1]).softmax(dim=1)
        spread = chance * (1 - chance)
        moments += torch.stack([(spread * scores**power).sum(dim=0) for power in (2, 1, 0)])
    square, cross, plain = moments
    floor = (max(penalty, _FLOOR) + _FLOOR * square.mean()) * torch.eye(2).to(learned)
    found: Tensor = torch.stack((square, cross, cross, plain), dim=1).view(-1, 2, 2) + floor
    return found / len(rows.target)


def _refuse_one_class(seen: Tensor, counts: ClassCounts) -> None:
    if int(seen.sum()) < _FEWEST:
        only = int(seen.nonzero()[0])
        raise ValueError(
            f"labels must be of at least 2 classes, got {counts.names[only]!r} (index {only}) alone; "
            "calibrate on held-out samples of all classes"
        )
