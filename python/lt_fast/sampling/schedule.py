"""Class probabilities that change from epoch to epoch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_fast import _checks
from lt_fast.counts import ClassCounts, EmptyPolicy
from lt_fast.sampling.class_probabilities import class_probabilities, explicit_probabilities
from lt_fast.sampling.seekable import Drawing, fingerprint

Kind: TypeAlias = Literal["mix", "linear", "cosine", "exp"]
Schedule: TypeAlias = Callable[[int, ClassCounts], ArrayLike]

_EXP_RANGE = 100.0  # how much closer to the end the last epoch is than the first, with kind="exp"


@dataclass(frozen=True)
class ProgressiveSchedule:
    """Change the sampling exponent over the epochs: progressively-balanced sampling.

    With ``t = min(epoch / epochs, 1)``:

    - ``"mix"``: ``(1 - t) * p(start) + t * p(end)``, ``p(q)`` as ``class_probabilities``;
    - ``"linear"``: ``p(start + t * (end - start))``;
    - ``"cosine"``: ``p(end + (start - end) * (1 + cos(pi t)) / 2)``;
    - ``"exp"``: ``p(end + (start - end) * 100 ** -t)``; the 100 is ours.

    Args:
        start: exponent ``q`` of the first epoch.
        end: exponent that epoch ``epochs`` has, and all after it; with "exp" they keep a hundredth of the way.
        epochs: T of the formulas.
        kind: the formula.

    Raises:
        TypeError: if an exponent is not a number, or ``epochs`` not an integer.
        ValueError: if an exponent is not finite, ``epochs`` is below 1, or ``kind`` is unknown.

    Source: Kang et al. 2020, arXiv:1910.09217, equation (2), for "mix" from 1 to 0.

    >>> schedule = ProgressiveSchedule(start=1.0, end=0.0, epochs=10)
    >>> [schedule(epoch, [900, 90, 10]).round(2).tolist() for epoch in (0, 5, 10)]
    [[0.9, 0.09, 0.01], [0.62, 0.21, 0.17], [0.33, 0.33, 0.33]]
    """

    start: float = 1.0
    end: float = 0.0
    epochs: int = 90
    kind: Kind = "mix"

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            _checks.number(name, getattr(self, name))
        _checks.integer("epochs", self.epochs, least=1)
        _checks.choice("kind", self.kind, get_args(Kind))

    def __call__(self, epoch: int, class_counts: ClassCounts) -> NDArray[np.float64]:
        """Return the class probabilities ``(C,)`` of ``epoch``; classes without samples get 0."""
        if self.kind == "mix":
            done = min(epoch / self.epochs, 1.0)
            first, last = (class_probabilities(class_counts, q=q, empty="ignore") for q in (self.start, self.end))
            return (1 - done) * first + done * last
        return class_probabilities(class_counts, q=self.q(epoch), empty="ignore")

    def q(self, epoch: int) -> float:
        """Return the exponent of ``epoch``; for "mix", which has none, the linear one."""
        done = min(epoch / self.epochs, 1.0)
        if self.kind == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        elif self.kind == "exp":
            done = 1 - _EXP_RANGE**-done
        return self.start + done * (self.end - self.start)


class ScheduledDraws:
    """Draws with the class probabilities of a schedule for each epoch; the last epoch's table is cached."""

    def __init__(
        self,
        make: Callable[[NDArray[np.float64]], Drawing],
        schedule: Schedule,
        class_counts: ClassCounts,
        empty: EmptyPolicy,
    ) -> None:
        self._make, self._schedule, self._counts, self._empty = make, schedule, class_counts, empty
        self._newest = 0, self._made(0)  # one value: threads may ask for different epochs

    @property
    def draws_per_epoch(self) -> int:
        """Length of an epoch."""
        return self._newest[1].draws_per_epoch

    def array(self, epoch: int, first: int, step: int, count: int, batch_size: int) -> NDArray[np.int64]:
        """Draws of batches ``first, first + step, ...`` of ``epoch``, one after the other."""
        return self._of(epoch).array(epoch, first, step, count, batch_size)

    def lists(self, epoch: int, first: int, step: int, count: int, batch_size: int) -> list[list[int]]:
        """Return the same, a list for each batch."""
        return self._of(epoch).lists(epoch, first, step, count, batch_size)

    def _of(self, epoch: int) -> Drawing:
        newest, draws = self._newest
        if epoch != newest:
            draws = self._made(epoch)
            self._newest = epoch, draws
        return draws

    def _made(self, epoch: int) -> Drawing:
        probs = scheduled(self._schedule, epoch, self._counts, self._empty)
        try:
            return self._make(probs)
        except ValueError as error:
            raise ValueError(_invalid(epoch, error)) from error


def scheduled(schedule: Schedule, epoch: int, counts: ClassCounts, empty: EmptyPolicy) -> NDArray[np.float64]:
    """Return the probabilities of an epoch, with sum 1.

    Raises:
        TypeError: if ``schedule`` is not a function, or does not return numbers.
        ValueError: if it does not return probabilities; the epoch is named.
    """
    if not callable(schedule):
        raise TypeError(
            "schedule must be a ProgressiveSchedule or a function of (epoch, class_counts), got "
            f"{type(schedule).__name__}"
        )
    try:
        return explicit_probabilities(schedule(epoch, counts), counts, empty)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(_invalid(epoch, error)) from error


def described(schedule: Schedule, probs: NDArray[np.float64]) -> str:
    """Return what identifies a schedule in a state: its ``repr``, or its name and the probabilities of epoch 0.

    Never an address, which would differ in a resumed process.

    Args:
        schedule: any.
        probs: those of epoch 0.
    """
    shown = repr(schedule)
    if " at 0x" not in shown:
        return shown
    named = schedule if hasattr(schedule, "__qualname__") else type(schedule)
    # To nine digits: powers may differ in the last bit on another machine.
    return f"{named.__module__}.{named.__qualname__}, from {fingerprint(np.round(probs, 9))}"


def _invalid(epoch: int, error: Exception) -> str:
    return f"schedule must yield valid class probabilities, but in epoch {epoch}: {error}"
