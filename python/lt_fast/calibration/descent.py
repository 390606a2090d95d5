"""Deterministic mini-batch SGD over rows in memory, for learnable calibrators."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lt_fast._extras import require
from lt_fast._schedules import half_cosine

Order: TypeAlias = Callable[[int, int], ArrayLike]
"""``order(epoch, n)``: a permutation of ``range(n)``, or draws from it for calibrators that allow repeats."""


def shuffled(seed: int) -> Order:
    """Return an order that depends on ``(seed, epoch)`` alone."""
    return lambda epoch, n: np.random.default_rng((seed, epoch)).permutation(n)


def class_balanced(labels: NDArray[np.int64], seed: int) -> Order:
    """Return an order of n draws, a class and then one of its rows, that depends on ``(seed, epoch)`` alone."""
    rows, counts = np.argsort(labels, kind="stable"), np.bincount(labels)
    present = np.flatnonzero(counts)
    starts = np.cumsum(counts) - counts

    def draw(epoch: int, n: int) -> NDArray[np.int64]:
        generator = np.random.default_rng((seed, epoch))
        classes = present[generator.integers(len(present), size=n)]
        drawn: NDArray[np.int64] = rows[starts[classes] + generator.integers(counts[classes])]
        return drawn

    return draw


def cosine_rate(epoch: int, epochs: int, *, lr: float, peak_lr: float, warmup_epochs: int) -> float:
    """Learning rate of an epoch (from 0): linear from ``lr`` to ``peak_lr``, then a half cosine to 0.

    The rate is ``lr`` in epoch 0, ``peak_lr`` in epoch ``warmup_epochs``, and would be 0 in epoch ``epochs``.
    """
    if epoch < warmup_epochs:
        return lr + (peak_lr - lr) * epoch / warmup_epochs
    done = (epoch - warmup_epochs) / (epochs - warmup_epochs)
    return half_cosine(peak_lr, 0.0, math.pi * done)


def minimise(
    parameters: Sequence[Tensor],
    loss_of: Callable[[Tensor], Tensor],
    rows: int,
    *,
    rates: Sequence[float],
    batch_size: int,
    momentum: float,
    weight_decay: float,
    order: Order,
    replacement: bool = False,
    views: int = 1,
    factors: Sequence[float] | None = None,
    nesterov: bool = False,
    stop: Callable[[], bool] | None = None,
    progress: bool = False,
) -> list[float]:
    """Train for one epoch per entry of ``rates``, and return the mean loss of each epoch.

    Args:
        parameters: leaves that require gradients; changed in place.
        loss_of: from row indices ``(batch,)`` int64 to a scalar.
        rows: N of one view; the last batch of an epoch may be smaller.
        rates: learning rate of each epoch.
        batch_size: rows per step.
        momentum: of SGD.
        weight_decay: L2 penalty on every parameter.
        order: gives the rows of an epoch: each once, unless there is ``replacement``.
        replacement: whether rows may come more than once, and others not at all.
        views: blocks of N rows that ``loss_of`` knows, one after the other; an epoch reads block ``epoch % views``.
        factors: what each parameter's learning rate is relative to ``rates``; 1 when left out.
        nesterov: use Nesterov's momentum.
        stop: asked after each epoch; True ends the training.
        progress: show a bar over the epochs (needs tqdm).

    Raises:
        ValueError: if ``order`` gives no permutation (with ``replacement``: other rows than there are).
        CalibrationDivergedError: if the loss stops being finite.
    """

    def batches_of(epoch: int) -> Iterator[tuple[int, Tensor]]:
        drawn = _drawn(order, epoch, rows, replacement=replacement) + epoch % views * rows
        for batch in torch.split(drawn.to(parameters[0].device), min(batch_size, rows)):
            yield len(batch), batch

    return descend(
        parameters,
        batches_of,
        loss_of,
        rates=rates,
        momentum=momentum,
        weight_decay=weight_decay,
        factors=factors,
        nesterov=nesterov,
        stop=stop,
        progress=progress,
    )


def descend(
    parameters: Sequence[Tensor],
    batches_of: Callable[[int], Iterable[tuple[int, Any]]],
    loss_of: Callable[[Any], Tensor],
    *,
    rates: Sequence[float],
    momentum: float,
    weight_decay: float,
    factors: Sequence[float] | None = None,
    nesterov: bool = False,
    stop: Callable[[], bool] | None = None,
    progress: bool = False,
) -> list[float]:
    """Train for one epoch per entry of ``rates``, and return the mean loss of each epoch; see ``minimise``.

    Args:
        parameters: leaves that require gradients; changed in place.
        batches_of: from an epoch to its batches, each with its number of rows.
        loss_of: from a batch to a scalar, its mean loss.
        rates: learning rate of each epoch.
        momentum: of SGD.
        weight_decay: L2 penalty on every parameter.
        factors: what each parameter's learning rate is relative to ``rates``; 1 when left out.
        nesterov: use Nesterov's momentum.
        stop: asked after each epoch; True ends the training.
        progress: show a bar over the epochs (needs tqdm).

    Raises:
        ValueError: if an epoch has no batch.
        CalibrationDivergedError: if the loss stops being finite.
    """
    # Torch refuses a larger one with its own message; a rate of this size diverges, which is reported below.
    largest = torch.finfo(parameters[0].dtype).max
    factors = [1.0] * len(parameters) if factors is None else factors
    optimizer = torch.optim.SGD(
        [{"params": [parameter]} for parameter in parameters],
        lr=min(rates[0], largest),
        momentum=momentum,
        weight_decay=min(weight_decay, largest),
        nesterov=nesterov,
    )
    losses: list[float] = []
    for epoch, rate in enumerate(_shown(rates, progress=progress)):
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = min(factor * rate, largest)
        total, rows = torch.zeros((), dtype=torch.float64, device=parameters[0].device), 0
        for size, batch in batches_of(epoch):
            optimizer.zero_grad()
            loss = loss_of(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total, rows = total + loss.detach() * size, rows + size
        if not rows:
            raise ValueError(f"batches must yield at least one batch, got none in epoch {epoch}")
        losses.append(finite_loss(float(total) / rows, epoch))
        if stop is not None and stop():
            break
    return losses


class CalibrationDivergedError(FloatingPointError, ValueError):
    """The loss of a calibrator became NaN or infinite: the run has failed, as a diverged training does."""


def finite_loss(loss: float, epoch: int) -> float:
    """Return the mean loss of an epoch.

    Raises:
        CalibrationDivergedError: if it is not finite.
    """
    """Return the loss of an epoch, or raise ``CalibrationDivergedError`` where it is not finite."""
    if not math.isfinite(loss):
        raise CalibrationDivergedError(
            f"calibration diverged: the loss of epoch {epoch} is {loss}; lower lr or weight_decay (in a recipe, "
            "calibrator.lr or calibrator.weight_decay)"
        )
    return loss


def _drawn(order: Order, epoch: int, rows: int, *, replacement: bool) -> Tensor:
    drawn: NDArray[Any] = np.asarray(order(epoch, rows)).ravel()
    if replacement:
        if len(drawn) != rows or drawn.dtype.kind not in "iu" or drawn.min() < 0 or drawn.max() >= rows:
            raise ValueError(f"order must return {rows} rows in [0, {rows}), got {drawn.size} entries in epoch {epoch}")
    elif not np.array_equal(np.sort(drawn), np.arange(rows)):
        raise ValueError(f"order must return a permutation of range({rows}), got {drawn.size} entries in epoch {epoch}")
    return torch.from_numpy(drawn.astype(np.int64))


def _shown(rates: Sequence[float], *, progress: bool) -> Iterable[float]:
    if not progress:
        return rates
    tqdm = require("tqdm", extra="train", purpose="a progress bar").tqdm
    bar: Iterable[float] = tqdm(rates, desc="calibrate", unit="epoch", leave=False)
    return bar
