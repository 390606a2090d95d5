"""Learning rates as pure functions of ``(epoch, step, steps_per_epoch)``, with every place a fraction of the training.

A schedule holds no state, so a resumed run needs nothing but its position; fractions keep the shape of a published
schedule when the number of epochs changes.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from lt_fast import _checks
from lt_fast._schedules import epoch_at, half_cosine

LearningRate: TypeAlias = Callable[[int, int, int], float]
"""``learning_rate(epoch, step, steps_per_epoch)``, epoch and step counted from 0."""


MAX_EPOCHS = 2**53
"""The longest training: places in it are fractions, and floats count exactly up to here."""


def multistep(
    base: float,
    *,
    epochs: int,
    milestones: Sequence[float] = (0.8, 0.9),
    factor: float = 0.01,
    warmup: float = 0.025,
    warmup_by_step: bool = False,
) -> LearningRate:
    """Warm-up by whole epochs, then ``base``, multiplied by ``factor`` at every milestone.

    With e the epoch, counted from 0, and W = ``warmup * epochs``::

        base * min(1, (e + 1) / W) * factor ** (number of milestones with e >= epoch_at(milestone))

    With ``warmup_by_step`` the second factor is ``min(1, (e + s / S) / W)`` in step s of S: the first step has the rate
    0.

    The defaults at 200 epochs are LDAM-DRW's schedule: ``base * (e + 1) / 5`` for e < 5, ``base`` until epoch 160,
    ``base * 0.01`` until 180 and ``base * 0.0001`` after it.

    Args:
        base: learning rate between warm-up and first milestone.
        epochs: length of the whole training.
        milestones: increasing fractions of ``epochs``, in (0, 1]; none gives a constant rate.
        factor: what each milestone multiplies the rate by.
        warmup: fraction of ``epochs``, in [0, 1). A warm-up of less than one epoch is none.
        warmup_by_step: raise the rate at every step, as logit adjustment's code does.

    Raises:
        TypeError: if ``epochs`` is no integer.
        ValueError: if a value lies outside its range, or the milestones do not increase.

    Source: Cao et al. 2019, arXiv:1906.07413; code kaidic/LDAM-DRW, cifar_train.py, adjust_learning_rate.
    Differs from that code: fractions of the training instead of the epochs 5, 160 and 180. ``warmup_by_step``:
    google-research/google-research, logit_adjustment/utils.py LearningRateSchedule.

    >>> rate = multistep(0.1, epochs=200)
    >>> [round(rate(epoch, 0, 100), 7) for epoch in (0, 4, 159, 160, 199)]
    [0.02, 0.1, 0.1, 0.001, 1e-05]
    """
    _check(base, epochs, warmup)
    _check_milestones(milestones)
    if not 0 < factor <= 1:
        raise ValueError(f"factor must lie in (0, 1], got {factor}; LDAM-DRW uses 0.01")
    drops = [epoch_at(milestone, epochs) for milestone in milestones]
    warm_epochs = warmup * epochs

    def learning_rate(epoch: int, step: int, steps_per_epoch: int) -> float:
        done = epoch + step / steps_per_epoch if warmup_by_step else epoch + 1
        warm = min(1.0, done / warm_epochs) if warm_epochs else 1.0
        return base * warm * factor ** sum(epoch >= drop for drop in drops)

    return learning_rate


def cosine(
    base: float,
    *,
    epochs: int,
    final: float = 0.0,
    warmup: float = 0.0,
    warmup_start: float = 0.0,
) -> LearningRate:
    """Half a cosine from ``base`` to ``final``, step by step, after an optional linear warm-up.

    With S steps per epoch, t = ``epoch * S + step`` and W = ``warmup * epochs * S``::

        warmup_start + (base - warmup_start) * (t + 1) / W                           for t < W
        final + (base - final) * (1 + cos(pi * (t - W) / (epochs * S - W))) / 2      after it

    Args:
        base: the highest rate.
        epochs: length of the whole training.
        final: the rate that the curve approaches; the last step is just above it.
        warmup: fraction of the training, in [0, 1).
        warmup_start: the rate that the warm-up starts above.

    Raises:
        TypeError: if ``epochs`` is no integer.
        ValueError: if a value lies outside its range.

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5, without restarts. MARC (Wang et al. 2022,
    arXiv:2112.07225) trains its CIFAR stages by ``cosine(0.1, warmup=..., warmup_start=0.05)``.
    Differs from both codes: every step has its own rate, where theirs change once an epoch; MARC's warm-up of W epochs
    begins a step below its first rate, ``warmup_start + (base - warmup_start) (e - 1) / (W - 1)`` in epoch e.

    >>> rate = cosine(0.1, epochs=200, warmup=0.025)
    >>> [round(rate(epoch, 0, 100), 4) for epoch in (0, 5, 100, 199)]
    [0.0002, 0.1, 0.052, 0.0]
    """
    _check(base, epochs, warmup)
    for name, value in (("final", final), ("warmup_start", warmup_start)):
        if not 0 <= value <= base:
            raise ValueError(f"{name} must lie in [0, base = {base}], got {value}")

    def learning_rate(epoch: int, step: int, steps_per_epoch: int) -> float:
        done, total = epoch * steps_per_epoch + step, epochs * steps_per_epoch
        warm = warmup * total
        if done < warm:
            return warmup_start + (base - warmup_start) * min(1.0, (done + 1) / warm)
        return half_cosine(base, final, math.pi * (done - warm) / (total - warm))

    return learning_rate


def _check(base: float, epochs: int, warmup: float) -> None:
    _checks.number("base", base, above=0)
    _checks.integer("epochs", epochs, least=1, most=MAX_EPOCHS)
    _checks.number("warmup", warmup, least=0, below=1, hint="; a fraction of the training: 5 of 200 epochs is 0.025")


def _check_milestones(milestones: Sequence[float]) -> None:
    for milestone in milestones:
        if not 0 < milestone <= 1:
            raise ValueError(
                f"milestones must be fractions of the training in (0, 1], got {milestone}; epoch 160 of 200 is 0.8",
            )
    if any(later <= earlier for earlier, later in itertools.pairwise(milestones)):
        raise ValueError(f"milestones must increase, got {tuple(milestones)}")
